"""Processes that hold a network connection each: started ahead of need, told what to be, killed when they hang.

FFmpeg may hang in C, and may do so holding Python's lock, which stops every thread of its process. So
each connection lives in a process of its own, and the supervisor only ever talks to it through a pipe.
"""

import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle, send_handle
from typing import Any

from streamrestore.live.states import Cause
from workers.live.messages import Connect, Disconnect, Finish, Lost, Publish, Ring
from workers.live.ring import FrameRing

_PR_SET_PDEATHSIG = 1
"""Of Linux's ``prctl``."""

_MESSAGES_AT_ONCE = 32

_PROGRAM = "from workers.live.child import main; main({descriptor})"


class Child:
    """One such process, as the supervisor sees it. For one thread, which must outlive it."""

    def __init__(self) -> None:
        """Start it; it waits to be told what it is."""
        self.connection, theirs = multiprocessing.Pipe()
        with theirs:
            # Safe path: whatever lies where the user stands must not be imported in place of ours.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _PROGRAM.format(descriptor=theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                # Ctrl-C in a terminal is for the supervisor, which then ends its children in order.
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def send(self, message: object) -> bool:
        """Tell it something; False where it is gone."""
        try:
            self.connection.send(message)
        except OSError:
            return False
        return True

    def give(self, ring: FrameRing) -> bool:
        """Share a ring with it; False where it is gone."""
        if not self.send(Ring(ring.slots, ring.slot_bytes)):
            return False
        try:
            send_handle(self.connection, ring.descriptor, self.pid)
        except OSError:
            return False
        return True

    def receive(self) -> Iterator[Any]:
        """What it has said since the last time; a `FrameRing` where it shares one.

        Raises:
            EOFError: It is gone.
        """
        try:
            # Not without end: others are to be heard, too.
            for _ in range(_MESSAGES_AT_ONCE):
                if not self.connection.poll():
                    return
                yield _receive(self.connection)
        except OSError as error:
            raise EOFError from error

    def kill(self) -> None:
        """End it at once, whatever it does; may be called twice."""
        self._process.kill()
        self.connection.close()

    def is_over(self) -> bool:
        """Whether it has ended; to be asked of a child that was killed until it has."""
        return self._process.poll() is not None

    def wait(self, seconds: float) -> bool:
        """Wait until it has ended; False where it takes longer."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True


class Nursery:
    """Children that wait to be needed, and those that were killed and have not ended yet."""

    def __init__(self, spares: int = 1) -> None:
        """Start the first ones.

        Args:
            spares: How many wait, so that one that hangs is replaced at once.
        """
        self._spares = [Child() for _ in range(spares)]
        self._dying: list[Child] = []

    def take(self) -> Child:
        """A child that waits to be told what it is; another one takes its place."""
        self.sweep()
        child = self._spares.pop(0) if self._spares else Child()
        while child.is_over():  # somebody else killed it
            child.kill()
            child = Child()
        self._spares.append(Child())
        return child

    def kill(self, child: Child) -> None:
        """End a child without waiting for its end."""
        child.kill()
        self._dying.append(child)

    def sweep(self) -> None:
        """Look which of those that were killed have ended, so that the system forgets them."""
        self._dying = [child for child in self._dying if not child.is_over()]

    def close(self, seconds: float = 2.0) -> None:
        """End all, and wait for their end a little; may be called twice."""
        for child in self._spares:
            self.kill(child)
        self._spares = []
        for child in self._dying:
            child.wait(seconds)


def _receive(connection: "Connection[Any, Any]") -> Any:  # noqa: ANN401 - any message
    message = connection.recv()
    if isinstance(message, Ring):
        return FrameRing(recv_handle(connection), message.slots, message.slot_bytes)
    return message


class Line:
    """A child's end of the pipe to its supervisor. For one thread."""

    def __init__(self, connection: "Connection[Any, Any]") -> None:
        self._connection = connection

    def receive(self) -> Any:  # noqa: ANN401 - any message
        """Wait for the next message; a `FrameRing` where one is shared.

        Raises:
            EOFError: The supervisor is gone.
        """
        return _receive(self._connection)

    def pending(self) -> bool:
        """Whether a message waits."""
        return self._connection.poll()

    def send(self, message: object) -> None:
        """Tell the supervisor something.

        Raises:
            OSError: It is gone.
        """
        self._connection.send(message)

    def give(self, ring: FrameRing) -> None:
        """Share a ring with the supervisor.

        Raises:
            OSError: It is gone.
        """
        self.send(Ring(ring.slots, ring.slot_bytes))
        send_handle(self._connection, ring.descriptor, os.getppid())


def main(descriptor: int) -> None:
    """Be a child: wait to be told what it is, and be that until the supervisor is gone.

    Args:
        descriptor: Of this end of the pipe.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the supervisor says when to end
    with suppress(AttributeError, OSError):
        # Inside FFmpeg nothing would notice that the supervisor was killed.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    line = Line(Connection(descriptor))
    # Loaded while nobody waits for it.
    from workers.live.publisher import publish
    from workers.live.reader import read

    with suppress(EOFError, OSError):
        while True:
            try:
                match line.receive():
                    case Connect() as request:
                        read(request, line)
                    case Publish() as request:
                        publish(request, line)
                    case FrameRing() as ring:
                        ring.close()
                    case Disconnect() | Finish():
                        return
                    case _:
                        pass  # for a connection that was lost meanwhile
            except (EOFError, OSError):
                raise
            except Exception as error:  # noqa: BLE001 - a stream must outlive what nobody thought of
                line.send(Lost(Cause.FAILED, _where(error)))


def _where(error: Exception) -> str:
    """An error that should not be, and where it was raised."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {os.path.basename(last.filename)}:{last.lineno}: {error}"
