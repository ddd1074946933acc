"""Files in object stores, and those that web servers hand out, by fsspec.

Whatever is transient, such as errors 500 and 503, connections that are reset and answers that do not come, is tried
again below here, by botocore and s3fs; what arrives here has failed several times.
"""

import errno
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Literal

import fsspec

from streamrestore.arriving import arriving
from streamrestore.encoder import writing_to
from streamrestore.errors import ConfigError, OutputError, SourceError, StorageError
from streamrestore.live.addresses import redact
from streamrestore.locations import OBJECT_STORES, Location
from streamrestore.ranges import RangeReader
from streamrestore.storage import Found, Unread, check_unchanged, replaced

CONNECT_SECONDS = 10.0
"""To wait for a connection."""

SILENT_SECONDS = 30.0
"""To wait for the next bytes of an answer."""

WRITE_SECONDS = 300
"""For a small file to be written, all attempts together: aiohttp does not always notice that nobody answers a PUT."""

SLOWEST_BYTES = 50_000
"""A second, of an upload; what is slower is taken to hang."""

ATTEMPTS = 4
"""Of a request, with growing pauses between them."""

_OPTIONS: dict[str, dict[str, Any]] = {
    "s3": {
        "config_kwargs": {
            "connect_timeout": CONNECT_SECONDS,
            "read_timeout": SILENT_SECONDS,
            "retries": {"mode": "standard", "total_max_attempts": ATTEMPTS},
        },
        # One after the other: s3fs goes on where a download broke off, but only with one stream, and it holds no
        # more than one part of an upload in memory.
        "max_concurrency": 1,
    },
}
_OPTIONS["s3a"] = _OPTIONS["s3"]

