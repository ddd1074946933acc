"""Read a file in ranges: small ones where the demuxer looks around, ever larger ones where it reads on."""

from collections.abc import Callable
from types import TracebackType
from typing import Self

FIRST_BYTES = 1 << 18
"""Of the first range at a new place: what a header or an index is looked at with."""

LARGEST_BYTES = 1 << 22
"""Of a range after many that followed each other. Each is half as long as all of them before, so that little is fetched
for nothing, and a storage that takes long to answer is asked seldom."""


class RangeReader:
    """A file whose ranges are fetched as they are read; to PyAV, a file that can seek. Passive; one per thread.

    A range that cannot be fetched is raised where it is read, there is nothing to read from then on, and leaving the
    context raises it again: whatever FFmpeg, which may take it for damage and go on, has made of it.
    """

    def __init__(self, fetch: Callable[[int, int], bytes], size: int | None) -> None:
        """Fetch nothing yet.

        Args:
            fetch: Gives the bytes ``[start, stop)``, all of them where the size is known, or raises.
            size: Of the file, in bytes; None where it is not known.
        """
        self._fetch = fetch
        self._size = size
        self._position = 0
        self._start = 0
        self._block = b""
        """What was fetched last, from `_start` on."""
        self._run_bytes = 0
        """Fetched since reading went elsewhere."""
        self._failure: Exception | None = None
        self.fetched_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._failure is not None and error is not self._failure and (error is None or isinstance(error, Exception)):
            raise self._failure from error

    def tell(self) -> int:
        """Where reading goes on."""
        return self._position

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go elsewhere; fetches nothing.

        Raises:
            OSError: It is to be told from the end, and the size is not known.
        """
        if whence == 2 and self._size is None:
            raise OSError("nobody says how large the file is")
        self._position = offset + (0, self._position, self._size or 0)[whence]
        return self._position

    def read(self, count: int) -> bytes:
        """The next bytes, fewer only at the end; none once fetching has failed.

        Raises:
            Exception: What fetching raises.
        """
        parts = list[bytes]()
        while count > 0 and self._is_there(count):
            begin = self._position - self._start
            part = self._block[begin : begin + count]
            self._position += len(part)
            count -= len(part)
            parts.append(part)
        return b"".join(parts)

    def _is_there(self, count: int) -> bool:
        """Have a block that begins at or before the position; False at the end."""
        if self._failure is not None:
            # PyAV keeps the first failure for its own caller; all others would be printed.
            return False
        end = self._start + len(self._block)
        if self._start <= self._position < end:
            return True
        if self._size is not None and self._position >= self._size:
            return False
        # A demuxer that passes over what belongs to other streams reads on, too.
        if not end <= self._position <= end + FIRST_BYTES:
            self._run_bytes = 0
        stop = self._position + max(count, FIRST_BYTES, min(self._run_bytes // 2, LARGEST_BYTES))
        try:
            self._block = self._fetch(self._position, stop if self._size is None else min(stop, self._size))
        except Exception as error:
            self._failure = error
            raise
        self._start = self._position
        self._run_bytes += len(self._block)
        self.fetched_bytes += len(self._block)
        return bool(self._block)
