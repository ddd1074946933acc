"""What the exit code says; documented in README and the same for every command."""

from enum import IntEnum

from streamrestore.errors import (
    ConfigError,
    DiskFullError,
    ModelError,
    OutputError,
    SourceError,
    StreamRestoreError,
    VerificationError,
)


class ExitCode(IntEnum):
    """How a command ended."""

    DONE = 0
    FAILED = 1
    """Processing failed."""
    USAGE = 2
    """The request itself is wrong: options, weights, devices."""
    INPUT = 3
    """The input cannot be read, or is not supported."""
    OUTPUT = 4
    """The output exists, or cannot be written."""
    VERIFICATION = 5
    """The finished file does not match its source."""
    SOME_FAILED = 6
    """Several inputs: all were tried, some failed."""
    NO_SPACE = 7
    """The disk is full."""
    INTERRUPTED = 130
    """Stopped by Ctrl-C."""
    TERMINATED = 143
    """Stopped by SIGTERM."""


def exit_code(error: StreamRestoreError) -> ExitCode:
    """The code that stands for an error."""
    match error:
        case ConfigError() | ModelError():
            return ExitCode.USAGE
        case SourceError():
            return ExitCode.INPUT
        case DiskFullError():
            return ExitCode.NO_SPACE
        case OutputError():
            return ExitCode.OUTPUT
        case VerificationError():
            return ExitCode.VERIFICATION
        case _:
            return ExitCode.FAILED
