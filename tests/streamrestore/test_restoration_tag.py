"""The tag that says what was done: it is there, it harms no other, and a second restoration adds to it."""

from pathlib import Path

import pytest

from streamrestore.carry_planning import plan_carry
from streamrestore.checks import Verdict
from streamrestore.encoding import EncodingRequest, plan_encoding
from streamrestore.frame import Stamp, planes_md5
from streamrestore.probing import open_container
from streamrestore.restoration_tag import plan_restoration_tag, restoration_tag, restoration_words
from streamrestore.source import open_source
from streamrestore.verification import verify
from tests.clips import Clip, make_clip
from tests.networks import tiny_model
from tests.writing import write_video

WORDS = "streamrestore 1.0: derain (tiny)"


def restore(source: Path, suffix: str, words: str = WORDS) -> tuple[Path, dict[str, str]]:
    """Write a source again, verified; the output and its tags."""
    with open_source(source) as opened:
        info = opened.info
        encoding = plan_encoding(info, EncodingRequest(codec="h264", preset="ultrafast"), suffix)
        plan = plan_carry(info, encoding, restoration=words)
        frames = list(opened.frames())
    output = source.with_name(f"{source.stem}.out{suffix}")
    write_video(output, info, encoding, plan, frames)
    stamps = [Stamp(frame.pts, frame.duration, planes_md5(frame.planes)) for frame in frames]
    found = {check.name: check for check in verify(output, info, encoding, plan, stamps).checks}
    if plan.tags:
        assert found["tag of what was done"].verdict is Verdict.OK
    with open_container(output) as container:
        return output, dict(container.metadata)


def test_words_say_what_and_how_much() -> None:
    words = restoration_words((tiny_model(), tiny_model()), strength=0.5)
    assert words.startswith("streamrestore 0.")
    assert words.endswith(": derain (tiny), derain (tiny), strength 0.5")
    assert "strength" not in restoration_words((tiny_model(),), strength=1.0)


@pytest.mark.parametrize(
    ("suffix", "key"), [(".mkv", "RESTORATION"), (".mp4", "encoder"), (".mov", "comment"), (".ts", None)]
)
def test_each_container_has_its_place(tmp_path: Path, suffix: str, key: str | None) -> None:
    _, tags = restore(make_clip(tmp_path / "clip.mkv", Clip(tags={"title": "Rain"})), suffix)
    assert restoration_tag(tags) == key
    assert key is None or (tags[key], tags["title"]) == (WORDS, "Rain")


@pytest.mark.parametrize(("suffix", "key"), [(".mp4", "encoder"), (".mov", None)])
def test_no_words_of_the_users_give_way(tmp_path: Path, suffix: str, key: str | None) -> None:
    _, tags = restore(make_clip(tmp_path / "clip.mp4", Clip(tags={"comment": "mine"})), suffix)
    assert tags["comment"] == "mine"
    assert restoration_tag(tags) == key


def test_tags_of_any_name_leave_room_for_it(tmp_path: Path) -> None:
    _, tags = restore(make_clip(tmp_path / "clip.mkv", Clip(tags={"REEL": "7"})), ".mp4")
    assert tags["REEL"] == "7"
    assert restoration_tag(tags) == "RESTORATION"


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".mov"])
def test_a_second_restoration_is_added(tmp_path: Path, suffix: str) -> None:
    first, _ = restore(make_clip(tmp_path / "clip.mkv"), suffix)
    again = "streamrestore 1.0: deblur (tiny)"
    _, tags = restore(first, suffix, again)
    assert tags[restoration_tag(tags) or ""] == f"{WORDS}; {again}"


def test_nothing_is_written_where_there_is_no_place() -> None:
    assert plan_restoration_tag(WORDS, "mpegts", {}, keyed=False) == ()
    assert plan_restoration_tag(WORDS, "mov", {"COMMENT": "mine"}, keyed=False) == ()
    assert restoration_tag({"encoder": "Lavf62", "comment": "streamrestored by hand"}) is None
