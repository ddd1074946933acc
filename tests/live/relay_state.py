"""What the relay knows: paths, clients, counters, and what is wrong with which path. No input, no output."""

import asyncio
import os
import random
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from tests.live.faults import Clocks, Faults, Track
from tests.live.relay_kept import Kept, Place


@dataclass
class Path:
    """What is published under a name."""

    faults: Faults
    clocks: Clocks = field(default_factory=Clocks)
    publisher: "Client | None" = None
    sdp: bytes = b""
    tracks: tuple[Track, ...] = ()
    packets: int = 0
    size: int = 0
    """Of the packets, in bytes."""
    frames: int = 0
    generation: int = 0
    kept: Kept = field(default_factory=Kept)
    """Of the publisher."""
    unkeyed: int = 0


class Client:
    """A connection; passive."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.role: Literal["play", "pub"] | None = None
        self.is_playing = False
        self.name = ""
        """Of the path that it asked for."""
        self.requests = 0
        self.is_ignored = False
        self.session, self.nonce = os.urandom(4).hex(), os.urandom(8).hex()
        self.channels: dict[Place, int] = {}
        """Where its packets go within the connection."""
        self.ports: dict[Place, int] = {}
        """Where they go by UDP."""
        self.queue = asyncio.Queue[tuple[Place, bytes]]()
        """Bounded by whoever fills it, in bytes."""
        self.queued_bytes = 0
        self.read_due = 0.0
        """When the next packet of a publisher may be read."""
        self.sender: asyncio.Task[None] | None = None

    def hang_up(self, rst: bool) -> None:
        """End it, by FIN or by RST."""
        if not rst:
            self.writer.close()
            return
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


@dataclass
class State:
    """All that the relay's parts share; they run in one thread."""

    usual: Faults = field(default_factory=Faults)
    """Of paths that nobody has named yet."""
    paths: dict[str, Path] = field(default_factory=dict)
    clients: set[Client] = field(default_factory=set)
    requests: list[tuple[float, str, str]] = field(default_factory=list)
    """Time, method and path of each."""
    relayed: int = 0
    dropped: int = 0
    corrupted: int = 0
    overflowed: int = 0
    chance: random.Random = field(default_factory=lambda: random.Random(0))

    def path(self, name: str) -> Path:
        """The path of a name, which is there from now on."""
        return self.paths.setdefault(name, Path(self.usual))

    def faults(self, name: str) -> Faults:
        """What is wrong with a path, whether it is there or not."""
        return self.paths[name].faults if name in self.paths else self.usual

    def clients_of(self, name: str | None, role: str) -> Iterator[Client]:
        """Those that publish or play a path, or any."""
        for client in self.clients:
            if client.role == role and name in (None, client.name):
                yield client

    def change(self, name: str | None, **changes: Any) -> None:  # noqa: ANN401 # fields of Faults
        """Set what is wrong with a path, or with all of them and those to come."""
        for path in self.paths.values() if name is None else [self.path(name)]:
            path.faults = replace(path.faults, **changes)
        if name is None:
            self.usual = replace(self.usual, **changes)

    def jump(self, name: str | None, seconds: float) -> None:
        """Set clocks forward; those of paths to come count from zero."""
        for path in self.paths.values() if name is None else [self.path(name)]:
            path.faults = replace(path.faults, clock_seconds=path.faults.clock_seconds + seconds)

    def stats(self) -> dict[str, object]:
        """The fields of `tests.live.relay.Stats`."""
        return {
            "relayed": self.relayed,
            "dropped": self.dropped,
            "corrupted": self.corrupted,
            "overflowed": self.overflowed,
            "paths": {
                name: {
                    "published": path.publisher is not None,
                    "packets": path.packets,
                    "size": path.size,
                    "frames": path.frames,
                    "players": sum(client.is_playing for client in self.clients_of(name, "play")),
                    "generation": path.generation,
                    "unkeyed": path.unkeyed,
                }
                for name, path in self.paths.items()
            },
            "requests": self.requests,
        }
