"""What all tests share."""

import os
from collections.abc import Iterator
from pathlib import Path

# Threads that spin while they wait take the cores from those that work; tests often share theirs.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import pytest
import torch

# Tensors here are small: on a busy machine, threads would wait for each other ten times longer than they compute.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The reference data, which is not part of the project."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("STREAMRESTORE_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"no reference data at {folder}; STREAMRESTORE_DATA names its folder")
    return folder


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> str:
    """Each device a restorer may run on, as torch names it."""
    name: str = request.param
    if name == "cuda" and not torch.cuda.is_available():
        if os.environ.get("REQUIRE_GPU"):
            pytest.fail("REQUIRE_GPU is set, but torch finds no CUDA device")
        pytest.skip("no CUDA device; REQUIRE_GPU=1 makes this a failure")
    return name


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """One Ray of 2 CPUs and 2 GPUs that are not there; every pool opened meanwhile runs on it."""
    import tests
    from workers.cluster import Cluster
    from workers.quiet_ray import ray

    ray.cloudpickle.register_pickle_by_value(tests)  # type: ignore[no-untyped-call] # Ray's, without types
    cluster = Cluster(address="local", cpus=2, gpus=(0, 1), store_bytes=200 << 20)
    cluster.started.result(timeout=120)
    yield
    cluster.close()
