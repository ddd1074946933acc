"""Live streams and an archive on one cluster: the archive leaves the GPU at the end of a segment, and comes back."""

from functools import partial
from pathlib import Path

import pytest

from tests.networks import OffsetRestorer
from tests.workers.archive.conftest import OpenRayStepPool
from tests.workers.archive.fakes import Build, Marked, Sleep
from tests.workers.archive.test_pool_faults import PATIENCE_SECONDS, wait_until
from workers.cluster import Cluster
from workers.pool import RayPool

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]


def test_a_live_run_gets_a_gpu_that_an_archive_holds(open_ray: OpenRayStepPool, tmp_path: Path) -> None:
    archive = open_ray(Build(), workers=2, devices=(0, 1))
    wait_until(archive, lambda: archive.state().workers == 2)
    end, begun = tmp_path / "end", [tmp_path / f"begun-{number}" for number in range(4)]
    futures = [archive.submit(Marked(path, end), "restore") for path in begun]
    wait_until(archive, lambda: all(path.exists() for path in begun))
    live = RayPool(partial(OffsetRestorer, 1), cluster=Cluster(), workers=1, cpus=0, gpus=1.0, claimant="live")
    try:
        end.touch()
        live.ready(PATIENCE_SECONDS)
        assert archive.state().workers == 1
        for future in futures:
            future.result(PATIENCE_SECONDS)
        assert archive.submit(Sleep(), "restore").result(PATIENCE_SECONDS)
        assert archive.state().deaths == 0
    finally:
        live.close()
    wait_until(archive, lambda: archive.state().workers == 2)
