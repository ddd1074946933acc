"""A planned job as bytes, for workers on other machines: everything but the network, which each of them has already."""

import io
import pickle
from typing import Any

from pipelines.planning import FileJob, Network
from streamrestore.errors import RestoreError, SourceError
from streamrestore.identity import identify_file
from streamrestore.opening import Opening
from streamrestore.source import Source, SourceParts, reopen
from streamrestore.work_folder import WorkFolder

_NETWORK = "network"


def pack(job: FileJob) -> bytes:
    """Bytes that `unpack` makes the same job of, in another process or on another machine."""
    buffer = io.BytesIO()
    _Packer(buffer, protocol=pickle.HIGHEST_PROTOCOL).dump(job)
    return buffer.getvalue()


def unpack(packed: bytes, network: Network, folder: str, opening: Opening | None = None) -> tuple[FileJob, WorkFolder]:
    """The job that was packed, and its work folder.

    Args:
        packed: Our own bytes: unpickling others may run anything.
        network: What takes the network's place.
        folder: The name of its work folder, which all its facts make.
        opening: How its source is opened here; None: as where it was packed.

    Raises:
        SourceError: Its source is not to be had here, or is another one now.
        StorageError: Its source is read in ranges, and out of reach.
        RestoreError: This machine would make other bytes of it.
    """
    unpacker = _Unpacker(io.BytesIO(packed))
    unpacker.network, unpacker.opening = network, opening
    job: FileJob = unpacker.load()
    # What is read in ranges was compared, when it was opened, with what was known of it before it was planned.
    if job.info.opening.content is None and identify_file(job.info.opening) != job.identity:
        raise SourceError(
            f"{job.info.path} was replaced, or its content changed, since it was planned: wait until it is complete, "
            "then run the same command again"
        )
    work = WorkFolder(job.work_root(), job.facts())
    if work.path.name != folder:
        raise RestoreError(
            f"{job.info.path} was planned on a machine that differs from this one in its versions or its device: "
            "install the same environment on all machines"
        )
    return job, work


class _Packer(pickle.Pickler):
    def persistent_id(self, value: Any) -> str | SourceParts | None:  # noqa: ANN401 - pickle's
        if isinstance(value, Source):
            return value.parts
        return _NETWORK if isinstance(value, Network) else None


class _Unpacker(pickle.Unpickler):
    network: Network
    opening: Opening | None

    def persistent_load(self, name: Any) -> Network | Source:  # noqa: ANN401 - pickle's
        return reopen(name, self.opening) if isinstance(name, SourceParts) else self.network
