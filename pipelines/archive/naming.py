"""What results are called: as their sources, in a tree like theirs, and no two of them the same.

Pure. A result's name is a stem and a suffix, and the suffix is known only when its source was looked at; so stems
must differ, also for file systems that take upper and lower case, or composed and decomposed letters, for the same.
What a result is called depends on nothing but the names of all sources.
"""

import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping

from pipelines.outputs import VIDEO_SUFFIXES

_REFUSED = ("", ".", "..")
"""What an object store takes for a folder's name, and a file system does not."""


def printable(name: str) -> str:
    """A name as records hold it: what is no UTF-8, which Python has from the system in its own way, is escaped."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def safe_name(name: str) -> str:
    """A relative name, with slashes, that every file system and record can hold, and that leaves no folder."""
    parts = printable(name).replace("\0", "_").split("/")
    return "/".join("_" if part in _REFUSED else part for part in parts)


def folded(name: str) -> str:
    """Equal for names that some file system takes for the same one."""
    if name.isascii():
        return name.lower()
    # Systems fold by upper or by lower case, and letters such as the dotless i are folded by one of the two only.
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", name).upper().casefold())


def plan_stems(names: Mapping[str, str], taken: Collection[str] = ()) -> dict[str, str]:
    """Find a stem for every source.

    Args:
        names: Of the sources, safe, by the ids of their items.
        taken: Stems that are given away already.

    Returns:
        By id: the source's name without its suffix. Where that is not free for all who want it, all of them keep
        their suffix, ``a.avi`` and ``a.mkv``; where that is not either, ids are added.
    """
    # A folder is in the way of a file of its name.
    ways = (split_suffix(folder) for folder in _folders(names.values()))
    reserved = {folded(stem) for stem in (*taken, *(stem for stem, suffix in ways if suffix.lower() in VIDEO_SUFFIXES))}
    choices = {each: _choices(name, each) for each, name in names.items()}
    stems = {each: next(choice) for each, choice in choices.items()}
    keys = {each: folded(stem) for each, stem in stems.items()}
    unsettled: Collection[str] = names
    while unsettled:
        users = Counter(keys.values())
        unsettled = [each for each, key in keys.items() if users[key] > 1 or key in reserved]
        for each in unsettled:
            stems[each] = next(choices[each], stems[each])
            keys[each] = folded(stems[each])
    return stems


def split_suffix(name: str) -> tuple[str, str]:
    """A name's stem and suffix, folders included; names that begin with a dot have none."""
    folder, slash, last = name.rpartition("/")
    stem, _dot, suffix = last.rpartition(".")
    return (f"{folder}{slash}{stem}", f".{suffix}") if stem and suffix else (name, "")


def _choices(name: str, item_id: str) -> Iterator[str]:
    """Stems for a source, the nicest first."""
    yield split_suffix(name)[0]
    yield name
    yield f"{name}.{item_id[:8]}"
    yield f"{name}.{item_id}"


def _folders(names: Iterable[str]) -> set[str]:
    """All folders that names are in."""
    found = set[str]()
    for name in names:
        folder = name.rpartition("/")[0]
        while folder and folder not in found:
            found.add(folder)
            folder = folder.rpartition("/")[0]
    return found
