"""Which clips an archive run restores: those of a folder, of a glob, or of a manifest."""

import os
import posixpath
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from urllib.parse import unquote, urlsplit

from pipelines.archive.items import MISSING, ArchiveItem, item_id
from pipelines.archive.manifest import MANIFEST_SUFFIXES, ManifestRow, read_manifest
from pipelines.archive.naming import folded, plan_stems, printable, safe_name, split_suffix
from pipelines.archive.patterns import EVERYTHING, NamePattern, has_wildcards, split_glob
from pipelines.archive.request import STATE_FOLDER
from pipelines.archive.shards import Shard
from pipelines.archive.source_root import common_root
from pipelines.outputs import VIDEO_SUFFIXES
from streamrestore.errors import ConfigError, SourceError
from streamrestore.locations import OBJECT_STORES, Location, parse_location
from streamrestore.places import IMAGES
from streamrestore.storage import Found, Unread, find_all, storage_of


@dataclass(frozen=True, slots=True)
class Listing:
    """All that was found."""

    items: tuple[ArchiveItem, ...]
    """In order of their names; those of the shard."""
    root: Location | None
    """What all of them are in: a folder; of a manifest None where they have nothing in common."""
    total: int
    """Items of all shards."""
    others: int = 0
    """Files that are left alone: their suffix is no video's."""
    unread: tuple[Unread, ...] = ()
    """Folders that could not be looked into: what is in them is not known."""


def list_items(source: str, target: str, shard: Shard | None = None) -> Listing:
    """Find out what is to be restored, and what the results are called.

    Args:
        source: A folder, searched through all its folders; a glob; a manifest; or a URL of one of these.
        target: The folder of the results, or its URL.
        shard: The part that is wanted; None for all. Names do not depend on it.

    Raises:
        ConfigError: The source or the target is none of these, a manifest is wrong, or outputs would replace sources.
        SourceError: The source cannot be read, or there is no video in it.
        StorageError: Storage is out of reach.
    """
    into = _parse_target(target)
    if source.lower().endswith(MANIFEST_SUFFIXES) and not os.path.isdir(source) and not has_wildcards(source):
        listing = _list_manifest(parse_location(source), into)
    else:
        listing = _list_tree(source, into)
    _check_sources_stay(listing.items, into)
    if shard is None:
        return listing
    return replace(listing, items=tuple(item for item in listing.items if shard.holds(item.id)))


def _parse_target(text: str) -> Location:
    target = parse_location(text)
    if not target.is_local and target.scheme not in OBJECT_STORES:
        raise ConfigError(f"{target} cannot be written to: give a folder, or a URL such as s3://bucket/restored")
    if target.is_local and os.path.exists(target.url) and not os.path.isdir(target.url):
        raise ConfigError(f"{target} is a file: name the folder that the results go into")
    return target


# Folders and globs


def _list_tree(source: str, target: Location) -> Listing:
    base, pattern = source, EVERYTHING
    if has_wildcards(source) and not os.path.isdir(source):
        base, pattern = split_glob(source)
        if "://" in source and "://" not in base:
            raise ConfigError(f"{source}: a wildcard stands for no bucket: name it, as in s3://bucket/**/*.mp4")
    folder = parse_location(base)
    if not folder.is_local and folder.scheme not in OBJECT_STORES:
        raise ConfigError(f"{folder} cannot be searched: list its clips in a manifest (.jsonl, .csv or .parquet)")
    if folder.is_local and os.path.isfile(folder.url):
        raise ConfigError(
            f"{folder} is one file: name a folder, a glob or a manifest ({', '.join(MANIFEST_SUFFIXES)}); "
            "one file is restored by: streamrestore restore FILE"
        )
    if folder.is_local == target.is_local and _is_same(folder, target):
        raise ConfigError(
            f"{target} is what is restored: name another folder for the results; it may be one in this one"
        )
    found, others, unread = _search(folder, pattern, target)
    if not found:
        where = "" if not unread else f", but {unread[0].name} cannot be read: {unread[0].reason}"
        raise SourceError(f"no video to restore in {source}{where}; looked for {' '.join(sorted(VIDEO_SUFFIXES))}")
    ids = {item_id(name): file for name, file in found.items()}
    stems = plan_stems({each: safe_name(file.name) for each, file in ids.items()})
    items = (
        ArchiveItem(each, folder.child(file.name), printable(file.name), file.size, file.hint or MISSING, stems[each])
        for each, file in ids.items()
    )
    return Listing(tuple(sorted(items, key=lambda item: item.name)), folder, len(found), others, tuple(unread))


def _is_same(folder: Location, other: Location) -> bool:
    if folder.is_local:
        return os.path.realpath(folder.url) == os.path.realpath(other.url)
    return folder.url.rstrip("/") == other.url.rstrip("/")


def _search(folder: Location, pattern: NamePattern, target: Location) -> tuple[dict[str, Found], int, list[Unread]]:
    """Videos by name, how many others there are, and folders that cannot be read."""
    videos, others, unread = dict[str, Found](), 0, list[Unread]()
    # A suffix that is asked for is not doubted.
    suffix = split_suffix(pattern.parts[-1])[1]
    named = bool(suffix) and not has_wildcards(suffix)
    skip = target if target.is_local == folder.is_local else None
    for file in storage_of(folder).walk(folder, pattern.may_hold, skip):
        if isinstance(file, Unread):
            unread.append(file)
        elif pattern.matches(file.name):
            if named or split_suffix(file.name)[1].lower() in VIDEO_SUFFIXES:
                videos[file.name] = file
            else:
                others += 1
    return videos, others, unread


