"""What is known of a running live stream at one moment: for logs, health and metrics."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from streamrestore.live.states import Cause, PublisherState, ReaderState


@dataclass(frozen=True, slots=True)
class Latency:
    """Of the frames of the last ten seconds, from the arrival of a frame's packet to its being handed to the outputs.

    In seconds.
    """

    p50: float
    p95: float
    p99: float
    max: float


@dataclass(frozen=True, slots=True)
class OutputReport:
    """One output of a stream."""

    name: str
    """Its address without secrets."""
    state: PublisherState
    published: int = 0
    """Fresh frames that were encoded and taken by the other side's connection."""
    held: int = 0
    """Repeats of the last frame, cards among them, that went out while nothing fresh came."""
    dropped: Mapping[str, int] = field(default_factory=dict)
    """Fresh frames that this output did not take, by reason."""
    in_flight: int = 0
    """Fresh frames handed to the publisher's process and not yet answered for."""
    reconnects: Mapping[Cause, int] = field(default_factory=dict)
    """Connections that ended or were not made, by cause."""
    respawns: int = 0
    """Processes that were killed or died, and were replaced."""
    age_seconds: float | None = None
    """Since the last frame, fresh or held, went out; None before the first."""
    pid: int | None = None
    """Of the process that publishes; None while there is none."""


@dataclass(frozen=True, slots=True)
class StreamReport:
    """One stream.

    Every frame that was captured has one fate: ``captured == sum(restored) + passed + sum(dropped) + in_flight``.
    """

    name: str
    source: str
    """Its address without secrets."""
    state: ReaderState
    captured: int = 0
    """Frames decoded since the start, but for the opening bursts of connections."""
    restored: Mapping[int, int] = field(default_factory=dict)
    """Frames restored, by how many stages of the network were run."""
    passed: int = 0
    """Frames that went out as they came, for lack of time or because restoring them failed."""
    dropped: Mapping[str, int] = field(default_factory=dict)
    """Frames that went nowhere, by reason."""
    in_flight: int = 0
    opening: int = 0
    """Frames of opening bursts: old already when they came, and not captured."""
    level: int = 0
    """Stages of the network that are run now; 0 passes frames on."""
    fps: float = 0.0
    """Frames captured a second, lately."""
    latency: Latency | None = None
    """None where no frame went out lately."""
    frame_age_seconds: float | None = None
    """Since the last frame was captured; None before the first."""
    reconnects: Mapping[Cause, int] = field(default_factory=dict)
    """Connections that ended or were not made, by cause."""
    respawns: int = 0
    """Reader processes that were killed or died, and were replaced."""
    outage_seconds: float = 0.0
    """How long, in all, nothing came."""
    rebases: int = 0
    """Jumps of the source's clock that were taken out of the output's times."""
    damaged: int = 0
    """Complaints of the decoder about what came."""
    pid: int | None = None
    """Of the process that reads; None while there is none."""
    outputs: tuple[OutputReport, ...] = ()
