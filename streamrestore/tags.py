"""Tags of files and streams: which of them still hold in another file, and what they say whatever its container."""

import re
from collections.abc import Mapping
from datetime import datetime

_OF_OLD_FILE = ("encoder", "major_brand", "minor_version", "compatible_brands")
COUNTS = ("duration", "bps", "number_of_frames", "number_of_bytes", "_statistics_")
"""Tags in which Matroska counts packets; in lower case and by their beginning, like the others here."""
OF_ENCODER = ("encoder", "alpha_mode")
"""Tags that say how packets were encoded."""
_OF_MUXERS = ("handler_name", "vendor_id", "language")
"""What muxers say for themselves; the language is looked at on its own."""

_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?")

_LANGUAGES = (
    {"alb": "sqi", "arm": "hye", "baq": "eus", "bur": "mya", "chi": "zho", "cze": "ces", "dut": "nld"}
    | {"fre": "fra", "geo": "kat", "ger": "deu", "gre": "ell", "ice": "isl", "mac": "mkd", "mao": "mri"}
    | {"may": "msa", "per": "fas", "rum": "ron", "slo": "slk", "tib": "bod", "wel": "cym", "sve": "swe"}
)
"""Languages with two codes in ISO 639-2; the last is QuickTime's own for Swedish."""

_QUICKTIME = {code: older for older, code in _LANGUAGES.items()} | {code: code for code in ("ces", "fra", "ron", "slk")}
"""Which of two codes QuickTime's list of languages has; the others it would not take."""


def lasting_file_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """The tags of a file that do not describe its container."""
    return _without(tags, _OF_OLD_FILE)


def lasting_stream_tags(tags: Mapping[str, str], container: str, *, stale: tuple[str, ...] = ()) -> dict[str, str]:
    """The tags of a stream that hold for its copy, as its new container takes them.

    Args:
        tags: Of the source's stream.
        container: FFmpeg's name of the muxer.
        stale: Which do not hold: `COUNTS`, `OF_ENCODER`.
    """
    kept = _without(tags, stale)
    if "name" in kept and "title" not in kept:  # what mp4 and mov read back as one, but write as the other
        kept["title"] = kept.pop("name")
    if container == "mov" and (code := language(tags)) in _QUICKTIME:
        kept["language"] = _QUICKTIME[code]
    return kept


def file_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """What a file's tags say, in one spelling for all containers."""
    return _spelled(_without(tags, _OF_OLD_FILE))


def stream_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """What a stream's tags say beside its language, in one spelling for all containers."""
    spelled = _spelled(_without(tags, (*_OF_MUXERS, *OF_ENCODER, *COUNTS)))
    if "name" in spelled:
        spelled.setdefault("title", spelled.pop("name"))
    return spelled


def cover_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """What the tags of cover art say beside what kind of file it is, in one spelling for all containers."""
    return _without(stream_tags(tags), ("filename", "mimetype"))


def language(tags: Mapping[str, str]) -> str:
    """The language of a stream, by the newer of two codes; ``und`` where it is not tagged."""
    code = next((value for key, value in tags.items() if key.lower() == "language"), "") or "und"
    return _LANGUAGES.get(code, code)


def _without(tags: Mapping[str, str], stale: tuple[str, ...]) -> dict[str, str]:
    return {key: value for key, value in tags.items() if not key.lower().startswith(stale)}


def _spelled(tags: Mapping[str, str]) -> dict[str, str]:
    spelled = dict[str, str]()
    for given, value in tags.items():
        key = given.lower().replace(" ", "_")
        name, dash, code = key.rpartition("-")
        key = f"{name}{dash}{_LANGUAGES.get(code, code)}"
        if key == "creation_time":
            value = _moment(value)
        elif key.startswith("location"):
            value = ",".join(f"{float(number):.3f}" for number in _NUMBER.findall(value))
        spelled[key] = value
    return spelled


def _moment(text: str) -> str:
    try:
        return datetime.fromisoformat(text).replace(tzinfo=None).isoformat(timespec="seconds")
    except ValueError:
        return text
