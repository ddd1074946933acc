"""A receipt is read as it was written, or refused with a reason."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamrestore.devices import Precision
from streamrestore.errors import OutputError, SourceError
from streamrestore.frame import Defect, Stamp
from streamrestore.receipt import Receipt, frame_lines, read_receipt, receipt_path, receipt_schema, write_receipt
from streamrestore.receipt_parts import Counts, Plan, SegmentUsed
from streamrestore.segment_file import PacketOrder
from streamrestore.work_folder import SegmentRecord
from tests.clips import Clip, make_clip
from tests.outputs import make
from tests.receipts import issue

MD5 = "0123456789abcdef" * 2


@pytest.fixture
def written(tmp_path: Path) -> tuple[Path, Receipt]:
    made = make(make_clip(tmp_path / "clip.mp4", Clip(sound="aac", colour=(0, 2, 2, 2))))
    receipt = issue(made)
    path = receipt_path(made.path)
    write_receipt(path, receipt)
    return path, receipt


def test_it_is_read_as_it_was_written(written: tuple[Path, Receipt]) -> None:
    path, receipt = written
    assert path.name == "clip.out.mp4.receipt.json"
    assert read_receipt(path) == receipt
    assert [file.name for file in path.parent.glob("*receipt*")] == [path.name]


def test_it_says_what_was_done_and_names_no_place(written: tuple[Path, Receipt], tmp_path: Path) -> None:
    path, receipt = written
    document = json.loads(path.read_text())
    assert document["schema"] == 1
    assert document["source"]["path"] == "clip.mp4"
    assert document["source"]["colour_guesses"][0] == "matrix not tagged: taken as BT.601, for its size"
    assert document["settings"]["part"] == [None, 0.5]
    assert str(tmp_path) not in path.read_text()
    assert receipt.source.file(path) == tmp_path / "clip.mp4"
    assert len(document["frames"]) == 12


def test_plans_come_back_as_they_were(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mkv", Clip(sound="aac", pts=range(0, 60060, 1001)))
    made = make(clip, suffix=".mov", part=(0.5, 1.5))
    plan = Plan.model_validate_json(issue(made).plan.model_dump_json())
    assert plan.encoding() == replace(made.encoding, notes=())
    assert plan.carry() == replace(made.plan, keyed_tags=False, notes=())
    assert plan.losses


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[: len(text) // 2], "the file: Invalid JSON"),
        (lambda text: text.replace('"schema": 1', '"schema": 2'), "schema: Input should be 1"),
        (lambda text: text.replace('"shift"', '"shifted"'), "plan.shift"),
        (lambda text: text.replace('"batch": 1', '"batch": "1"'), "plan.batch: Input should be a valid integer"),
        (lambda text: "[1]", "the file: Input should be an object"),
        (lambda text: json.dumps(json.loads(text) | {"frames": ["0 1 abc def"]}), "frames.0: String should match"),
    ],
    ids=["cut off", "newer", "unknown name", "wrong type", "foreign", "frame line"],
)
def test_what_is_no_receipt_is_refused(
    written: tuple[Path, Receipt], damage: Callable[[str], str], message: str
) -> None:
    path, _ = written
    path.write_text(damage(path.read_text()))
    with pytest.raises(SourceError, match="damaged, or no receipt that this version") as caught:
        read_receipt(path)
    assert message in str(caught.value)


def test_receipts_from_before_there_were_shots_are_read(written: tuple[Path, Receipt]) -> None:
    path, receipt = written
    document = json.loads(path.read_text())
    del document["shots"], document["counts"]["untouched"]
    path.write_text(json.dumps(document))
    assert read_receipt(path) == receipt


def test_a_missing_receipt_and_a_missing_folder(written: tuple[Path, Receipt], tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no receipt that can be read at .*x\.mkv\.receipt\.json: No such file"):
        read_receipt(receipt_path(tmp_path / "x.mkv"))
    with pytest.raises(OutputError, match="is its folder still there"):
        write_receipt(tmp_path / "gone" / "x.receipt.json", written[1])


stamps = st.builds(
    Stamp,
    pts=st.integers(-(1 << 62), 1 << 62),
    duration=st.integers(0, 1 << 40),
    md5=st.just(MD5),
    defects=st.sets(st.sampled_from(Defect)).map(lambda found: tuple(defect for defect in Defect if defect in found)),
    passed=st.booleans(),
    untouched=st.booleans(),
)


@given(st.lists(stamps, max_size=5))
def test_frames_keep_all_that_is_known_of_them(frames: list[Stamp]) -> None:
    lines = frame_lines(frames, [MD5[::-1]] * len(frames))
    receipt = Receipt.model_construct(frames=lines)
    assert receipt.stamps() == frames
    assert receipt.output_frames() == (MD5[::-1],) * len(frames)


def test_counts_and_segments() -> None:
    frames = (
        Stamp(10, 1, MD5),
        Stamp(11, 1, MD5, (Defect.CONCEALED, Defect.RETIMED), lost=2),
        Stamp(12, 1, MD5, (Defect.RESCALED,), passed=True),
        Stamp(13, 1, MD5, untouched=True),
    )
    counts = Counts(restored=2, passed_through=1, untouched=1, concealed=1, retimed=1, rescaled=1, lost_packets=2)
    assert Counts.of(frames) == counts
    record = SegmentRecord(
        index=3, file="", bytes=7, sha256="ab", order=PacketOrder((0, 1, 2), ""), stamps=frames, seconds=0.5
    )
    assert SegmentUsed.of(record).start_pts == 10
    assert SegmentUsed.of(record).counts == counts
    assert SegmentUsed.of(record.model_copy(update={"stamps": ()})).start_pts is None


def test_the_schema_names_and_describes_every_field() -> None:
    schema = json.loads(json.dumps(receipt_schema()))
    assert schema["properties"]["schema"]["const"] == 1
    assert schema["additionalProperties"] is False
    assert "MD5 of the source's samples" in schema["properties"]["frames"]["description"].replace("\n", " ")


def test_times_are_utc_and_precision_is_checked(written: tuple[Path, Receipt]) -> None:
    path, receipt = written
    assert receipt.device.precision is Precision.FP32
    assert json.loads(path.read_text())["timings"]["started"].endswith("Z")
    assert receipt.timings.started < datetime.now(UTC)
