"""Whether a part of a source is better read by itself, in ranges, than out of a copy of all of it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from streamrestore.opening import Opening
from streamrestore.ranges import RangeReader
from streamrestore.source import Source, Trim, reopen

LEAST_BYTES = 64 << 20
"""Of a source. A smaller one is copied in a moment, and whoever has the copy needs to ask for no more."""

LARGEST_SHARE = 0.5
"""Of a source, that is fetched for a part. What comes before the part to make sure of it, and what is fetched for
nothing, may be more than the part."""


def pays(source: Source, part: Trim) -> bool:
    """Find out how much would be fetched for a part, with the file itself, by reading its packets.

    Containers without an index, or with one that lies, are found out by that, whatever they are called.

    Args:
        source: A local file.
        part: One amid it, as large as the others.

    Raises:
        SourceError: The file cannot be read any more.
    """
    path, size = source.info.path, source.info.opening.bytes()
    if size < LEAST_BYTES:
        return False
    source.locate()
    file = _CountedFile(path, size)
    found = reopen(source.parts, Opening(path, content=file)).reads_apart(part)
    return found and file.fetched_bytes <= LARGEST_SHARE * size


class _CountedFile:
    """A local file that is read as a remote one would be; a `Content`."""

    def __init__(self, path: Path, size: int) -> None:
        self._path = path
        self.size = size
        self.fetched_bytes = 0
        """Each time it was opened, together."""

    @contextmanager
    def open(self) -> Iterator[RangeReader]:
        with self._path.open("rb") as file:
            descriptor = file.fileno()
            with RangeReader(lambda start, stop: os.pread(descriptor, stop - start, start), self.size) as reader:
                try:
                    yield reader
                finally:
                    self.fetched_bytes += reader.fetched_bytes

    def check(self) -> None: ...
