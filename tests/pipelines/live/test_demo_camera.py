"""The camera that README has strangers start."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.live.ports import free_port
from tests.live.viewer import Viewer

PROJECT = Path(__file__).parents[3]


def test_it_can_be_watched_and_ends_with_ctrl_c() -> None:
    port = free_port()
    command = [sys.executable, str(PROJECT / "demo" / "camera.py"), "--port", str(port), "--size", "160x96"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        assert process.stdout is not None
        said = process.stdout.readline()
        assert said.split() == ["camera:", f"rtsp://127.0.0.1:{port}/camera"]
        with Viewer(f"rtsp://127.0.0.1:{port}/camera") as viewer:
            viewer.wait_for(lambda: len(viewer.pictures) >= 60, 30)  # past the end of the clip, which is shown again
            assert {(picture.height, picture.width) for picture in viewer.pictures} == {(96, 160)}
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.communicate()
