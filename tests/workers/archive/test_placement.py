import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamrestore.errors import ConfigError
from workers.archive.contract import Alike
from workers.archive.placement import Placement, group_devices, place_workers
from workers.cluster import Capacity, Node, nodes_among


def capacity(*nodes: Node) -> Capacity:
    return Capacity(nodes, 1 << 30)


def test_without_a_number_there_is_one_worker_for_each_device_and_for_those_that_come() -> None:
    cluster = capacity(Node(7, 2), Node(3, 0), Node(8, 4))
    assert place_workers(cluster, workers=None, devices=(0,), threads=2, joined=True) == Placement(6, 0.0, 1.0, True)
    assert place_workers(cluster, workers=None, devices="cpu", threads=2, joined=True) == Placement(8, 2.0, 0.0, True)
    here = capacity(Node(7, 2))
    assert place_workers(here, workers=None, devices=(0, 1), threads=2, joined=False) == Placement(2, 0.0, 1.0, False)
    assert place_workers(here, workers=None, devices="cpu", threads=2, joined=False) == Placement(3, 2.0, 0.0, False)


def test_what_a_cluster_has_not_yet_is_waited_for_and_what_this_machine_has_not_is_refused() -> None:
    small = capacity(Node(2, 1))
    assert place_workers(small, workers=9, devices=(0,), threads=1, joined=True) == Placement(9, 0.0, 1.0, False)
    assert place_workers(capacity(Node(4, 0)), workers=None, devices=(0,), threads=1, joined=True).workers == 1
    for workers, threads in ((3, 1), (None, 3)):
        with pytest.raises(ConfigError, match="ask for fewer workers"):
            place_workers(small, workers=workers, devices="cpu", threads=threads, joined=False)


def test_more_workers_than_gpus_here_share_them() -> None:
    here = capacity(Node(8, 2))
    assert place_workers(here, workers=3, devices=(0, 1), threads=1, joined=False) == Placement(3, 0.0, 0.5, False)


@pytest.mark.parametrize("sharing", [1, 2, 3, 7])
def test_a_gpu_is_shared_by_as_many_as_were_asked_for_here_and_on_a_cluster(sharing: int) -> None:
    cluster = capacity(Node(8, 2), Node(8, 0), Node(1, 4))
    for joined in (True, False):
        placement = place_workers(
            cluster, workers=None, workers_per_gpu=sharing, devices=(0,), threads=2, joined=joined
        )
        assert placement == Placement(6 * sharing, 0.0, 1 / sharing, joined)
        assert placement.room((*cluster.nodes, Node(1, 1))) == 7 * sharing
        assert placement.sharing == sharing
    some = place_workers(cluster, workers=5, workers_per_gpu=sharing, devices="gpu", threads=2, joined=True)
    assert some == Placement(5, 0.0, 1 / sharing, False)
    with pytest.raises(ConfigError, match="ask for fewer workers"):
        place_workers(cluster, workers=6 * sharing + 1, workers_per_gpu=sharing, devices=(0,), threads=2, joined=False)


def test_auto_means_the_gpus_of_a_cluster_or_else_its_cores() -> None:
    gpus = place_workers(capacity(Node(4, 0), Node(4, 1)), workers=None, devices="auto", threads=2, joined=True)
    cores = place_workers(capacity(Node(4, 0)), workers=None, devices="auto", threads=2, joined=True)
    assert (gpus.workers, gpus.gpus, cores.workers, cores.cpus) == (1, 1.0, 2, 2.0)
    assert "--devices cpu" in gpus.advice([Node(4, 0), Node(4, 1)])
    assert "--devices gpu, workers wait" in cores.advice([Node(4, 0)])
    assert "has GPUs now" in cores.advice([Node(4, 0), Node(4, 1)])


def test_gpus_that_were_asked_for_are_waited_for_and_nobody_is_advised() -> None:
    for workers, wanted in ((None, 1), (9, 9)):
        placement = place_workers(capacity(Node(4, 0)), workers=workers, devices="gpu", threads=2, joined=True)
        assert (placement.workers, placement.gpus, placement.cpus) == (wanted, 1.0, 0.0)
        assert placement.advice([Node(4, 0)]) == ""


@given(share=st.integers(1, 8), claimed=st.integers(1, 16), claims=st.integers(1, 8))
def test_claims_are_whole_devices_however_they_are_told(share: int, claimed: int, claims: int) -> None:
    placement = Placement(16, 0.0, 1 / share, False)
    told = claimed * float(f"{1 / claims:g}")
    assert placement.places(told) == -(-claimed // claims) * share
    assert Placement(16, 2.0, 0.0, False).places(told) == 0


def test_devices_that_are_alike_are_counted_together() -> None:
    nodes = [Node(4, 0), Node(4, 2, "A10G"), Node(64, 8, "H200"), Node(4, 2, "A10G"), Node(4, 1)]
    gpus = (Alike("H200", 8, 1), Alike("A10G", 4, 2), Alike("", 1, 1))
    assert group_devices(nodes, "auto", 2) == group_devices(nodes, "gpu", 2) == gpus
    assert group_devices(nodes, "cpu", 3) == (Alike("", 25, 5),)
    assert group_devices(nodes[:1], "auto", 2) == (Alike("", 2, 1),)
    assert group_devices(nodes[:1], "gpu", 2) == ()
    resources = {"CPU": 2.0, "GPU": 1.0, "accelerator_type:H200": 1.0}
    assert nodes_among([{"Alive": True, "NodeID": "a", "Resources": resources}]) == (Node(2, 1, "H200"),)
