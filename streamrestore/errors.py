"""Every error that streamrestore raises on purpose.

::

    StreamRestoreError
    ├── ConfigError             the request itself is impossible; nothing was written
    │   └── PatchSizeError      no patch plan for this frame size
    ├── ModelError              checkpoint, architecture or precision do not fit
    ├── SourceError             the input cannot be opened or is not what it says
    │   ├── UnsupportedError    it can be opened, but not restored without loss
    │   └── DecodeError         it stopped being readable on the way
    ├── RestoreError            a frame was read but not restored
    │   ├── DeviceMemoryError   retry with a smaller batch or plan
    │   ├── DeviceLostError     retry in a new process
    │   ├── MachineError        retry on another machine
    │   ├── WorkerLostError     the worker died with the frames
    │   └── WorkerStartError    no worker could be started, or not in time
    ├── SinkError               encoding or muxing failed
    │   ├── OutputError         the output exists or cannot be written
    │   │   └── HeldError       another run is writing it at this moment
    │   └── DiskFullError       no space left where the output goes
    ├── StorageError            storage is out of reach, overloaded or broken: trying again later may help
    ├── VerificationError       the finished file is not what its source says it must be
    └── StoppedError            the user asked to stop before the last frame

A message says what came, what is allowed and what to do. Errors cross process borders, so
each one is built from positional arguments and survives pickling.
"""


class StreamRestoreError(Exception):
    """Any failure that has a known cause; its message is meant for the user."""


class ConfigError(StreamRestoreError):
    """The request itself is impossible; nothing was written."""


class PatchSizeError(ConfigError):
    """No plan of patches covers this frame size."""


class ModelError(StreamRestoreError):
    """A checkpoint, an architecture or a precision does not fit."""


class SourceError(StreamRestoreError):
    """The input cannot be opened, or is not what it says."""


class UnsupportedError(SourceError):
    """The input can be opened, but not restored without losing something."""


class DecodeError(SourceError):
    """The input stopped being readable on the way."""


class RestoreError(StreamRestoreError):
    """A frame was read but not restored."""


class DeviceMemoryError(RestoreError):
    """One patch does not fit the device's memory: plan smaller patches."""


class DeviceLostError(RestoreError):
    """The device fails with whatever it is given, as long as this process lives."""


class MachineError(RestoreError):
    """This machine lacks what others have, such as a mount."""


class WorkerLostError(RestoreError):
    """Workers died with the same frames, again and again."""


class WorkerStartError(RestoreError):
    """No worker could be started, or none was ready in time."""


class SinkError(StreamRestoreError):
    """Encoding or muxing failed."""


class OutputError(SinkError):
    """The output exists, or cannot be written."""


class HeldError(OutputError):
    """Another run is writing the output at this moment."""


class DiskFullError(SinkError):
    """There is no space left where the output goes."""


class StorageError(StreamRestoreError):
    """Storage did not do what it should, again and again: it is out of reach, overloaded or broken."""


class VerificationError(StreamRestoreError):
    """The finished file is not what its source says it must be; it keeps its unfinished name."""


class StoppedError(StreamRestoreError):
    """The user asked to stop before the last frame."""
