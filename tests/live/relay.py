"""The RTSP relay that misbehaves on command, as a test holds it; it runs as a process of its own.

    with Relay() as relay, Camera(relay.url("live")) as camera, Viewer(relay.url("live")) as viewer:
        relay.stall(3)

Each command has come true when its method returns. Those that name a ``path`` hold for that one alone, else for
all paths, also those that come to be later.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Self

from tests.live.child import Child
from tests.live.ports import free_port


@dataclass(frozen=True)
class PathStats:
    """What became of one path since the relay's process started."""

    published: bool
    """Whether a publisher is there."""
    packets: int
    """RTP and RTCP that publishers sent."""
    size: int
    """Of those, in bytes."""
    frames: int
    """Pictures that publishers sent to their end."""
    players: int
    """That play now."""
    generation: int
    """Times that a publisher was let in (ANNOUNCE)."""
    unkeyed: int
    """Publishers of H.264 whose first picture was no key frame."""


@dataclass(frozen=True)
class Asked:
    """A request of a client, also of one that was refused or ignored."""

    time: float
    """When it came, as `time.monotonic` has it."""
    method: str
    path: str


@dataclass(frozen=True)
class Stats:
    """What became of everything since the relay's process started."""

    relayed: int
    """Packets that were passed on, once for all players."""
    dropped: int
    """Packets lost to `Relay.drop`."""
    corrupted: int
    """Packets changed by `Relay.corrupt`."""
    overflowed: int
    """Packets that a player was too slow for."""
    paths: Mapping[str, PathStats]
    requests: tuple[Asked, ...]


class Relay:
    """Runs the relay while it is entered."""

    def __init__(
        self,
        *,
        user: str | None = None,
        password: str | None = None,
        digest: bool = True,
        port: int | None = None,
    ) -> None:
        """Start nothing yet.

        Args:
            user: Who may publish and play; None is everyone.
            password: The user's.
            digest: Ask for a digest; False for the password itself.
            port: None takes one that is free.
        """
        self._user, self._password, self._digest = user, password, digest
        self._process: Child | None = None
        self.port = free_port() if port is None else port
        """Of 127.0.0.1; the same for as long as this object lives."""

    def __enter__(self) -> Self:
        self.restart()
        return self

    def __exit__(self, *_: object) -> None:
        self.crash()

    def url(self, path: str = "live", *, auth: bool = True) -> str:
        """Of a path, to publish and to play.

        Args:
            path: Any name.
            auth: Whether it holds the name and the password, if there are any.
        """
        who = f"{self._user}:{self._password}@" if self._user is not None and auth else ""
        return f"rtsp://{who}127.0.0.1:{self.port}/{path}"

    def stats(self) -> Stats:
        """What became of everything."""
        said = self._running.ask("stats")
        return Stats(
            said["relayed"],
            said["dropped"],
            said["corrupted"],
            said["overflowed"],
            {name: PathStats(**path) for name, path in said["paths"].items()},
            tuple(Asked(*one) for one in said["requests"]),
        )

    # Streams

    def stall(self, seconds: float, *, path: str | None = None) -> None:
        """Packets vanish for so long; connections stay, and requests are answered."""
        self._set(path, stalled_until=time.monotonic() + seconds)

    def freeze(self, seconds: float, *, path: str | None = None) -> None:
        """Nothing is read or answered for so long; connections stay."""
        self._set(path, frozen_until=time.monotonic() + seconds)

    def drop(self, probability: float, *, path: str | None = None) -> None:
        """Lose this share of media packets, until it is set to 0."""
        self._set(path, drop=probability)

    def corrupt(self, probability: float, *, path: str | None = None) -> None:
        """Change four bytes in this share of media packets, until it is set to 0."""
        self._set(path, corrupt=probability)

    def jump(self, seconds: float, *, path: str | None = None) -> None:
        """Set the camera's clock, RTP's and RTCP's alike, forward or back; only of paths that are there."""
        self._running.ask("jump", name=path, seconds=seconds)

    def wrap(self, in_seconds: float, *, path: str | None = None) -> None:
        """Let the 32 bits of the RTP clocks run over then.

        To get there, the clock jumps at once and RTCP does not tell: players should come afterwards.
        """
        self._set(path, wraps_at=time.monotonic() + in_seconds)

    def mute(self, *tracks: int, path: str | None = None) -> None:
        """Only these tracks, counted from 0 as in the SDP, are silent from now on."""
        self._set(path, muted=tracks)

    def unmute(self, *, path: str | None = None) -> None:
        self._set(path, muted=())

    def bandwidth(self, bytes_per_second: float | None, *, path: str | None = None) -> None:
        """Serve each player no faster; None lifts that. 1 MiB may wait for each, the rest is lost."""
        self._set(path, play_bytes_per_second=bytes_per_second)

    def slow_publish_read(self, bytes_per_second: float | None = 0, *, path: str | None = None) -> None:
        """Read from each publisher no faster, with 0 nothing at all; None lifts that."""
        self._set(path, publish_bytes_per_second=bytes_per_second)

    def burst(self, seconds: float, *, path: str | None = None) -> None:
        """Players that come from now on first get all of so long at once, from a key frame on; H.264 alone."""
        self._set(path, burst_seconds=seconds)

    # Sessions

    def never_answer_open(self, seconds: float, *, path: str | None = None) -> None:
        """Accept clients that come within this time and never answer them, not even later."""
        self._set(path, unanswered_until=time.monotonic() + seconds)

    def session(self, timeout_seconds: int, *, path: str | None = None) -> None:
        """Tell clients that come from now on how often they must ask for something; nobody is thrown out for it."""
        self._set(path, session_timeout_seconds=timeout_seconds)

    def redirect(self, path: str, to: str | None) -> None:
        """Send players of a path to another one (302); None lifts that."""
        self._set(path, redirected_to=to)

    def strip_sprop(self, on: bool = True, *, path: str | None = None) -> None:
        """Hide the parameter sets in the SDP from players that come from now on."""
        self._set(path, without_sprop=on)

    def kick(self, role: Literal["play", "pub"], *, rst: bool = False, path: str | None = None) -> None:
        """End the connections of players, or of publishers and, with them, of their players."""
        self._running.ask("kick", role=role, rst=rst, path=path)

    def kill(self, *, rst: bool = False, listen: bool = False) -> None:
        """End all connections, by FIN or RST; new ones are refused until `relisten`, unless ``listen``."""
        self._running.ask("kill", rst=rst, listen=listen)

    def relisten(self) -> None:
        """Accept connections again, on the same port."""
        self._running.ask("relisten")

    # The process

    def suspend(self) -> None:
        """Stop the process (SIGSTOP): the kernel goes on accepting. No command is answered until `resume`."""
        self._running.suspend()

    def resume(self) -> None:
        self._running.resume()

    def crash(self) -> None:
        """Kill the process (SIGKILL)."""
        if self._process is not None:
            self._process.close()
            self._process = None

    def restart(self) -> None:
        """Start a new process on the same port, after the old one, if there is any, was killed.

        It knows nothing of faults that were set, and counts from 0.
        """
        self.crash()
        settings = {"user": self._user, "password": self._password, "digest": self._digest, "port": self.port}
        self._process = Child("tests.live.relay_server", settings)

    @property
    def _running(self) -> Child:
        assert self._process is not None, "the relay does not run"
        return self._process

    def _set(self, path: str | None, **faults: object) -> None:
        self._running.ask("set", path=path, faults=faults)
