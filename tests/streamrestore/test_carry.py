"""What is copied beside the video, from sources in any state."""

import io
from dataclasses import replace
from pathlib import Path

import av
import pytest

from streamrestore.carry import Carrier, CarryPlan
from streamrestore.carry_planning import plan_carry
from streamrestore.encoder import writing_to
from streamrestore.encoding import plan_encoding
from streamrestore.errors import DecodeError, OutputError
from streamrestore.frame import OnError
from streamrestore.limits import Loss
from streamrestore.probing import probe
from tests.clips import TIME_BASE, Clip, make_clip
from tests.failing import failing_container
from tests.outputs import make

LONG = Clip(pts=range(0, 60 * 1001, 1001), sound="aac", subtitles=[(0, 100, "one"), (300, 900, "two")])


def carry(path: Path, errors: dict[int, Exception], on_error: OnError = "pass") -> tuple[int, int]:
    """How many packets come of a source that fails to be read there, and how often it is said to have failed."""
    info = probe(path)
    plan = plan_carry(info, plan_encoding(info), on_error=on_error)
    memory = io.BytesIO()
    with av.open(str(path)) as source, av.open(memory, "w", format="matroska") as output, writing_to(Path("out.mkv")):
        carrier = Carrier(failing_container(source, errors), output, info, plan)
        output.start_encoding()
        carrier.mux_until(None)
    memory.seek(0)
    with av.open(memory, "r") as result:
        return sum(packet.size > 0 for packet in result.demux()), carrier.carried().unreadable


def test_damage_in_the_source_is_passed_over_and_counted(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.mkv", LONG)
    whole, _ = carry(path, {})
    assert carry(path, {5: av.InvalidDataError(1, "damaged")}) == (whole, 1)


@pytest.mark.parametrize("error", [av.InvalidDataError(1, "damaged"), OSError(5, "Input/output error")])
def test_trouble_with_the_source_is_not_blamed_on_the_output(tmp_path: Path, error: Exception) -> None:
    path = make_clip(tmp_path / "clip.mkv", LONG)
    with pytest.raises(DecodeError, match=r"clip\.mkv: reading stopped"):
        carry(path, {5: error}, "fail")


def test_sound_whose_times_go_back_is_carried_and_verified(tmp_path: Path) -> None:
    data = make_clip(tmp_path / "whole.ts", Clip(pts=range(0, 60 * 1001, 1001), sound="mp2")).read_bytes()
    packets = [data[at : at + 188] for at in range(0, len(data), 188)]
    twice = packets[: len(packets) // 2] + packets[len(packets) // 4 :]
    source = tmp_path / "clip.ts"
    source.write_bytes(b"".join(twice))
    for suffix in (".mp4", ".mkv", ".ts"):
        made = make(source, suffix=suffix)
        sound = [check for check in made.compare().mismatches if check.name.startswith("audio")]
        assert sound == []


def test_subtitles_that_are_shown_at_the_cut_are_kept_in_a_part(tmp_path: Path) -> None:
    made = make(make_clip(tmp_path / "clip.mkv", replace(LONG, sound=None)), part=(0.5, 1.0))
    assert made.compare().mismatches == ()
    with av.open(str(made.path)) as result:
        found = [(packet.pts, packet.duration, bytes(packet)) for packet in result.demux(subtitles=0) if packet.size]
    assert found == [(0, 500, b"two")]


def test_warnings_are_all_that_is_lost_and_all_notes() -> None:
    plan = CarryPlan(losses=(Loss("a is lost", ()), Loss("b is lost", ())), notes=("c is moved",))
    assert plan.warnings == ("a is lost", "b is lost", "c is moved")


def test_what_matroska_cannot_hold_is_lost_with_a_word_since_nothing_holds_more(tmp_path: Path) -> None:
    made = make(make_clip(tmp_path / "clip.mkv", LONG))
    assert made.plan.warnings == ()
    source = tmp_path / "text.mp4"
    with av.open(str(source), "w") as output, av.open(str(make_clip(tmp_path / "clip.mp4"))) as pictures:
        video = output.add_stream_from_template(pictures.streams.video[0], opaque=True)
        text = output.add_mux_stream("mov_text", time_base=TIME_BASE)
        output.start_encoding()
        packet = av.Packet(b"\0\5hello")
        packet.pts = packet.dts = 0
        packet.duration, packet.time_base, packet.stream = 3000, TIME_BASE, text
        output.mux(packet)
        for picture in pictures.demux():
            if picture.size:
                picture.stream = video
                output.mux(picture)
    lossy = make(source, suffix=".mkv")
    assert lossy.plan.warnings == ("subtitle stream #1 (mov_text) cannot be written to .mkv and will be lost",)
    assert lossy.compare().mismatches == ()
    assert make(source).plan.warnings == ()
    with pytest.raises(OutputError, match=r"\.ts cannot hold subtitle stream #1 \(mov_text\): name the output \.mkv"):
        make(source, suffix=".ts")
