"""Pipes as PyAV takes them: one that can be read again from its start, and one to write to.

Both wait in steps, so that whoever is at the other end cannot keep the process from stopping.
"""

import os
import select
import threading
import time
from tempfile import SpooledTemporaryFile

from streamrestore.errors import OutputError, StoppedError

_MEMORY_BYTES = 64 << 20
"""How much is kept in memory; more goes to a temporary file."""

_POLL_SECONDS = 0.1
"""How long a blocked thread waits before it looks for a stop request again."""

_PATIENCE_SECONDS = 5.0
"""How long a reader may take nothing after a stop request: the frames in flight are for him."""


class ReplayedPipe:
    """A pipe that is kept while it is read, so that it can be read again, until it is told to `forget`.

    Passive: one reader at a time. To PyAV, a file that cannot seek.
    """

    def __init__(self, descriptor: int, stop: threading.Event) -> None:
        """Begin at the pipe's first byte.

        Args:
            descriptor: Of the pipe; stays the caller's.
            stop: Ends a read that waits for a writer who says nothing.
        """
        self._descriptor = descriptor
        self._stop = stop
        self._kept = SpooledTemporaryFile[bytes](_MEMORY_BYTES)
        self._kept_bytes = 0
        self._position = 0
        self._keeping = True
        self._forgetting = False

    def rewind(self) -> None:
        """Begin again at the first byte.

        Raises:
            ValueError: That was forgotten.
        """
        if not self._keeping:
            raise ValueError("a pipe that was forgotten cannot be read again")
        self._position = 0
        self._keeping = not self._forgetting

    def forget(self) -> None:
        """Keep no more: from the next `rewind` on, which is the last one, everything is given once."""
        self._forgetting = True

    def read(self, count: int) -> bytes:
        """The next bytes, at most ``count``; none at the end.

        Raises:
            StoppedError: The user asked to stop while nothing came.
            OSError: Reading failed.
        """
        if self._position < self._kept_bytes:
            self._kept.seek(self._position)
            data = self._kept.read(count)
        else:
            data = self._receive(count)
            if self._keeping:
                self._kept.seek(self._kept_bytes)
                self._kept.write(data)
                self._kept_bytes += len(data)
        self._position += len(data)
        return data

    def beginning(self, count: int) -> bytes:
        """As much of what was kept, from the first byte on."""
        self._kept.seek(0)
        return self._kept.read(count)

    def release(self) -> None:
        """Give back what was kept; may be called twice."""
        self._kept.close()

    def _receive(self, count: int) -> bytes:
        while not select.select([self._descriptor], [], [], _POLL_SECONDS)[0]:
            if self._stop.is_set():
                raise StoppedError("stopped while waiting for standard input")
        return os.read(self._descriptor, count)


class PipeWriter:
    """Writes to a pipe. To PyAV, a file that cannot seek."""

    def __init__(self, descriptor: int, stop: threading.Event) -> None:
        """Begin to write.

        Args:
            descriptor: Of the pipe; stays the caller's.
            stop: Ends a write that waits for a reader who does nothing.
        """
        self._descriptor = descriptor
        self._stop = stop

    def write(self, data: bytes) -> int:
        """Write all of it.

        Raises:
            OutputError: The reader has gone.
            StoppedError: The user asked to stop while the reader took nothing.
            OSError: Writing failed.
        """
        left = memoryview(data)
        while left:
            self._await_reader()
            try:
                # No more than this never waits, once there is room at all.
                left = left[os.write(self._descriptor, left[: select.PIPE_BUF]) :]
            except BrokenPipeError as error:
                raise OutputError("whoever reads standard output closed it before the end") from error
        return len(data)

    def _await_reader(self) -> None:
        stopped_at: float | None = None
        while not select.select([], [self._descriptor], [], _POLL_SECONDS)[1]:
            if self._stop.is_set():
                stopped_at = stopped_at or time.monotonic()
                if time.monotonic() - stopped_at > _PATIENCE_SECONDS:
                    raise StoppedError("stopped while nobody read standard output")
