"""A camera that publishes time-coded pictures, as a test holds it; it runs as a process of its own."""

import time
from typing import Any, Literal, Self

from tests.live.child import Child
from tests.live.pictures import End


class Camera:
    """Publishes while it is entered; whenever its server is gone, it tries again every 0.2 seconds.

    Picture after picture has the next index, also across sessions: one that the encoder never got has none. Their
    time code is the moment when the encoder got them. There is a key frame every second.
    """

    def __init__(
        self,
        url: str,
        *,
        size: tuple[int, int] = (180, 320),
        fps: float = 25.0,
        codec: Literal["h264", "hevc"] = "h264",
        pix_fmt: str = "yuv420p",
        audio: bool = False,
        noise: bool = False,
    ) -> None:
        """Start nothing yet.

        Args:
            url: Where to publish, by RTSP over TCP.
            size: (height, width) of the first pictures.
            fps: Pictures a second.
            codec: How they are encoded.
            pix_fmt: FFmpeg's name of a planar format of 8 bits.
            audio: Publish a tone as well, as AAC of 48 kHz.
            noise: Fill what the code leaves free with noise: 1.5 MB a second at the usual size and rate.
        """
        self._settings = {
            "url": url,
            "size": size,
            "fps": fps,
            "codec": codec,
            "pix_fmt": pix_fmt,
            "audio": audio,
            "noise": noise,
        }
        self._process: Child | None = None
        self._frames = 0
        self._sessions = 0
        self._ends = list[End]()

    def __enter__(self) -> Self:
        self._process = Child("tests.live.camera_process", self._settings, self._hear)
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    @property
    def frames(self) -> int:
        """Pictures that were handed to a server's connection so far; the last of them may have been lost with it."""
        return self._frames

    @property
    def sessions(self) -> int:
        """How often it was let in to publish."""
        return self._sessions

    @property
    def ends(self) -> list[End]:
        """When and why it was not, or no longer, published."""
        return list(self._ends)

    @property
    def pid(self) -> int:
        return self._running.pid

    def wait_for_frames(self, count: int = 1, timeout_seconds: float = 30.0) -> None:
        """Wait until so many more pictures were sent.

        Raises:
            AssertionError: They were not, in that time.
        """
        wanted = self._frames + count
        self._running.wait_for(lambda: self._frames >= wanted, timeout_seconds, self._state)

    def wait_for_session(self, number: int = 1, timeout_seconds: float = 30.0) -> None:
        """Wait until it was let in so often in all.

        Raises:
            AssertionError: It was not, in that time.
        """
        self._running.wait_for(lambda: self._sessions >= number, timeout_seconds, self._state)

    def wait_for_end(self, number: int = 1, timeout_seconds: float = 30.0) -> End:
        """Wait for the end of a session or a try, counted from 1, and give it.

        Raises:
            AssertionError: It did not come in time.
        """
        self._running.wait_for(lambda: len(self._ends) >= number, timeout_seconds, self._state)
        return self._ends[number - 1]

    def resize(self, size: tuple[int, int]) -> None:
        """Let pictures have another size, (height, width), from the next one on, in the same session."""
        self._running.ask("resize", size=size)

    def pause(self) -> None:
        """Stop the process (SIGSTOP); its connection stays open."""
        self._running.suspend()

    def resume(self) -> None:
        """Let it go on, with the next index; what it had no time for is missing in time only."""
        self._running.resume()

    @property
    def _running(self) -> Child:
        assert self._process is not None, "the camera was not entered"
        return self._process

    def _hear(self, kind: str, fields: list[Any]) -> None:
        match kind:
            case "picture":
                self._frames += 1
            case "published":
                self._sessions += 1
            case "ended":
                self._ends.append(End(*fields))

    def _state(self) -> str:
        return f"{self._frames} frames in {self._sessions} sessions at {time.monotonic():.1f}, ends {self._ends[-3:]}"
