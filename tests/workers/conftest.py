"""Pools that are closed at the end of their test."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Protocol

import pytest

from workers.cluster import Cluster
from workers.contract import BuildRestorer, RestorerPool
from workers.opening import open_pool
from workers.patience import Patience
from workers.pool import RayPool

OpenPool = Callable[[BuildRestorer], RestorerPool]


class OpenRayPool(Protocol):
    """Opens a pool on the shared Ray."""

    def __call__(
        self,
        build: BuildRestorer,
        workers: int = 2,
        cpus: float = 1,
        gpus: float = 0,
        patience: Patience | None = None,
    ) -> RayPool: ...


@pytest.fixture(params=[pytest.param(0, id="inline"), pytest.param(2, id="ray", marks=pytest.mark.ray)])
def open_any(request: pytest.FixtureRequest) -> Iterator[OpenPool]:
    """Opens pools in this process, and then on two workers of Ray."""
    workers: int = request.param
    if workers:
        request.getfixturevalue("ray_cluster")
    with ExitStack() as cleanup:

        def open_one(build: BuildRestorer) -> RestorerPool:
            pool = open_pool(build, workers=workers)
            cleanup.callback(pool.close)
            return pool

        yield open_one


@pytest.fixture
def open_ray(ray_cluster: None) -> Iterator[OpenRayPool]:
    """Opens pools on Ray with options that `open_pool` does not have."""
    with ExitStack() as cleanup:

        def open_one(
            build: BuildRestorer,
            workers: int = 2,
            cpus: float = 1,
            gpus: float = 0,
            patience: Patience | None = None,
        ) -> RayPool:
            pool = RayPool(build, cluster=Cluster(), workers=workers, cpus=cpus, gpus=gpus, patience=patience)
            cleanup.callback(pool.close)
            return pool

        yield open_one
