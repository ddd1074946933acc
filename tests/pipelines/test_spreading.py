"""One file over several machines of a cluster: the same bytes as on one."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from streamrestore.checkpoint import write_safetensors
from tests.apart import tell_story
from tests.clips import Clip, make_clip
from tests.networks import tiny_model

COMMAND = Path(sysconfig.get_path("scripts")) / "streamrestore"

STORE_BYTES = 100 << 20


def restore(source: Path, output: Path, *options: str) -> str:
    """As the command; what it said."""
    command = [str(COMMAND), "restore", str(source), "-o", str(output), "-t", "derain", "--devices", "cpu", "-v"]
    command += ["--weights", str(source.with_name("tiny.safetensors")), "--stages", "1", "--progress", "plain"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def main(folder: Path) -> None:
    """Restore a file on a cluster of a head that does no work and two other machines."""
    os.environ["RAY_AUTH_MODE"] = "disabled"
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 0, "object_store_memory": STORE_BYTES, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=2, object_store_memory=STORE_BYTES)
        said = restore(folder / "in.mp4", folder / "spread.mp4", "--address", cluster.address)
        assert "15 segments are given to workers on all machines" in said, said
    finally:
        cluster.shutdown()  # type: ignore[no-untyped-call] # Ray's, without types


@pytest.mark.ray
def test_a_file_on_a_cluster_of_several_machines_is_the_same_bit_for_bit(tmp_path: Path) -> None:
    write_safetensors(tiny_model(scale=0.5, crop=96), tmp_path / "tiny.safetensors")
    # A frame every three seconds: 15 segments of four.
    clip = Clip(size=(64, 96), pts=tuple(range(0, 60 * 90000, 90000)), gop=4, b_frames=1, sound="aac")
    source = make_clip(tmp_path / "in.mp4", clip)
    restore(source, tmp_path / "alone.mp4", "--workers", "0")
    tell_story("tests.pipelines.test_spreading", tmp_path, timeout=240)
    assert (tmp_path / "spread.mp4").read_bytes() == (tmp_path / "alone.mp4").read_bytes()
    assert not list(tmp_path.glob("*.work"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
