"""Servers and clients that others wrote understand what is published, and are understood."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np
import pytest

from tests.live.camera import Camera
from tests.live.gst import GstServer, require_gst
from tests.live.restored import Restored
from tests.live.through import MOST_BUSY_SECONDS, Through, check_accounts, open_through, rate
from tests.live.timecode import plane_of, read
from tests.live.viewer import Viewer, indices, lost, reordered

PATIENCE_SECONDS = 60.0
"""For clients that are programs of others: they hang where they get nothing."""

FRAMES = 40
"""That each client is given: more than a second, so that there is a key frame among them."""

FAST = (0.002, 0.004, 0.008)

ONE_SLICE = {"x264-params": "threads=1"}
"""Pictures of several slices do not survive GStreamer's rtph264pay: it puts parameter sets between those of key frames,
and decoders then take one picture for several."""


@pytest.fixture(scope="module")
def through() -> Iterator[Through]:
    """With UDP from the camera on, and with sound."""
    with open_through(audio=True, seconds=FAST, stream={"rtsp_transport": "udp"}) as opened:
        yield opened


def by_ffmpeg(url: str) -> list[int]:
    """The indices of pictures that FFmpeg's own program plays."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "repeat+error", "-rtsp_transport", "tcp", "-i", url]
    command += ["-frames:v", str(FRAMES), "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "gray", "-"]
    done = subprocess.run(command, capture_output=True, timeout=PATIENCE_SECONDS, check=True)
    # Its muxer of raw video counts in whole frames, and two that are close together fall into one.
    complaints = [line for line in done.stderr.splitlines() if b"non monotonically increasing dts" not in line]
    assert complaints == []
    lumas = np.frombuffer(done.stdout, np.uint8).reshape(-1, 180, 320)
    codes = [read(luma) for luma in lumas]
    return [code.index for code in codes if code is not None]


def by_gstreamer(url: str, folder: Path) -> list[int]:
    """The indices of pictures that GStreamer plays."""
    played = folder / "played.h264"
    elements = [
        ["rtspsrc", f"location={url}", "protocols=tcp", "latency=0"],
        ["application/x-rtp,media=video"],
        ["rtph264depay"],
        ["h264parse"],
        ["video/x-h264,stream-format=byte-stream,alignment=au"],
        ["identity", f"eos-after={FRAMES + 1}"],
        ["filesink", f"location={played}"],
    ]
    command = ["gst-launch-1.0", "-q", *elements[0]]
    for element in elements[1:]:
        command += ["!", *element]
    subprocess.run(command, capture_output=True, timeout=PATIENCE_SECONDS, check=True)
    with av.open(str(played)) as container:
        codes = [read(plane_of(frame)) for frame in container.decode(video=0)]
    return [code.index for code in codes if code is not None]


def check(numbers: list[int]) -> None:
    """In order, and without a hole; FFmpeg's decoder may have waited for the first key frame."""
    assert len(numbers) >= FRAMES - 26
    assert reordered(numbers) == lost(numbers) == []


def udp_sockets(pid: int) -> int:
    """How many a process has."""
    known = {line.split()[9] for line in Path("/proc/net/udp").read_text().splitlines()[1:]}
    links = [os.readlink(descriptor) for descriptor in Path(f"/proc/{pid}/fd").iterdir()]
    return sum(link.removeprefix("socket:[").removesuffix("]") in known for link in links)


def test_a_source_by_udp(through: Through) -> None:
    """None of its packets is lost on one machine."""
    assert udp_sockets(through.run.stream()["pid"]) >= 4, "two for pictures and two for sound"
    pictures = through.await_fresh(count=75)
    assert lost(indices(pictures)) == reordered(indices(pictures)) == []
    assert rate(pictures) > 20
    assert through.viewer.sounds
    through.check_viewer()
    through.check_accounts()
    before = through.run.stream()["reconnects"].get("timeout", 0)
    through.source.stall(3)
    through.run.wait_for(lambda stream: stream["reconnects"].get("timeout", 0) > before)
    through.await_fresh()
    assert through.busy_seconds() <= MOST_BUSY_SECONDS


def test_ffmpeg_plays_what_is_published(through: Through) -> None:
    check(by_ffmpeg(through.target.url("restored")))


def test_gstreamer_plays_what_is_published(through: Through, tmp_path: Path) -> None:
    require_gst()
    check(by_gstreamer(through.target.url("restored"), tmp_path))


def test_gst_rtsp_server_at_both_ends(tmp_path: Path) -> None:
    require_gst()
    with GstServer(["camera", "restored"]) as server, Camera(server.publish_url("camera")) as camera:
        camera.wait_for_session()
        asked = {
            "source": server.url("camera"),
            "to": [server.publish_url("restored")],
            "encoder_options": ONE_SLICE,
        }
        with Restored(asked, seconds=FAST) as run:
            run.wait_for(lambda stream: stream["outputs"][0]["counts"]["published"] >= 25)
            with Viewer(server.url("restored")) as viewer:
                pictures = viewer.wait_for_pictures(75)
                assert lost(indices(pictures)) == reordered(indices(pictures)) == []
                assert viewer.damaged == 0
                check(by_ffmpeg(server.url("restored")))
                check(by_gstreamer(server.url("restored"), tmp_path))
            check_accounts(run.stream())
            run.terminate()
            assert run.wait() == 0, run.log