# Manifests


@dataclass(slots=True)
class _Listed:
    """A row that was looked into."""

    row: ManifestRow
    source: Location
    name: str
    place: str
    """Where its output goes by default, with the source's suffix."""
    stem: str | None = None
    suffix: str | None = None


def _list_manifest(manifest: Location, target: Location) -> Listing:
    content = storage_of(manifest).read(manifest)
    if content is None:
        raise SourceError(f"{manifest} does not exist")
    listed = _distinct(_look_into(row, manifest.parent) for row in read_manifest(manifest.name, content))
    if not listed:
        raise SourceError(f"{manifest} lists no clip")
    names = {each: item.place for each, item in listed.items() if item.stem is None}
    stems = plan_stems(names, [item.stem for item in listed.values() if item.stem is not None])
    found = find_all([item.source for item in listed.values()])
    items = tuple(_make_item(each, item, found.get(item.source.url), stems.get(each)) for each, item in listed.items())
    root = common_root(item.source for item in items)
    return Listing(tuple(sorted(items, key=lambda item: item.name)), root, len(items))


def _look_into(row: ManifestRow, folder: Location) -> _Listed:
    try:
        source = parse_location(row.source, folder)
    except ConfigError as error:
        raise ConfigError(f"{row.place}: source: {error}") from error
    name, place = _names(source, folder)
    listed = _Listed(row, source, name, safe_name(place))
    if row.output is not None:
        output = _check_output(row)
        stem, suffix = split_suffix(output)
        known = suffix.lower() in VIDEO_SUFFIXES
        listed.stem, listed.suffix = (stem, suffix) if known else (output, None)
    return listed


def _names(source: Location, folder: Location) -> tuple[str, str]:
    """What a source is called, and where its output goes: as from the manifest's folder, if it is there."""
    normal, above = _normal(source), _normal(folder).rstrip("/") + "/"
    if source.scheme in ("http", "https"):
        parts = urlsplit(source.shown)
        return source.shown, unquote(f"{parts.hostname}{parts.path}")
    if normal.startswith(above):
        return printable(normal[len(above) :]), normal[len(above) :]
    if source.is_local:
        return printable(normal), normal.lstrip("/")
    return source.shown, source.key


def _normal(location: Location) -> str:
    return os.path.normpath(location.url) if location.is_local else location.url


def _check_output(row: ManifestRow) -> str:
    """Where a row's output goes, from the target.

    Raises:
        ConfigError: It would leave the target, or is no place for a video.
    """
    text = row.output or ""
    parts = text.split("/")
    if text.startswith("/") or "://" in text or ".." in parts or "\0" in text:
        raise ConfigError(f"{row.place}: output {text!r} leaves the target: give a name in it, such as tapes/clip.mkv")
    output = posixpath.normpath(text)
    if output == "." or text.endswith("/"):
        raise ConfigError(f"{row.place}: output {text!r} is a folder: name a file in it, such as tapes/clip.mkv")
    if output.split("/")[0] == STATE_FOLDER:
        raise ConfigError(f"{row.place}: output {text!r} is among our own files: take another folder")
    if split_suffix(output)[1].lower() in IMAGES:
        raise ConfigError(f"{row.place}: output {text!r} would be images: name a video, such as tapes/clip.mkv")
    return output


def _distinct(listed: Iterable[_Listed]) -> dict[str, _Listed]:
    """Rows by the ids of their items.

    Raises:
        ConfigError: Two of them are the same, or have the same output.
    """
    found, outputs = dict[str, _Listed](), dict[str, list[_Listed]]()
    for item in listed:
        each = item_id(item.source.url if item.name == item.source.shown else item.name)
        if item.row.output is not None:
            each = item_id(f"{each}\0{item.row.output}")
            for other in outputs.setdefault(folded(item.stem or ""), []):
                if item.suffix is None or other.suffix is None or folded(item.suffix) == folded(other.suffix):
                    raise ConfigError(
                        f"{item.row.place}: its output {item.row.output!r} is that of {other.row.place}, "
                        f"{other.row.output!r}: give each clip its own"
                    )
            outputs[folded(item.stem or "")].append(item)
        before = found.get(each)
        if before is not None:
            raise ConfigError(
                f"{item.row.place}: {item.name} is listed already, in {before.row.place}: list it once, or give each "
                "row an output of its own"
            )
        found[each] = item
    return found


def _make_item(each: str, listed: _Listed, found: Found | None, stem: str | None) -> ArchiveItem:
    return ArchiveItem(
        id=each,
        source=listed.source,
        name=listed.name,
        size=0 if found is None else found.size,
        hint=MISSING if found is None else found.hint or MISSING,
        stem=listed.stem if stem is None else stem,  # type: ignore[arg-type] # one of the two is there
        suffix=listed.suffix,
        options=listed.row.options,
    )


def _check_sources_stay(items: Sequence[ArchiveItem], target: Location) -> None:
    """Refuse outputs that would take the places of sources."""
    sources = {_normal(item.source): item for item in items}
    stems = {split_suffix(source)[0]: item for source, item in sources.items()}
    for item in items:
        place = _normal(target.child(item.stem))
        replaced = stems.get(place) if item.suffix is None else sources.get(place + item.suffix)
        if replaced is not None:
            raise ConfigError(
                f"{item.name} would be restored to {place}{item.suffix or '.*'}, which may be the place of the source "
                f"{replaced.source}: choose another target than {target}"
            )
