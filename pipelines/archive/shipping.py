"""A planned item as bytes: everything but the network, which every worker has already."""

import io
import pickle
from typing import Any

from pipelines.planning import FileJob, Network

_NETWORK = "network"


def pack(job: FileJob) -> bytes:
    """Bytes that `unpack` makes the same job of, in another process or on another machine."""
    buffer = io.BytesIO()
    _Packer(buffer, protocol=pickle.HIGHEST_PROTOCOL).dump(job)
    return buffer.getvalue()


def unpack(packed: bytes, network: Network) -> FileJob:
    """The job that was packed.

    Args:
        packed: Our own bytes: unpickling others may run anything.
        network: What takes the network's place.

    Raises:
        SourceError: Its source is not to be had here.
    """
    unpacker = _Unpacker(io.BytesIO(packed))
    unpacker.network = network
    job: FileJob = unpacker.load()
    return job


class _Packer(pickle.Pickler):
    def persistent_id(self, value: Any) -> str | None:  # noqa: ANN401 - pickle's
        return _NETWORK if isinstance(value, Network) else None


class _Unpacker(pickle.Unpickler):
    network: Network

    def persistent_load(self, name: Any) -> Network:  # noqa: ANN401 - pickle's
        return self.network
