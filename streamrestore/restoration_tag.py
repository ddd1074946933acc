"""A tag in the output that says what was done to it, for whoever meets it without its receipt.

Words that never change for the same job: no dates, no paths.
"""

from collections.abc import Mapping, Sequence

from streamrestore import __version__
from streamrestore.checkpoint import Model

_KEY = "RESTORATION"
_BEGINNING = "streamrestore "

_BORROWED = ("encoder", "comment")
"""Where the words are read from in containers that have no tag of any name."""


def restoration_words(models: Sequence[Model], *, strength: float, by_shot: bool = False) -> str:
    """Such as ``streamrestore 0.1.0: denoise (denoise-compact), deblur (deblur-compact), strength 0.5``.

    Args:
        models: In the order they are run.
        strength: Of their effect; 1 goes without saying.
        by_shot: Whether each shot was given only what it needs of them.
    """
    done = ", ".join(f"{model.task} ({model.name})" for model in models)
    if by_shot:
        done = f"where needed {done}"
    return f"{_BEGINNING}{__version__}: {done}" + ("" if strength == 1 else f", strength {strength:g}")


def plan_restoration_tag(
    words: str, container: str, source_tags: Mapping[str, str], *, keyed: bool
) -> tuple[tuple[str, str], ...]:
    """Find the tag in which an output says what was done, so that no tag of the source gives way.

    Args:
        words: From `restoration_words`; what an earlier restoration left is put before them.
        container: FFmpeg's name of the muxer.
        source_tags: Of the source's file.
        keyed: Whether tags of any name are written to an mp4 or mov.

    Returns:
        The tag as the muxer takes it, or nothing where there is no place for it.
    """
    before = restoration_tag(source_tags)
    value = words if before is None else f"{source_tags[before]}; {words}"
    if container in ("matroska", "webm", "nut") or keyed:
        return ((_KEY, value),)
    if container == "mp4":
        return (("encoding_tool", value),)  # read as "encoder"
    has_comment = any(key.lower() == "comment" and key != before for key in source_tags)
    return (("comment", value),) if container == "mov" and not has_comment else ()


def restoration_tag(tags: Mapping[str, str]) -> str | None:
    """The name of the tag in which a file says how it was restored; None if it does not."""
    for wanted in (_KEY.lower(), *_BORROWED):
        for key, value in tags.items():
            if key.lower() == wanted and value.startswith(_BEGINNING):
                return key
    return None
