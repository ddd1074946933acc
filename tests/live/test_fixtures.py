"""Tests of the camera, the viewer and their processes: what a test concludes from them, it concludes rightly."""

import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from itertools import pairwise
from pathlib import Path

import av
import pytest
from av.video.stream import VideoStream

from tests.live.camera import Camera
from tests.live.camera_session import Painter
from tests.live.child import PROJECT, Child
from tests.live.gst import GstServer, require_gst
from tests.live.ports import free_port
from tests.live.relay import Relay
from tests.live.scene import open_scene
from tests.live.timecode import TimeCode
from tests.live.viewer import Viewer, duplicated, fresh, indices, latencies, lost, reordered, slope

PARENT = """
import sys, time
from tests.live.camera import Camera
with Camera("rtsp://127.0.0.1:9/nobody") as camera:
    print(camera.pid, flush=True)
    if sys.argv[1] == "stopped":
        camera.pause()
    print("ready", flush=True)
    time.sleep(600)
"""


@pytest.fixture(scope="module")
def relay() -> Iterator[Relay]:
    with Relay() as relay:
        yield relay


def test_every_picture_arrives_once_and_in_order_and_soon(relay: Relay) -> None:
    with open_scene(relay, "whole") as scene:
        scene.viewer.wait_for_pictures(125)
        seen = scene.viewer.pictures
    numbers = indices(seen)
    assert len(numbers) == len(seen)
    assert lost(numbers) == reordered(numbers) == duplicated(numbers) == []
    assert numbers[-1] <= scene.camera.frames
    waits = latencies(seen)
    assert min(waits) >= 0
    assert statistics.median(waits) < 0.5
    assert abs(slope(seen)) < 0.1
    steps = [after.pts - before.pts for before, after in pairwise(seen) if before.pts is not None and after.pts]
    assert statistics.median(steps) == pytest.approx(0.04)
    assert {(one.height, one.width, one.session) for one in seen} == {(180, 320, 1)}
    assert all(80 < one.luma < 150 for one in seen)


def test_a_camera_changes_its_size_within_a_session(relay: Relay) -> None:
    with open_scene(relay, "sizes") as scene:
        for size in ((360, 640), (90, 160), (180, 320)):
            scene.camera.resize(size)
            scene.viewer.wait_for(partial(_shows, scene.viewer, size))
            scene.viewer.wait_for_pictures(3)
        numbers = indices(scene.viewer.pictures)
        assert len(numbers) == len(scene.viewer.pictures)
        assert lost(numbers) == []
        assert scene.camera.sessions == scene.viewer.sessions == 1


def _shows(viewer: Viewer, size: tuple[int, int]) -> bool:
    last = viewer.pictures[-1]
    return (last.height, last.width) == size


def test_hevc_and_sound(relay: Relay) -> None:
    with open_scene(relay, "both", Camera(relay.url("both"), codec="hevc", audio=True)) as scene:
        scene.viewer.wait_for_pictures(25)
        seen, sounds = scene.viewer.pictures, scene.viewer.sounds
    assert lost(indices(seen)) == reordered(indices(seen)) == []
    assert len(sounds) > 20
    times = [sound.pts for sound in sounds if sound.pts is not None]
    steps = [after - before for before, after in pairwise(times)]
    assert statistics.median(steps) == pytest.approx(1024 / 48_000, abs=1e-3)
    assert seen[-1].pts is not None
    assert abs(seen[-1].pts - times[-1]) < 1.0
    assert statistics.median(latencies(seen)) < 0.5


def test_a_camera_that_stops_goes_on_with_its_next_picture(relay: Relay) -> None:
    with open_scene(relay, "pause") as scene:
        scene.camera.pause()
        time.sleep(0.8)
        scene.camera.resume()
        scene.viewer.wait_for_pictures(10)
        seen = scene.viewer.pictures
        assert lost(indices(seen)) == []
        assert max(after.pts - before.pts for before, after in pairwise(seen) if before.pts and after.pts) > 0.5
        assert scene.camera.ends == []


def test_a_camera_without_a_server_tries_until_there_is_one() -> None:
    nowhere = f"rtsp://127.0.0.1:{free_port()}/live"
    with Camera(nowhere) as camera:
        first, third = camera.wait_for_end(1), camera.wait_for_end(3)
        assert first.reason == "ConnectionRefusedError"
        assert third.time - first.time > 0.3
        assert camera.frames == camera.sessions == 0


@pytest.mark.parametrize("name", ["clip.mp4", "live.m3u8"])
def test_a_file_is_played_once_and_completely(tmp_path: Path, name: str) -> None:
    painter = Painter((180, 320), "yuv420p", noise=False)
    with av.open(tmp_path / name, "w", options={"hls_time": "1"} if name.endswith("m3u8") else {}) as output:
        video = output.add_stream("libx264", rate=25, options={"preset": "ultrafast", "g": "25"})
        assert isinstance(video, VideoStream)
        video.width, video.height, video.pix_fmt = 320, 180, "yuv420p"
        video.codec_context.thread_count = 1
        for index in range(60):
            frame = painter.picture(TimeCode(index, 1000 * index))
            frame.pts, frame.time_base = index, Fraction(1, 25)
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
    with Viewer(tmp_path / name, reopen=False) as viewer:
        assert viewer.wait_for_end().reason == "end"
        seen = viewer.pictures
    assert indices(seen) == list(range(60))
    assert [one.time for one in seen] == list(range(60))
    assert len(fresh(seen)) == 60


@pytest.mark.parametrize("state", ["running", "stopped"])
def test_a_process_ends_with_its_parent(state: str) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, state],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
    )
    assert parent.stdout is not None
    with parent.stdout:
        child = int(parent.stdout.readline())
        assert parent.stdout.readline() == "ready\n"
        os.kill(child, 0)
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    deadline = time.monotonic() + 30
    while Path(f"/proc/{child}").exists() and "(zombie)" not in Path(f"/proc/{child}/status").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_process_that_fails_is_told_of(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="it ended"):
        Child("tests.live.no_such_module", {}, errors=tmp_path / "errors")
    assert "No module named tests.live.no_such_module" in (tmp_path / "errors").read_text()
    with Relay() as relay, pytest.raises(AssertionError, match="TypeError"):
        relay._set(None, no_such_fault=1)


def test_gst_rtsp_server_between_camera_and_viewer() -> None:
    require_gst()
    with GstServer() as server, Camera(server.publish_url()) as camera:
        camera.wait_for_session()
        with Viewer(server.url()) as viewer:
            viewer.wait_for_pictures(25)
            numbers = indices(viewer.pictures)
            assert lost(numbers) == reordered(numbers) == duplicated(numbers) == []
            server.crash()
            viewer.wait_for_end()
            server.restart()
            camera.wait_for_session(2)
            viewer.wait_for_session(2)
            viewer.wait_for_pictures(5)