_EXTRAS = {"s3": "streamrestore[s3]", "s3a": "streamrestore[s3]", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs"}
"""What is installed for storage to be reached; ``abfs`` is as ``az``."""

_HINTS = ("ETag", "etag", "generation", "Content-MD5", "Last-Modified", "LastModified", "last_modified")
"""What kinds of storage say of a file's content, the best first."""

_CONFLICT_SECONDS = (0.2, 0.5, 1.0, 2.0, 4.0)
"""Pauses where two writers met, and the storage told both to try again."""

_LISTED_TOGETHER = 50
"""So many files of one folder are looked for in a listing of it."""

_REQUESTS_AT_ONCE = 16

_Doing = Literal["read", "written"]


class RemoteStorage:
    """As `Storage` says."""

    def __init__(self, scheme: str) -> None:
        """Name a kind of storage; nothing is connected yet.

        Raises:
            ConfigError: A package that it needs is not installed.
        """
        self._files = _file_system(scheme, os.getpid())

    def find(self, location: Location) -> Found | None:
        """What is known of one file."""
        with _reaching(location, "read"):
            try:
                facts = self._files.info(location.key)
            except FileNotFoundError as error:
                # Web servers are said to lack what they do not hand out for any reason.
                if error.__cause__ is not None and _http_status(error) not in (404, 410):
                    raise error.__cause__ from None
                return None
        return None if facts["type"] == "directory" else _found(location.name, facts)

    def find_all(self, locations: Iterable[Location]) -> Iterator[tuple[Location, Found | None]]:
        """What is known of many files."""
        folders = defaultdict[str, list[Location]](list)
        for location in locations:
            folders[location.parent.url].append(location)
        alone = list[Location]()
        for members in folders.values():
            if len(members) < _LISTED_TOGETHER or members[0].scheme not in OBJECT_STORES:
                alone.extend(members)
                continue
            listed = self._list(members[0].parent)
            for location in members:
                yield location, listed.get(location.name)
        with ThreadPoolExecutor(_REQUESTS_AT_ONCE) as threads:
            yield from zip(alone, threads.map(self._find_readable, alone), strict=True)

    def _find_readable(self, location: Location) -> Found | None:
        try:
            return self.find(location)
        except SourceError:
            return None

    def _list(self, folder: Location) -> dict[str, Found]:
        """Files directly in a folder."""
        with _reaching(folder, "read"):
            try:
                entries = self._files.ls(folder.key, detail=True)
            except FileNotFoundError:
                return {}
        return {
            name: _found(name, facts)
            for facts in entries
            if facts["type"] != "directory" and (name := facts["name"].rpartition("/")[2])
        }

    def walk(
        self, folder: Location, enters: Callable[[str], bool], skip: Location | None = None
    ) -> Iterator[Found | Unread]:
        """Every file in a folder and its folders."""
        with _reaching(folder, "read"):
            entries = self._files.find(folder.key, detail=True)
        above = folder.key.strip("/") + "/"
        left_out = None if skip is None else skip.key.strip("/") + "/"
        entered: dict[str, bool] = {"": True}
        for facts in entries.values():
            whole = facts["name"].lstrip("/")
            # A folder may have an entry of its own, named with a slash at its end.
            if not whole.startswith(above) or whole.endswith("/") or facts["type"] == "directory":
                continue
            name = whole[len(above) :]
            inside = name.rpartition("/")[0]
            if inside not in entered:
                parts = inside.split("/")
                entered[inside] = all(enters("/".join(parts[:count])) for count in range(1, len(parts) + 1))
            if entered[inside] and (left_out is None or not whole.startswith(left_out)):
                yield _found(name, facts)

    def holds_any(self, folder: Location) -> bool:
        """Whether there is a folder, and anything in it."""
        with _reaching(folder, "read"):
            try:
                # Of folders, stores know only what is in them.
                self._files.info(folder.key)
            except FileNotFoundError:
                return False
        return True

    def read(self, location: Location) -> bytes | None:
        """A small file."""
        with _reaching(location, "read"):
            try:
                content: bytes = self._files.cat_file(location.key)
            except FileNotFoundError:
                return None
        return content

    def write(self, location: Location, content: bytes) -> None:
        """Write a small file; an object store has all of it or none."""
        with _reaching(location, "written"):
            self._files.pipe_file(location.key, content, timeout=WRITE_SECONDS)

    def create(self, location: Location, content: bytes) -> bool:
        """Write a small file, unless it is there already."""
        for pause in (*_CONFLICT_SECONDS, None):
            with _reaching(location, "written"):
                try:
                    self._files.pipe_file(location.key, content, mode="create", timeout=WRITE_SECONDS)
                    return True
                except FileExistsError:
                    break
                except OSError as error:
                    status = _http_status(error)
                    if status == 412:
                        break
                    if status != 409 or pause is None:
                        raise
            time.sleep(pause)
        # It may be our own: when the answer to a first attempt is lost, a second one finds what the first wrote.
        return self.read(location) == content

    def upload(self, file: Path, location: Location) -> None:
        """Put a whole file there; an object store shows it when it is complete."""
        size = file.stat().st_size
        with _reaching(location, "written"):
            self._files.put_file(str(file), location.key, timeout=WRITE_SECONDS + size // SLOWEST_BYTES)
        found = self.find(location)
        if found is None or found.size != size:
            there = "nothing" if found is None else f"{found.size} bytes"
            raise StorageError(
                f"{location} was written with {size} bytes, but holds {there}: run the same command again"
            )

    def download(self, location: Location, file: Path, hint: str) -> None:
        """Have a file here."""
        with arriving(file) as part:
            with _reaching(location, "read", part):
                try:
                    self._files.get_file(location.key, str(part))
                except FileNotFoundError as error:
                    raise SourceError(f"{location} does not exist") from error
            found = check_unchanged(self.find(location), location, hint)
            came = part.stat().st_size
            if found.size and came != found.size:
                raise StorageError(
                    f"{location} has {found.size} bytes, of which {came} came: run the same command again"
                )

    @contextmanager
    def open(self, location: Location, hint: str | None = None) -> Iterator[RangeReader]:
        """A file whose ranges are fetched as they are read.

        Args:
            location: Where it is.
            hint: What was known of its content: of another one nothing is read. None reads whatever is there.

        Raises:
            SourceError: There is no such file, it was replaced, or it may not be read; also while reading.
            StorageError: It is out of reach; also while reading, and at the end where it was before.
        """
        with _reaching(location, "read"):
            file = self._files.open(location.key, "rb", cache_type="none")
            size = file.size
            if hint is not None:
                check_unchanged(_found(location.name, file.details), location, hint)

        def fetch(start: int, stop: int) -> bytes:
            with _reaching(location, "read"):
                file.seek(start)
                content: bytes = file.read(stop - start)
            if size is not None and len(content) != stop - start:
                raise StorageError(
                    f"{location}: of {stop - start} bytes at {start}, {len(content)} came: run the same command again"
                )
            return content

        try:
            with RangeReader(fetch, size) as reader:
                yield reader
        finally:
            file.close()

    def delete(self, location: Location) -> None:
        """Delete a file, if there is one."""
        with _reaching(location, "written"):
            try:
                self._files.rm_file(location.key)
            except FileNotFoundError:
                return


@cache
def _file_system(scheme: str, process: int) -> Any:  # noqa: ANN401 - fsspec's, without types
    """What reaches a kind of storage; one for all threads of a process.

    fsspec would make one for each thread, each with connections of its own.
    """
    try:
        return fsspec.filesystem(scheme, use_listings_cache=False, **_options(scheme))
    except ImportError as error:
        package = _EXTRAS.get(scheme, "adlfs")
        raise ConfigError(f"{scheme}:// needs a package that is not installed: pip install '{package}'") from error


def _options(scheme: str) -> Mapping[str, Any]:
    if scheme in ("http", "https"):
        import aiohttp

        # Without, aiohttp ends what takes longer than five minutes.
        limits = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENT_SECONDS)
        return {"client_kwargs": {"timeout": limits}}
    return _OPTIONS.get(scheme, {})


def _found(name: str, facts: Mapping[str, Any]) -> Found:
    size = int(facts.get("size") or 0)
    said = next((str(facts[field]) for field in _HINTS if facts.get(field)), "")
    return Found(name, size, f"{size}-{said}".replace('"', ""))


@contextmanager
def _reaching(location: Location, doing: _Doing, file: Path | None = None) -> Iterator[None]:
    """Turn what storage raises into our errors.

    Args:
        location: What is reached.
        doing: What is done there.
        file: What is written here.
    """
    try:
        yield
    except (SourceError, OutputError):
        raise
    except Exception as error:
        # Every kind of storage raises its own.
        if file is not None and isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            with writing_to(file):
                raise
        refused = SourceError if doing == "read" else OutputError
        words = getattr(error, "strerror", None) or str(error) or type(error).__name__
        words = redact(words, location.secrets)
        status = _http_status(error)
        if type(error).__name__ == "FileExpired":  # fsspec's, while a file is read
            raise replaced(location) from error
        if isinstance(error, FileNotFoundError) or status in (404, 410):
            raise refused(f"{location} cannot be {doing}: there is no such bucket or file") from error
        if isinstance(error, PermissionError) or status in (401, 403):
            raise refused(f"{location} may not be {doing}: {words}: look at the rights of your key") from error
        if type(error).__name__ in ("NoCredentialsError", "PartialCredentialsError", "ProfileNotFound"):
            raise refused(
                f"{location} cannot be {doing}: {words}: give AWS_PROFILE, or AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY, on every machine"
            ) from error
        raise StorageError(
            f"{location} could not be {doing} in several attempts: {words}: when its storage can be reached, run the "
            "same command again"
        ) from error


def _http_status(error: BaseException | None) -> int | None:
    """What a server answered, where an error tells."""
    while error is not None:
        response = getattr(error, "response", None)
        status = getattr(error, "status", None)
        if isinstance(response, Mapping):
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        if isinstance(status, int):
            return status
        error = error.__cause__
    return None
