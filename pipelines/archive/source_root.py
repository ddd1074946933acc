"""What all sources of an archive are in: where that is gone, as a mount may be, it is no clip's fault."""

import posixpath
from collections.abc import Iterable

from streamrestore.errors import SourceError
from streamrestore.locations import OBJECT_STORES, Location
from streamrestore.storage import storage_of


def common_root(sources: Iterable[Location]) -> Location | None:
    """The deepest folder that all sources are in; None where they are in several storages, or have nothing in common.

    Args:
        sources: Files.
    """
    places = {(source.scheme, source.parent.key.rstrip("/") or "/") for source in sources}
    schemes = {scheme for scheme, _ in places}
    if len(schemes) != 1 or not schemes <= {"file", *OBJECT_STORES}:
        return None
    (scheme,) = schemes
    path = posixpath.commonpath([path for _, path in places])
    if path in ("", "/"):
        return None
    url = path if scheme == "file" else f"{scheme}://{path}"
    return Location(url, url)


def check_root(root: Location) -> None:
    """Look whether it is there; a mount that is gone leaves an empty folder.

    Raises:
        SourceError: It is not, or may not be read, so no clip can be.
        StorageError: Its storage is out of reach.
    """
    if not storage_of(root).holds_any(root):
        raise SourceError(
            f"{root} is gone or empty, so that no clip can be read: mount it, or bring it back, and the same command "
            "goes on"
        )
