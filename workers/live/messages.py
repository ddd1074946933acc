"""What the supervisor and the processes of a live stream tell each other."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from streamrestore.encoding import Encoding
from streamrestore.frame import VideoFormat
from streamrestore.live.states import Cause
from streamrestore.probing import SourceInfo

# To a reader.


@dataclass(frozen=True, slots=True)
class Connect:
    """Become a reader, if need be, and open a source."""

    url: str = field(repr=False)
    """With its secrets, which is why messages travel through a pipe and are never printed."""
    shown: str
    """The same without secrets."""
    options: Mapping[str, str] = field(default_factory=dict)
    """For FFmpeg's demuxer and protocol."""
    audio: bool = True
    waits: bool = False
    """Whether a full ring makes the reader wait, rather than lose its newest frame."""


@dataclass(frozen=True, slots=True)
class Disconnect:
    """Close the connection in good order, and end."""


# From a reader.


@dataclass(frozen=True, slots=True)
class Opened:
    """The source answers, and has video."""

    sound: bytes | None = None
    """A little NUT file whose one stream is like the source's sound: a template for outputs. None without sound."""
    sound_words: str = ""
    """What the sound is, such as ``aac 48000 Hz stereo``."""


@dataclass(frozen=True, slots=True)
class Priming:
    """Packets come, but no picture that can be shown yet."""

    opening: int
    """Pictures of the opening burst so far: they were old when they came."""


@dataclass(frozen=True, slots=True)
class Ring:
    """The slots that frames come in from here on; its descriptor follows."""

    slots: int
    slot_bytes: int


@dataclass(frozen=True, slots=True)
class Picture:
    """A frame lies in a slot."""

    slot: int
    arrival_seconds: float
    """When its packet came, on the system's monotonic clock."""
    media_seconds: float | None
    """When it is to be shown, on the source's clock; None where it does not say."""
    info: SourceInfo | None
    """What it is, where that is news; None where it is like the one before."""
    skipped: int
    """Frames lost so far for want of a free slot."""
    damaged: int
    """Complaints of the decoder so far."""


@dataclass(frozen=True, slots=True)
class Sound:
    """A packet of sound, to be copied through; to a publisher with times on the output's clock."""

    data: bytes = field(repr=False)
    arrival_seconds: float
    media_seconds: float | None
    duration_seconds: float


@dataclass(frozen=True, slots=True)
class Remark:
    """What an operator should know of the source."""

    words: str


@dataclass(frozen=True, slots=True)
class Lost:
    """The connection is gone, or could not be made; the process is ready for another one."""

    cause: Cause
    words: str
    """FFmpeg's, without secrets."""


# To a publisher.


@dataclass(frozen=True, slots=True)
class Publish:
    """Become a publisher, and open an output."""

    url: str = field(repr=False)
    shown: str
    options: Mapping[str, str]
    """For FFmpeg's muxer and protocol."""
    info: SourceInfo
    """What the pictures are; its time base is the output's clock."""
    encoding: Encoding
    sound: bytes | None
    """As `Opened.sound`."""
    file: Path | None = None
    """What is written to, where it is a file; ``url`` names it, too."""
    goes_on: bool = False
    """Whether what was written to that file stays as it is, so that another one is begun beside it."""


@dataclass(frozen=True, slots=True)
class Show:
    """A frame lies in a slot of the publisher's ring."""

    slot: int
    pts: int
    """On the output's clock."""
    video: VideoFormat | None
    """What it is, where it is not as the output; the publisher fits it in."""
    key: bool = False
    """Whether it is to begin anew, for viewers that come in after a hole."""


@dataclass(frozen=True, slots=True)
class Repeat:
    """Show the last frame once more."""

    pts: int
    card: bool
    """Dimmed, with the words that there is no signal."""


@dataclass(frozen=True, slots=True)
class Play:
    """A packet of sound at its time."""

    data: bytes = field(repr=False)
    pts: int
    """On the output's clock."""
    duration: int


@dataclass(frozen=True, slots=True)
class Finish:
    """Write the end, close, and end."""


# From a publisher.


@dataclass(frozen=True, slots=True)
class Up:
    """The other side takes frames."""

    notes: tuple[str, ...] = ()
    """What is left out, and why."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A message of the supervisor's was done: FFmpeg took what came of it."""

    seconds: float
    """How long encoding and writing took."""


@dataclass(frozen=True, slots=True)
class Closed:
    """The output was closed in good order."""
