"""What an output will not hold is foretold, kept where there is a way, and found lost as it was foretold."""

from dataclasses import replace
from pathlib import Path

import av
import pytest
from av.stream import Disposition

from streamrestore.checks import Verdict
from streamrestore.errors import OutputError
from streamrestore.limits import Loss
from streamrestore.verification import Verification
from tests.clips import Clip, make_clip
from tests.outputs import Made, make

LONG = tuple(range(0, 45 * 1001, 1001))
CHAPTERS = [(0, 300, "ünï 🎬"), (500, 1000, "two"), (1000, 1400, "")]
RICH = Clip(
    pts=LONG,
    sound="aac",
    chapters=CHAPTERS,
    tags={"title": "Ein Film 🎬", "comment": "two\nlines", "my tag": "", "track": "01", "encoder": "of another file"},
    stream_tags={"title": "Main", "language": "swe", "odd": "x"},
)


def verdicts(verification: Verification, verdict: Verdict) -> set[str]:
    return {check.name for check in verification.checks if check.verdict is verdict}


def assert_all_losses_were_foretold(made: Made) -> set[str]:
    """Nothing is lost that was not announced, nor announced and not lost; the names of the checks."""
    verification = made.compare()
    assert verdicts(verification, Verdict.MISMATCH) == set()
    lost = verdicts(verification, Verdict.ANNOUNCED)
    assert lost == {name for loss in made.plan.losses for name, _ in loss.found}
    assert verdicts(replace(made, plan=replace(made.plan, losses=())).compare(), Verdict.MISMATCH) == lost
    return lost


@pytest.mark.parametrize("part", [(None, None), (0.4, 1.2)], ids=["whole", "part"])
@pytest.mark.parametrize("target", [".mkv", ".mp4", ".mov", ".ts"])
@pytest.mark.parametrize("source", [".mkv", ".mp4", ".mov", ".ts"])
def test_what_is_lost_between_containers_is_what_was_foretold(
    tmp_path: Path, source: str, target: str, part: tuple[float | None, float | None]
) -> None:
    made = make(make_clip(tmp_path / f"clip{source}", RICH), suffix=target, part=part)
    lost = assert_all_losses_were_foretold(made)
    if source == target:
        assert lost <= {"video stream: tags"}


def test_the_words(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mkv", RICH)
    everything = ": name the output .mkv to keep everything"
    assert make(clip).plan.warnings == ()
    assert make(clip, suffix=".mp4").plan.warnings == (
        f".mp4 cannot hold the marks of audio stream #1 (original); the tags of video stream (odd); "
        f"where chapters end{everything}",
    )
    assert make(clip, suffix=".ts").plan.warnings == (
        f".ts cannot hold the marks of audio stream #1 (original); the language of video stream (swe); "
        f"the tags of video stream (odd, title); the chapters; the tags comment, my_tag, title, track{everything}",
    )


def test_many_streams_are_counted_in_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "clip.mkv"
    with av.open(str(make_clip(tmp_path / "one.mkv", Clip(sound="aac")))) as source, av.open(str(path), "w") as output:
        streams = [source.streams.video[0], *[source.streams.audio[0]] * 5]
        targets = [output.add_stream_from_template(stream, opaque=True) for stream in streams]
        for target in targets:
            target.metadata["title"] = "x"
        for packet in source.demux():
            if packet.size and packet.stream.type == "video":
                packet.stream = targets[0]
                output.mux(packet)
            elif packet.size:
                for target in targets[1:]:
                    copy = av.Packet(bytes(packet))
                    copy.pts, copy.dts, copy.time_base = packet.pts, packet.dts, packet.time_base
                    copy.stream = target
                    output.mux(copy)
    made = make(path, suffix=".ts")
    assert "the tags of 6 streams (title)" in made.plan.warnings[0]
    assert_all_losses_were_foretold(made)


def test_german_is_kept_in_quicktime(tmp_path: Path) -> None:
    made = make(make_clip(tmp_path / "clip.mkv", Clip(sound="aac")), suffix=".mov")
    with av.open(str(made.path)) as container:
        assert container.streams.audio[0].metadata["language"] == "ger"
    assert "audio stream #1: language" not in assert_all_losses_were_foretold(made)


def test_a_stream_title_survives_mp4_twice(tmp_path: Path) -> None:
    first = make(make_clip(tmp_path / "clip.mkv", Clip(stream_tags={"title": "Main"})), suffix=".mp4")
    second = make(first.path)
    for made in (first, second):
        assert assert_all_losses_were_foretold(made) == set()
        with av.open(str(made.path)) as container:
            assert container.streams.video[0].metadata["name"] == "Main"


def test_cover_art_is_kept_in_a_part(tmp_path: Path) -> None:
    made = make(make_clip(tmp_path / "clip.mp4", Clip(pts=LONG, sound="aac", cover=True)), part=(0.5, 1.0))
    assert assert_all_losses_were_foretold(made) == set()
    with av.open(str(made.path)) as container:
        assert any(Disposition.attached_pic in stream.disposition for stream in container.streams.video)


def test_odd_tags_give_way_to_cover_art(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", Clip(cover=True, tags={"track": "01", "title": "x"}))
    made = make(clip)
    assert not made.plan.keyed_tags
    assert "cover stream #1: SHA-256 of its content" in verdicts(made.compare(), Verdict.OK)
    assert_all_losses_were_foretold(made)


def test_a_container_that_takes_a_stream_and_forgets_it_is_refused(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", Clip(cover=True))
    with pytest.raises(OutputError, match=r"\.mov cannot hold cover stream #1: name the output \.mkv"):
        make(clip, suffix=".mov")


def test_another_difference_than_the_one_foretold_is_not_excused(tmp_path: Path) -> None:
    made = make(make_clip(tmp_path / "clip.mkv", RICH), suffix=".ts")
    other = Loss("the chapters will be others", (("chapters", "'one' 0.000-0.400 s"),))
    verification = replace(made, plan=replace(made.plan, losses=(other,))).compare()
    assert "chapters" in verdicts(verification, Verdict.MISMATCH)


def test_chapters_without_title_are_kept_in_mp4(tmp_path: Path) -> None:
    made = make(
        make_clip(tmp_path / "clip.mkv", Clip(pts=LONG, chapters=[(0, 700, ""), (700, 1400, "")])), suffix=".mp4"
    )
    assert assert_all_losses_were_foretold(made) == set()
