"""What other restorers' users had to report before it was mended, tried here once each."""

import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from pipelines.exit_codes import ExitCode
from pipelines.outputs import Item
from pipelines.restore import restore_files
from pipelines.signals import StopRequest
from streamrestore.devices import Precision
from streamrestore.encoder import FrameEncoder
from streamrestore.encoding import EncodingRequest
from streamrestore.errors import DecodeError, RestoreError, SinkError, SourceError
from streamrestore.frame import Chunk, Planes, Restored
from streamrestore.probing import probe
from streamrestore.receipt import read_receipt, receipt_path
from streamrestore.restorer import Restorer, RestorerSettings
from streamrestore.source import open_source
from tests.clips import Clip, make_clip
from tests.networks import OffsetRestorer, offset_restorer, tiny_model
from tests.pipelines.runs import Notes, options, read, restore, sound, times
from workers import RestorerPool, open_pool

LOSSY = options(encoding=EncodingRequest(preset="ultrafast"))


@pytest.fixture
def pool() -> Iterator[RestorerPool]:
    pool = open_pool(offset_restorer, workers=0)
    yield pool
    pool.close()


def test_a_failure_never_exits_0(tmp_path: Path) -> None:
    class Broken:
        def restore(self, chunk: Chunk) -> Restored:
            raise RestoreError("the device fell off the bus")

    notes = Notes()
    items = (Item(make_clip(tmp_path / "in.mp4"), tmp_path / "out.mp4"),)
    code = restore_files(items, LOSSY, partial(open_pool, Broken, workers=0), notes, StopRequest())
    assert code is ExitCode.FAILED
    assert "fell off the bus" in notes.failures[0]
    assert not (tmp_path / "out.mp4").exists()


def test_a_source_that_breaks_off_is_not_a_success_without_a_word(tmp_path: Path, pool: RestorerPool) -> None:
    source = make_clip(tmp_path / "in.mkv", Clip(pts=tuple(range(0, 90 * 1001, 1001)), gop=10))
    whole = len(times(source))
    source.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    notes = Notes()
    finished = restore(source, tmp_path / "out.mkv", pool, LOSSY, notes=notes)
    assert 0 < finished.progress.frames < whole
    assert read_receipt(receipt_path(tmp_path / "out.mkv")).warnings
    assert notes.notes
    with pytest.raises(DecodeError):
        restore(source, tmp_path / "strict.mkv", pool, replace(LOSSY, on_error="fail"))


