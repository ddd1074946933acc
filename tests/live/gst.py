"""gst-rtsp-server, a server that others wrote, as a test holds it; and whether it can be had here."""

import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Self

import pytest

from tests.live.child import Child
from tests.live.ports import free_port

PYTHON = "/usr/bin/python3"
"""Debian's own has the bindings; those cannot be installed into another one."""
PACKAGES = (
    "gir1.2-gst-rtsp-server-1.0",
    "python3-gi",
    "gstreamer1.0-plugins-base",
    "gstreamer1.0-plugins-good",
    "gstreamer1.0-plugins-bad",
    "gstreamer1.0-tools",
)
_TRY = """
import gi
gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gst, GstRtspServer
Gst.init(None)
elements = ["rtph264depay", "h264parse", "appsink", "appsrc", "rtph264pay"]
print(*[element for element in elements if Gst.ElementFactory.find(element) is None])
"""


@cache
def missing() -> str:
    """What keeps gst-rtsp-server from being used, and how to get it; empty if nothing does."""
    how = "; to get it: apt-get install --no-install-recommends " + " ".join(PACKAGES)
    if not Path(PYTHON).exists():
        return f"there is no {PYTHON}{how}"
    done = subprocess.run([PYTHON, "-c", _TRY], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return f"{PYTHON} cannot use gst-rtsp-server: {done.stderr.strip().splitlines()[-1:]}{how}"
    absent = done.stdout.split()
    return f"GStreamer lacks {', '.join(absent)}{how}" if absent else ""


def require_gst() -> None:
    """Skip the test where gst-rtsp-server cannot be used."""
    if reason := missing():
        pytest.skip(reason)


class GstServer:
    """Runs the server while it is entered. H.264 only, without sound; a player waits until there is a picture."""

    def __init__(self, names: Sequence[str] = ("live",)) -> None:
        """Start nothing yet.

        Args:
            names: What can be published and played; others are not found.
        """
        self._names = list(names)
        self._process: Child | None = None
        self.port = free_port()
        """Of 127.0.0.1; the same for as long as this object lives."""

    def __enter__(self) -> Self:
        self.restart()
        return self

    def __exit__(self, *_: object) -> None:
        self.crash()

    def publish_url(self, name: str = "live") -> str:
        return f"rtsp://127.0.0.1:{self.port}/pub/{name}"

    def url(self, name: str = "live") -> str:
        """To play."""
        return f"rtsp://127.0.0.1:{self.port}/{name}"

    def suspend(self) -> None:
        """Stop the process (SIGSTOP): the kernel goes on accepting."""
        assert self._process is not None, "the server does not run"
        self._process.suspend()

    def resume(self) -> None:
        assert self._process is not None, "the server does not run"
        self._process.resume()

    def crash(self) -> None:
        """Kill the process (SIGKILL)."""
        if self._process is not None:
            self._process.close()
            self._process = None

    def restart(self) -> None:
        """Start a new process on the same port, after the old one, if there is any, was killed."""
        self.crash()
        self._process = Child("tests.live.gst_server", {"names": self._names, "port": self.port}, python=PYTHON)
