"""Take secrets out of this process's command line, which every user of the machine can read."""

import ctypes
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from streamrestore.live.addresses import find_secrets

_PROCESS = Path("/proc/self")

_ARG_START, _ARG_END = 48, 49
"""Fields of ``/proc/self/stat``, from 1 (proc(5))."""

_COMMAND = 2
"""The field that may hold spaces, in parentheses."""


def hide_arguments(secrets: Iterable[str]) -> bool:
    """Write ``*`` over secrets in this process's arguments, and in Python's own copies of them.

    Whoever looked before has seen them: ``${NAME}`` in addresses and configuration files never show them.

    Args:
        secrets: In every form; nothing else of the arguments is touched.

    Returns:
        Whether others see none of them now. False where this system keeps arguments in another way than Linux does.
    """
    secrets = tuple(secrets)
    for arguments in (sys.argv, sys.orig_argv):
        arguments[:] = [_masked(argument, secrets) for argument in arguments]
    if sys.platform != "linux":
        return False
    seen = _seen()
    span = _arguments_in_memory()
    if span is None or span[1] - span[0] != len(seen):
        return False
    for start, stop in _find(seen, secrets):
        ctypes.memset(span[0] + start, ord("*"), stop - start)
    return not _find(_seen(), secrets)


def _seen() -> bytes:
    """The command line as others see it."""
    try:
        return (_PROCESS / "cmdline").read_bytes()
    except OSError:
        return b""


def _arguments_in_memory() -> tuple[int, int] | None:
    """Addresses of the first byte and of the one past the last; None where the system does not say."""
    try:
        stat = (_PROCESS / "stat").read_text(errors="replace")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    try:
        start, end = (int(fields[field - _COMMAND - 1]) for field in (_ARG_START, _ARG_END))
    except (IndexError, ValueError):
        return None
    return (start, end) if 0 < start < end else None


def _find(arguments: bytes, secrets: Sequence[str]) -> list[tuple[int, int]]:
    # Latin-1 is one character for each byte, so ranges are the same.
    wanted = (os.fsencode(secret).decode("latin-1") for secret in secrets)
    return find_secrets(arguments.decode("latin-1"), wanted)


def _masked(argument: str, secrets: Sequence[str]) -> str:
    for start, stop in find_secrets(argument, secrets):
        argument = argument[:start] + "*" * (stop - start) + argument[stop:]
    return argument