def test_an_encoder_that_dies_ends_the_run(tmp_path: Path, pool: RestorerPool, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = FrameEncoder.encode, count()

    def dying(encoder: FrameEncoder, pts: int, planes: Planes) -> "list[av.Packet[av.VideoStream]]":
        if next(calls) == 40:
            raise av.error.ExternalError(542398533, "the encoder died")
        return real(encoder, pts, planes)

    monkeypatch.setattr(FrameEncoder, "encode", dying)
    # Far more frames than fit the window: a reader that waits for a place must wake up.
    source = make_clip(tmp_path / "in.mp4", Clip(pts=tuple(range(0, 400 * 1001, 1001))))
    with pytest.raises(SinkError, match="the encoder died"):
        restore(source, tmp_path / "out.mp4", pool, LOSSY)


@pytest.mark.parametrize("frames", [1, 2, 3, 5, 7, 13])
def test_any_number_of_frames_comes_out_whatever_the_batch(tmp_path: Path, frames: int) -> None:
    source = make_clip(tmp_path / "in.mp4", Clip(pts=tuple(range(0, frames * 1001, 1001))))
    build = partial(Restorer, [tiny_model()], RestorerSettings("cpu", Precision.FP32, stages=1, threads=1))
    network = open_pool(build, workers=0)
    restore(source, tmp_path / "out.mp4", network, LOSSY)
    network.close()
    assert times(tmp_path / "out.mp4") == times(source)
    assert len(times(source)) == frames


def test_a_silent_first_file_does_not_silence_the_next(tmp_path: Path) -> None:
    silent = make_clip(tmp_path / "silent.mp4")
    loud = make_clip(tmp_path / "loud.mp4", Clip(sound="aac"))
    items = (Item(silent, tmp_path / "a.mp4"), Item(loud, tmp_path / "b.mp4"))
    start = partial(open_pool, offset_restorer, workers=0)
    assert restore_files(items, LOSSY, start, Notes(), StopRequest()) is ExitCode.DONE
    assert sound(tmp_path / "b.mp4") == sound(loud) != []


def test_the_last_frames_at_23_976_are_kept(tmp_path: Path, pool: RestorerPool) -> None:
    # A rate rounded to 23.98 would be a frame behind after 200 s.
    source = make_clip(tmp_path / "in.mp4", Clip(size=(16, 16), pts=tuple(range(0, 4900 * 1001, 1001)), gop=100))
    with av.open(str(source)) as container:
        assert container.streams.video[0].frames == 4900
    finished = restore(source, tmp_path / "out.mp4", pool, LOSSY)
    assert finished.progress.frames == 4900
    assert times(tmp_path / "out.mp4")[-1] == times(source)[-1]


def test_a_part_shorter_than_a_frame_is_one_frame_or_is_refused(tmp_path: Path, pool: RestorerPool) -> None:
    source = make_clip(tmp_path / "in.mp4", Clip(sound="aac", pts=tuple(range(0, 30 * 1000, 1000))))
    one = replace(LOSSY, start_seconds=0.5, stop_seconds=0.51)
    assert restore(source, tmp_path / "one.mp4", pool, one).progress.frames == 1
    none = replace(LOSSY, start_seconds=0.501, stop_seconds=0.51)
    with pytest.raises(SourceError, match=r"no frame of .* is shown from 0.501 s to 0.51 s"):
        restore(source, tmp_path / "none.mp4", pool, none)
    assert not list(tmp_path.glob("none.mp4*"))


def test_a_part_has_the_sound_of_that_part(tmp_path: Path, pool: RestorerPool) -> None:
    source = make_clip(tmp_path / "in.mp4", Clip(sound="aac", pts=tuple(range(0, 150 * 1000, 1000))))
    restore(source, tmp_path / "out.mp4", pool, replace(LOSSY, start_seconds=1.0, stop_seconds=2.0))
    with av.open(str(tmp_path / "out.mp4")) as container:
        stream = container.streams.audio[0]
        assert stream.duration is not None
        assert stream.time_base is not None
        assert float(stream.duration * stream.time_base) == pytest.approx(1.0, abs=0.05)


def test_semiplanar_video_keeps_its_depth_and_its_samples(tmp_path: Path, pool: RestorerPool) -> None:
    source = make_clip(tmp_path / "in.nut", Clip(codec="rawvideo", options={}, pix_fmt="nv12"), container="nut")
    restore(source, tmp_path / "out.mkv", pool)
    assert probe(tmp_path / "out.mkv").video.pixels.depth == probe(source).video.pixels.depth == 8
    for (_, before), (_, after) in zip(read(source), read(tmp_path / "out.mkv"), strict=True):
        assert all(np.array_equal(one, other) for one, other in zip(before, after, strict=True))


def test_hdr_in_bt_2020_is_restored_under_its_own_tags(tmp_path: Path, pool: RestorerPool) -> None:
    hdr = Clip(size=(96, 128), codec="ffv1", options={}, pix_fmt="yuv420p10le", colour=(1, 9, 9, 16))
    source = make_clip(tmp_path / "in.mkv", hdr)
    restore(source, tmp_path / "out.mp4", pool, LOSSY)
    found = probe(tmp_path / "out.mp4")
    assert (found.codec, found.pixel_format_name) == ("hevc", "yuv420p10le")
    assert found.tags == probe(source).tags


def test_upper_case_suffixes_are_video_too(tmp_path: Path, pool: RestorerPool) -> None:
    source = make_clip(tmp_path / "in.mp4", Clip(sound="aac")).rename(tmp_path / "IN.MP4")
    restore(source, tmp_path / "OUT.MP4", pool, LOSSY)
    assert times(tmp_path / "OUT.MP4") == times(source)
    assert sound(tmp_path / "OUT.MP4") == sound(source)


def test_a_frame_that_was_given_is_not_overwritten_by_the_next(tmp_path: Path) -> None:
    source = open_source(make_clip(tmp_path / "in.mp4"))
    kept = list(source.frames())
    copies = [[plane.copy() for plane in frame.planes] for frame in source.frames()]
    for frame, copy in zip(kept, copies, strict=True):
        assert all(np.array_equal(one, other) for one, other in zip(frame.planes, copy, strict=True))


def test_one_video_changes_nothing_for_the_next(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mp4", Clip(codec="ffv1", options={}), container="matroska")
    before = (torch.get_default_dtype(), torch.is_grad_enabled())
    written = []
    for name, precision in (("a", Precision.FP32), ("half", Precision.BF16), ("b", Precision.FP32)):
        restorer = partial(Restorer, [tiny_model()], RestorerSettings("cpu", precision, threads=1))
        network = open_pool(restorer, workers=0)
        restore(source, tmp_path / f"{name}.mkv", network)
        network.close()
        written.append((tmp_path / f"{name}.mkv").read_bytes())
    assert written[0] == written[2] != written[1]
    assert (torch.get_default_dtype(), torch.is_grad_enabled()) == before


def test_while_a_worker_computes_nothing_else_spins(tmp_path: Path) -> None:
    class Slow:
        def restore(self, chunk: Chunk) -> Restored:
            time.sleep(2)
            return OffsetRestorer().restore(chunk)

    source = make_clip(tmp_path / "in.mp4")
    slow = open_pool(Slow, workers=0)
    began = time.process_time()
    restore(source, tmp_path / "out.mkv", slow)
    assert time.process_time() - began < 1.5
    slow.close()
