import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from workers.archive.claims import NAMESPACE, Claim, claimed_gpus
from workers.quiet_ray import ray

PROJECT = Path(__file__).parents[3]

PATIENCE_SECONDS = 60.0

CLAIMING = """
import sys, time
from workers.archive.claims import Claim
from workers.cluster import Cluster

cluster = Cluster(address=sys.argv[1])
cluster.started.result(60)
claim = Claim("live", 2, 0.5)
print("claimed", flush=True)
time.sleep(600)
"""


def claimed() -> float:
    return claimed_gpus(ray.util.list_named_actors(all_namespaces=True))


def wait_until_claimed(gpus: float) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while claimed() != gpus:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_claims_are_told_from_all_other_actors() -> None:
    actors = {
        "claim-live-2x1-0123abcd": NAMESPACE,
        "claim-live-3x0.5-4567": NAMESPACE,
        "claim-live-9x9-89": "of somebody else",
        "claim-live-many-89": NAMESPACE,
        "somebody": NAMESPACE,
    }
    assert claimed_gpus({"name": name, "namespace": namespace} for name, namespace in actors.items()) == 3.5


@pytest.mark.ray
@pytest.mark.timeout(180)
def test_a_claim_is_up_until_it_is_closed(ray_cluster: None) -> None:
    first, second = Claim("live", 2, 1 / 3), Claim("live", 1, 1.0)
    assert claimed() == pytest.approx(5 / 3, abs=1e-3)
    first.close()
    first.close()
    second.close()
    wait_until_claimed(0)


@pytest.mark.ray
@pytest.mark.timeout(180)
def test_a_claim_ends_with_the_process_that_put_it_up_however_that_ends(ray_cluster: None) -> None:
    address = ray.get_runtime_context().gcs_address
    command = [sys.executable, "-c", CLAIMING, address]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as live:
        assert live.stdout is not None
        try:
            assert live.stdout.readline() == "claimed\n"
            assert claimed() == 1.0
        finally:
            os.kill(live.pid, signal.SIGKILL)
    wait_until_claimed(0)
