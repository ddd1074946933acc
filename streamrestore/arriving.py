"""A file that comes from elsewhere: it has its name when all of it is on the disk."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from streamrestore.encoder import writing_to
from streamrestore.work_folder import sync


@contextmanager
def arriving(file: Path) -> Iterator[Path]:
    """Another name to write a file under; it gets its own at the end, unless something went wrong.

    Raises:
        OutputError: It cannot be written.
        DiskFullError: There is no space left.
    """
    part = file.with_name(f"{uuid4().hex[:12]}.part")
    try:
        yield part
        with writing_to(file):
            sync(part)
            part.replace(file)
            sync(file.parent)
    finally:
        part.unlink(missing_ok=True)
