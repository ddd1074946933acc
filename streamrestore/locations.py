"""Where files are: on this computer, or in storage that a URL names; shown without secrets."""

import os
import posixpath
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from streamrestore.errors import ConfigError
from streamrestore.live.addresses import HIDDEN, SCHEME, Address, parse_address

OBJECT_STORES = ("s3", "s3a", "gs", "gcs")
"""Schemes of storage that is read and written: it creates what is not there yet as one step, or refuses."""

READ_ONLY = ("http", "https", "abfs", "az")
"""Schemes of what is read only."""


@dataclass(frozen=True, slots=True)
class Location(Address):
    """A file or a folder somewhere; its ``url`` is an absolute path where it is on this computer."""

    @property
    def is_local(self) -> bool:
        """Whether it is among this computer's files."""
        return not self.is_network

    @property
    def path(self) -> Path:
        """Of what is local."""
        if not self.is_local:
            raise ValueError(f"{self.shown} is no local file")
        return Path(self.url)

    @property
    def key(self) -> str:
        """What its storage calls it: a path, bucket and key, or the whole URL."""
        if self.scheme in ("http", "https"):
            return self.url
        return SCHEME.sub("", self.url, count=1)

    @property
    def name(self) -> str:
        """The last part; without the query of a URL, and decoded."""
        if self.scheme in ("http", "https"):
            return unquote(urlsplit(self.url).path.rstrip("/").rpartition("/")[2])
        return self.key.rstrip("/").rpartition("/")[2]

    def child(self, relative: str) -> "Location":
        """What is in this folder under a name, with slashes where it is deeper."""
        if self.is_local:
            path = str(self.path / relative)
            return Location(path, path)
        if self.scheme in ("http", "https"):
            relative = quote(relative)
        return Location(f"{self.url.rstrip('/')}/{relative}", f"{self.shown.rstrip('/')}/{relative}", self.secrets)

    @property
    def parent(self) -> "Location":
        """The folder it is in."""
        if self.is_local:
            path = str(self.path.parent)
            return Location(path, path)
        url, shown = (text.partition("?")[0].rstrip("/").rpartition("/")[0] for text in (self.url, self.shown))
        return Location(url, shown, self.secrets)


def parse_location(text: str, folder: Location | None = None) -> Location:
    """What the user, or a manifest, calls a file or a folder.

    Args:
        text: A path, or a URL such as ``s3://bucket/footage/clip.mp4``, whose names are not percent-encoded but for
            ``http``.
        folder: Where relative paths begin; None: in the folder this process works in.

    Raises:
        ConfigError: It is no location, or of storage that is not known; the message holds no secret.
    """
    match = SCHEME.match(text)
    if match is None or match["scheme"].lower() == "file":
        path = text if match is None else text[match.end() :]
        if not path or "\0" in path:
            raise ConfigError(f"{text!r} names no file: give a path, or a URL such as s3://bucket/clip.mp4")
        if folder is not None and not path.startswith("/"):
            return _below(folder, path)
        path = str(Path.cwd() / path)
        return Location(path, path)
    scheme, rest = match["scheme"].lower(), text[match.end() :]
    if scheme not in (*OBJECT_STORES, *READ_ONLY):
        known = ", ".join(f"{name}://" for name in (*OBJECT_STORES, *READ_ONLY))
        raise ConfigError(f"{scheme}://{HIDDEN}: there is no such storage: give a path, or a URL of {known}")
    if scheme in ("http", "https"):
        address = parse_address(text)
        return Location(address.url, address.shown, address.secrets)
    bucket, _, key = rest.partition("/")
    if "@" in bucket:
        raise ConfigError(
            f"{scheme}://{HIDDEN}@{bucket.rpartition('@')[2]}/{key}: keys and passwords do not belong in a URL: leave "
            "them to the environment, such as AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    if not bucket:
        raise ConfigError(f"{scheme}:// names no bucket: give one such as {scheme}://bucket/footage")
    url = f"{scheme}://{rest}"
    return Location(url, url)


def from_any_folder(text: str) -> str:
    """What names the same in whatever folder it is read; a URL of storage is not looked into.

    Args:
        text: A path, or a URL.

    Raises:
        ConfigError: It is no location.
    """
    match = SCHEME.match(text)
    if match is not None and match["scheme"].lower() != "file":
        return text
    return os.path.abspath(parse_location(text).url)


def _below(folder: Location, relative: str) -> Location:
    """What a relative path names from a folder; object stores know no ``..`` of their own."""
    if folder.is_local:
        return folder.child(relative)
    if {"..", "."} & set(relative.split("/")):
        relative = posixpath.normpath(relative)
    while relative.startswith("../"):
        if "/" not in folder.key.strip("/"):
            raise ConfigError(f"{relative!r} leaves {folder}: name it by its URL")
        folder, relative = folder.parent, relative[3:]
    return folder.child(relative)
