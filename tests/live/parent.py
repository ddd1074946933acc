"""How a process of the fixtures talks with the test that started it, and ends with it.

The test's end is in `tests.live.child`. Both speak lines of JSON: settings first, commands and their answers
afterwards, and in between whatever the process has to tell. Needs the standard library only, so that another
Python can run it, too.
"""

import ctypes
import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any, NoReturn

_PR_SET_PDEATHSIG = 1

_writing = threading.Lock()


def settings() -> dict[str, Any]:
    """Tie this process to its parent and wait for the settings.

    The kernel kills this process with its parent, or rather with the parent's *thread* that started it. A parent
    that was gone before this was asked for is found out by `obey`.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    given: dict[str, Any] = json.loads(sys.stdin.readline())
    return given


def say(kind: str, *fields: object) -> None:
    """Tell the parent something; any thread may."""
    line = json.dumps([kind, *fields]) + "\n"
    with _writing:
        try:
            sys.stdout.write(line)
            sys.stdout.flush()
        except BrokenPipeError:
            os._exit(1)


def leave() -> NoReturn:
    """End this process at once, whatever its threads are stuck in."""
    os._exit(0)


def obey(do: Callable[[str, dict[str, Any]], object]) -> None:
    """Answer commands in a thread of its own; at their end, this process ends.

    Args:
        do: Takes a command's name and arguments and gives the answer, which has come true by then.
    """

    def listen() -> None:
        for line in sys.stdin:
            command, arguments = json.loads(line)
            try:
                say("answer", None, do(command, arguments))
            except Exception as error:  # noqa: BLE001 # it is the test's to see
                say("answer", f"{type(error).__name__}: {error}", None)
        leave()

    threading.Thread(target=listen, name="commands", daemon=True).start()
