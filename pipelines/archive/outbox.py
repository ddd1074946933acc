"""How a finished output reaches the target: by one rename where it is made there, else by uploading it whole."""

import shutil
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from pipelines.archive.items import ArchiveItem
from pipelines.archive.request import ArchiveRequest
from pipelines.file import publish
from pipelines.outputs import check_output
from pipelines.partial import commit, hold_partial
from pipelines.planning import FileJob, request_key
from streamrestore.encoder import writing_to
from streamrestore.errors import OutputError
from streamrestore.locations import Location
from streamrestore.receipt import Receipt, read_receipt, receipt_path
from streamrestore.storage import storage_of


class Outbox:
    """The way to one target."""

    def __init__(self, request: ArchiveRequest) -> None:
        """Make nothing yet.

        Raises:
            ConfigError: A package that the target's storage needs is not installed.
        """
        self._request = request
        self._target = request.target
        self._storage = storage_of(request.target)

    def find_receipt(self, job: FileJob, output: str) -> Receipt | None:
        """The receipt of an output that is there and answers the same request; None where nothing is there.

        Args:
            job: As it was planned; its output's folder is made, where it is local.
            output: From the target.

        Raises:
            OutputError: Something else is there, and may not be overwritten.
            StorageError: The storage is out of reach.
        """
        if self._target.is_local:
            return read_receipt(receipt_path(job.output)) if job.done else None
        place = self._target.child(output)
        found = self._storage.find(place)
        if found is None:
            return None
        content = self._storage.read(receipt_of(output, self._target))
        with suppress(ValidationError):
            receipt = Receipt.model_validate_json(content or b"")
            if receipt.key == request_key(job.identity, job.options) and receipt.output.bytes == found.size:
                return receipt
        if self._request.overwrite:
            return None
        raise OutputError(f"{place} exists; overwrite it with -y, or choose another target")

    def publish(self, item: ArchiveItem, job: FileJob, output: str, partial: Path, receipt: Receipt) -> Receipt:
        """Give an output its name, after its receipt was written; it appears whole.

        Args:
            item: Whose it is.
            job: Of the item.
            output: From the target.
            partial: What was written.
            receipt: Of it.

        Returns:
            The receipt as it is kept.

        Raises:
            OutputError: It cannot be written.
            DiskFullError: There is no space left.
            StorageError: The storage is out of reach.
        """
        if not (self._target.is_local and item.source.is_local):
            # A path to a copy would lead nowhere.
            receipt = receipt.model_copy(
                update={"source": receipt.source.model_copy(update={"path": item.source.shown})}
            )
        publish(job, partial, receipt)
        if not self._target.is_local:
            kept = receipt_path(job.output)
            self._storage.upload(kept, receipt_of(output, self._target))
            self._storage.upload(job.output, self._target.child(output))
            job.output.unlink(missing_ok=True)
            kept.unlink(missing_ok=True)
        return receipt

    def copy(self, source: Path, name: str) -> None:
        """Put a source where its output would be.

        Args:
            source: On this machine.
            name: From the target.

        Raises:
            OutputError: Something is there, or it cannot be written.
            DiskFullError: There is no space left.
            StorageError: The storage is out of reach.
        """
        place = self._target.child(name)
        if not self._target.is_local:
            if self._storage.find(place) is not None and not self._request.overwrite:
                raise OutputError(f"{place} exists; overwrite it with -y, or choose another target")
            self._storage.upload(source, place)
            return
        check_output(source, place.path, overwrite=self._request.overwrite)
        with hold_partial(place.path) as partial, writing_to(partial):
            shutil.copyfile(source, partial)
            shutil.copystat(source, partial)
            commit(partial, place.path)


def receipt_of(output: str, target: Location) -> Location:
    """Where an output's receipt is."""
    return target.child(f"{output}.receipt.json")
