"""Pools of steps that are closed at the end of their test."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Protocol

import pytest

from workers.archive import BuildContext, StepPool, open_step_pool
from workers.archive.patience import StepPatience
from workers.archive.placement import Devices
from workers.archive.pool import RayStepPool
from workers.cluster import Cluster

OpenStepPool = Callable[[BuildContext], StepPool]


class OpenRayStepPool(Protocol):
    """Opens a pool on the shared Ray."""

    def __call__(
        self,
        build: BuildContext,
        workers: int | None = 2,
        devices: Devices = "cpu",
        patience: StepPatience | None = None,
    ) -> RayStepPool: ...


@pytest.fixture(params=[pytest.param(0, id="inline"), pytest.param(2, id="ray", marks=pytest.mark.ray)])
def open_any(request: pytest.FixtureRequest) -> Iterator[OpenStepPool]:
    """Opens pools in this process, and then on two workers of Ray."""
    workers: int = request.param
    if workers:
        request.getfixturevalue("ray_cluster")
    with ExitStack() as cleanup:

        def open_one(build: BuildContext) -> StepPool:
            pool = open_step_pool(build, workers=workers)
            cleanup.callback(pool.close)
            return pool

        yield open_one


@pytest.fixture
def open_ray(ray_cluster: None) -> Iterator[OpenRayStepPool]:
    """Opens pools on Ray with options that `open_step_pool` does not have."""
    with ExitStack() as cleanup:

        def open_one(
            build: BuildContext,
            workers: int | None = 2,
            devices: Devices = "cpu",
            patience: StepPatience | None = None,
        ) -> RayStepPool:
            pool = RayStepPool(build, cluster=Cluster(), workers=workers, devices=devices, patience=patience)
            cleanup.callback(pool.close)
            return pool

        yield open_one
