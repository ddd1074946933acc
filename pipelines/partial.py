"""What an output is until it is complete, and how it then gets its name.

A file waits as ``clip.mp4.partial`` beside its place, and appears by one rename. Numbered images wait in a
folder of their own: where theirs does not exist yet it appears by one rename, too; into a folder that is
there they are moved one by one, each of them complete.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from streamrestore.encoder import writing_to
from streamrestore.errors import HeldError, OutputError, VerificationError
from streamrestore.image_output import image_files
from streamrestore.image_sequence import Pattern
from streamrestore.places import image_pattern
from streamrestore.receipt import receipt_path
from streamrestore.work_folder import sync


def landing_place(output: Path) -> Path:
    """The name that appears when an output is complete: its own, or that of a folder for images.

    Where the folder is there already, the images' own name stands for them.
    """
    return output.parent if image_pattern(output) and not output.parent.exists() else output


def partial_path(output: Path) -> Path:
    """What the output is called until it is complete, in the same folder.

    ``clip.mp4.partial``; for images a folder, such as ``shots.partial`` or ``frame_%06d.png.partial``.
    """
    place = landing_place(output)
    return place.with_name(place.name + ".partial")


@contextmanager
def hold_partial(output: Path) -> Iterator[Path]:
    """Hold the name that an output has until it is complete, against other runs.

    What is left under that name at the end is deleted, unless it failed its verification: then it
    stays, to be looked at. What a killed run left is taken over: its lock went with its process.

    Gives the path to write to; for images it is a pattern in the folder that is held.

    Raises:
        HeldError: Another run is writing this output.
        OutputError: Its folder cannot be written.
    """
    partial, is_folder = partial_path(output), image_pattern(output) is not None
    try:
        if is_folder:
            partial.mkdir(exist_ok=True)
        descriptor = os.open(partial, os.O_RDONLY if is_folder else os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
    except OSError as error:
        raise OutputError(f"cannot write {partial}: {error.strerror}; choose another place with -o") from error
    try:
        if not _lock(descriptor) or not _names(partial, descriptor):
            raise HeldError(f"another run is writing {output}; wait for it, or choose another output with -o")
        keep = False
        try:
            yield partial / output.name if is_folder else partial
        except VerificationError:
            keep = True
            raise
        finally:
            # Once it was renamed, the name may already be another run's.
            if not keep and _names(partial, descriptor):
                if is_folder:
                    shutil.rmtree(partial, ignore_errors=True)
                else:
                    with suppress(OSError):  # the next run takes it over; what went wrong before matters more
                        partial.unlink()
    finally:
        os.close(descriptor)


def waiting_receipt(partial: Path, output: Path) -> Path:
    """Where a receipt is written before the output gets its name: that of images comes with their folder."""
    return receipt_path(output if image_pattern(output) is None else partial)


def commit(partial: Path, output: Path) -> None:
    """Make the output appear under its name, complete and on the disk.

    Args:
        partial: What `hold_partial` gave; complete.
        output: Its name.

    Raises:
        OutputError: It cannot be renamed.
    """
    pattern = image_pattern(output)
    with writing_to(output):
        if pattern is None:
            sync(partial)
            partial.replace(output)
        else:
            _commit_images(partial, output, pattern)
        sync(output.parent)


def _commit_images(partial: Path, output: Path, pattern: Pattern) -> None:
    sync(partial.parent)
    if not output.parent.exists():
        partial.parent.rename(output.parent)
        sync(output.parent.parent)
        return
    names = {path.name for path in image_files(partial)}
    for name in sorted(names):
        (partial.parent / name).replace(output.parent / name)
    for entry in list(output.parent.iterdir()):
        # Of an earlier result that was longer.
        if pattern.number(entry.name) is not None and entry.name not in names:
            entry.unlink()
    receipt = receipt_path(partial)
    if receipt.exists():
        receipt.replace(receipt_path(output))


def _lock(descriptor: int) -> bool:
    """Take a lock that ends with this process; False if another one has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _names(path: Path, descriptor: int) -> bool:
    """Whether a path names the open file or folder, and not another one or nothing."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except OSError:
        return False
