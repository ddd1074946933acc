"""A viewer that reads the time codes of what it plays, as a test holds it; it runs as a process of its own."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Self

from tests.live.child import Child
from tests.live.pictures import (
    End,
    Picture,
    Sound,
    duplicated,
    fresh,
    gaps,
    indices,
    largest_gap,
    latencies,
    lost,
    reordered,
    slope,
)

__all__ = [
    "End",
    "Picture",
    "Sound",
    "Viewer",
    "duplicated",
    "fresh",
    "gaps",
    "indices",
    "largest_gap",
    "latencies",
    "lost",
    "reordered",
    "slope",
]


class Viewer:
    """Plays while it is entered, and opens the URL again 0.1 seconds after a session, or a try, ended."""

    def __init__(
        self,
        url: str | Path,
        *,
        transport: Literal["tcp", "udp"] = "tcp",
        analyze_seconds: float = 0.0,
        timeout_seconds: float = 10.0,
        reopen: bool = True,
        options: Mapping[str, str] | None = None,
    ) -> None:
        """Start nothing yet.

        Args:
            url: RTSP, HTTP, or a file such as an HLS playlist.
            transport: Of RTSP's packets.
            analyze_seconds: How much of an RTSP stream FFmpeg may look at before it opens; what it looked at comes in
                one burst.
            timeout_seconds: How long RTSP may be silent when it is opened. Once it plays, FFmpeg lets the first such
                time pass and ends the session after the second.
            reopen: Whether to play again after the end; False plays once, as is right for a file that is complete.
            options: More of FFmpeg's, or others than these make.
        """
        target = str(url.resolve()) if isinstance(url, Path) else url
        chosen = dict[str, str]()
        if target.startswith("rtsp"):  # elsewhere, FFmpeg has to look to find the streams
            chosen |= {"rtsp_transport": transport, "timeout": str(round(timeout_seconds * 1e6))}
            chosen |= {"analyzeduration": str(round(analyze_seconds * 1e6))}
            chosen |= {"probesize": "32"} if analyze_seconds == 0 else {}
        self._settings = {"url": target, "options": chosen | dict(options or {}), "reopen": reopen}
        self._process: Child | None = None
        self._pictures = list[Picture]()
        self._sounds = list[Sound]()
        self._ends = list[End]()
        self._sessions = 0
        self._damaged = 0

    def __enter__(self) -> Self:
        self._process = Child("tests.live.viewer_process", self._settings, self._hear)
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    @property
    def pictures(self) -> list[Picture]:
        """All until now, in order of arrival."""
        return list(self._pictures)

    @property
    def sounds(self) -> list[Sound]:
        """All packets of sound until now, in order of arrival."""
        return list(self._sounds)

    @property
    def sessions(self) -> int:
        """How often the URL was opened."""
        return self._sessions

    @property
    def ends(self) -> list[End]:
        """Of sessions and of tries to open one."""
        return list(self._ends)

    @property
    def damaged(self) -> int:
        """Packets that the decoder refused."""
        return self._damaged

    @property
    def pid(self) -> int:
        return self._running.pid

    @property
    def is_over(self) -> bool:
        """Whether the process ended: with ``reopen=False``, after the last picture was reported."""
        return self._running.is_over

    def wait_for(self, condition: Callable[[], object], timeout_seconds: float = 30.0) -> None:
        """Wait until something is so, mostly about `pictures`; looks at each that comes.

        Raises:
            AssertionError: It did not come true in time.
        """
        self._running.wait_for(condition, timeout_seconds, self._state)

    def wait_for_pictures(self, count: int = 1, timeout_seconds: float = 30.0) -> list[Picture]:
        """Wait for so many more fresh pictures, and give them, with whatever came in between.

        Raises:
            AssertionError: They did not come in time.
        """
        start, seen = len(self._pictures), set(indices(self._pictures))
        self.wait_for(lambda: len(set(indices(self._pictures[start:])) - seen) >= count, timeout_seconds)
        return self._pictures[start:]

    def wait_for_session(self, number: int = 1, timeout_seconds: float = 30.0) -> None:
        """Wait until the URL was opened so often in all.

        Raises:
            AssertionError: It was not, in that time.
        """
        self.wait_for(lambda: self._sessions >= number, timeout_seconds)

    def wait_for_end(self, number: int = 1, timeout_seconds: float = 30.0) -> End:
        """Wait for the end of a session or a try, counted from 1, and give it.

        Raises:
            AssertionError: It did not come in time.
        """
        self.wait_for(lambda: len(self._ends) >= number, timeout_seconds)
        return self._ends[number - 1]

    def suspend(self) -> None:
        """Stop the process (SIGSTOP): a player that does not read."""
        self._running.suspend()

    def resume(self) -> None:
        self._running.resume()

    @property
    def _running(self) -> Child:
        assert self._process is not None, "the viewer was not entered"
        return self._process

    def _hear(self, kind: str, fields: list[Any]) -> None:
        match kind:
            case "picture":
                self._pictures.append(Picture(*fields))
            case "sound":
                self._sounds.append(Sound(*fields))
            case "opened":
                self._sessions += 1
            case "ended":
                self._ends.append(End(*fields))
            case "damaged":
                self._damaged += 1

    def _state(self) -> str:
        return (
            f"at {time.monotonic():.1f}, {len(self._pictures)} pictures and {len(self._sounds)} sounds in"
            f" {self._sessions} sessions; last {self._pictures[-1:]}, ends {self._ends[-3:]}"
        )
