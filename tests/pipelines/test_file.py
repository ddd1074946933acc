"""One file to one file, on real clips, real pools and real kills."""

import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from streamrestore.devices import Precision
from streamrestore.encoding import EncodingRequest
from streamrestore.errors import ConfigError, DeviceMemoryError, OutputError, RestoreError, StoppedError
from streamrestore.frame import Chunk, ChunkRestorer, Restored
from streamrestore.restorer import Restorer, RestorerSettings
from streamrestore.source import open_source
from tests.clips import VARIABLE, Clip, make_clip
from tests.networks import OffsetRestorer, offset_restorer, tiny_model
from tests.pipelines.runs import Notes, options, read, restore, sound, times
from workers import RestorerPool, open_pool

TINY = partial(Restorer, [tiny_model()], RestorerSettings("cpu", Precision.FP32, threads=2))


@pytest.fixture
def identity() -> Iterator[RestorerPool]:
    pool = open_pool(offset_restorer, workers=0)
    yield pool
    pool.close()


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p10le", "yuv444p12le", "gray", "gbrp10le"])
def test_an_identity_restorer_changes_no_sample_and_no_time(
    tmp_path: Path, identity: RestorerPool, pix_fmt: str
) -> None:
    source = make_clip(tmp_path / "in.mkv", Clip(codec="ffv1", options={}, pix_fmt=pix_fmt, pts=VARIABLE))
    output = tmp_path / "out.mkv"
    finished = restore(source, output, identity)
    before, after = read(source), read(output)
    assert finished.progress.frames == len(before) == len(after) == len(VARIABLE)
    for (time_in, planes_in), (time_out, planes_out) in zip(before, after, strict=True):
        assert time_in == time_out
        assert all(np.array_equal(a, b) for a, b in zip(planes_in, planes_out, strict=True))
    assert list(tmp_path.glob("*.partial")) == []


def test_a_known_change_arrives_in_every_frame(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mkv", Clip(codec="ffv1", options={}))
    pool = open_pool(partial(offset_restorer, 3), workers=0)
    restore(source, tmp_path / "out.mkv", pool)
    pool.close()
    for (_, before), (_, after) in zip(read(source), read(tmp_path / "out.mkv"), strict=True):
        assert all(np.array_equal(a + 3, b) for a, b in zip(before, after, strict=True))


def test_b_frames_sound_and_the_last_frames_are_kept(tmp_path: Path, identity: RestorerPool) -> None:
    clip = Clip(b_frames=3, sound="aac", pts=tuple(range(3000, 3000 + 37 * 1001, 1001)))
    source = make_clip(tmp_path / "in.mp4", clip)
    restore(source, tmp_path / "out.mp4", identity, options(encoding=EncodingRequest()))
    assert times(tmp_path / "out.mp4") == times(source)
    assert len(times(source)) == 37
    assert sound(tmp_path / "out.mp4") == sound(source)


def test_a_part_is_cut_to_the_frame(tmp_path: Path, identity: RestorerPool) -> None:
    source = make_clip(tmp_path / "in.mp4", Clip(b_frames=2, sound="aac", pts=tuple(range(0, 60 * 1000, 1000))))
    restore(
        source, tmp_path / "out.mp4", identity, options(encoding=EncodingRequest(), start_seconds=0.5, stop_seconds=1.2)
    )
    wanted = [time for time in times(source) if 0.5 <= time < 1.2]
    assert times(tmp_path / "out.mp4") == [time - wanted[0] for time in wanted]
    assert 0 < len(sound(tmp_path / "out.mp4")) < len(sound(source))


def test_a_part_after_the_end_is_said(tmp_path: Path, identity: RestorerPool) -> None:
    source = make_clip(tmp_path / "in.mp4")
    with pytest.raises(ConfigError, match="at or after the end"):
        restore(source, tmp_path / "out.mp4", identity, options(start_seconds=100.0))


@pytest.mark.ray
@pytest.mark.parametrize("precision", [Precision.FP32, Precision.BF16])
def test_any_number_of_workers_gives_the_same_bytes(tmp_path: Path, ray_cluster: None, precision: Precision) -> None:
    source = make_clip(tmp_path / "in.mp4", Clip(b_frames=2, sound="aac", pts=tuple(range(0, 30 * 1001, 1001))))
    build = partial(Restorer, [tiny_model()], RestorerSettings("cpu", precision, threads=2))
    written = []
    for workers in (0, 1, 2):
        pool = open_pool(build, workers=workers)
        pool.ready(120)
        restore(source, tmp_path / f"{workers}.mp4", pool, options(encoding=EncodingRequest(), patch=40))
        pool.close()
        written.append((tmp_path / f"{workers}.mp4").read_bytes())
    assert written[0] == written[1] == written[2]


@dataclass(frozen=True)
class _KilledOnce:
    """Builds a restorer that kills its process at its second chunk, the first time."""

    marker: Path

    def __call__(self) -> ChunkRestorer:
        return _Killed(self.marker, TINY())


@dataclass
class _Killed:
    marker: Path
    restorer: ChunkRestorer
    chunks: int = 0

    def restore(self, chunk: Chunk) -> Restored:
        self.chunks += 1
        if self.chunks == 2 and not self.marker.exists():
            self.marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return self.restorer.restore(chunk)


@pytest.mark.ray
def test_a_worker_killed_in_mid_stream_changes_nothing(tmp_path: Path, ray_cluster: None) -> None:
    source = make_clip(tmp_path / "in.mkv", Clip(codec="ffv1", options={}, pts=tuple(range(0, 40 * 1001, 1001))))
    undisturbed = open_pool(TINY, workers=0)
    restore(source, tmp_path / "undisturbed.mkv", undisturbed)
    undisturbed.close()
    pool = open_pool(_KilledOnce(tmp_path / "killed"), workers=2)
    pool.ready(120)
    restore(source, tmp_path / "killed.mkv", pool)
    assert (tmp_path / "killed").exists()
    assert pool.state().deaths == 1
    pool.close()
    assert (tmp_path / "killed.mkv").read_bytes() == (tmp_path / "undisturbed.mkv").read_bytes()


@dataclass(frozen=True)
class _SmallMemory:
    """Has room for patches up to a size."""

    largest: int

    def __call__(self) -> "_SmallMemory":
        return self

    def restore(self, chunk: Chunk) -> Restored:
        if max(chunk.plan.patch) > self.largest:
            raise DeviceMemoryError(f"one patch of {chunk.plan.patch} does not fit")
        return OffsetRestorer(1).restore(chunk)


def test_a_patch_too_large_begins_the_file_again_with_smaller_ones(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mkv", Clip(size=(96, 200), codec="ffv1", options={}))
    pool = open_pool(_SmallMemory(80), workers=0)
    notes = Notes()
    restore(source, tmp_path / "out.mkv", pool, options(crop=128), notes=notes)
    assert any("beginning again with patches of" in note for note in notes.notes)
    for (_, before), (_, after) in zip(read(source), read(tmp_path / "out.mkv"), strict=True):
        assert all(np.array_equal(a + 1, b) for a, b in zip(before, after, strict=True))
    with pytest.raises(DeviceMemoryError):
        restore(source, tmp_path / "fixed.mkv", pool, options(crop=128, patch=160))
    pool.close()
    hopeless = open_pool(_SmallMemory(0), workers=0)
    with pytest.raises(DeviceMemoryError):
        restore(source, tmp_path / "hopeless.mkv", hopeless, options(crop=128))
    hopeless.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mkv", "out.mkv", "out.mkv.receipt.json"]


@dataclass(frozen=True)
class _Broken:
    def __call__(self) -> "_Broken":
        return self

    def restore(self, chunk: Chunk) -> Restored:
        raise RestoreError("this restorer is broken")


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mp4")
    pool = open_pool(_Broken(), workers=0)
    with pytest.raises(RestoreError, match="broken"):
        restore(source, tmp_path / "out.mp4", pool, options(encoding=EncodingRequest()))
    pool.close()
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


@dataclass(frozen=True)
class _Slow:
    def __call__(self) -> "_Slow":
        return self

    def restore(self, chunk: Chunk) -> Restored:
        time.sleep(0.05)
        return OffsetRestorer().restore(chunk)


def test_a_stop_leaves_nothing_behind_and_the_pool_warm(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mp4", Clip(pts=tuple(range(0, 400 * 1001, 1001))))
    pool = open_pool(_Slow(), workers=0)
    stop = threading.Event()
    threading.Timer(0.5, stop.set).start()
    with pytest.raises(StoppedError):
        restore(source, tmp_path / "out.mp4", pool, options(encoding=EncodingRequest()), stop=stop)
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]
    restore(source, tmp_path / "again.mp4", pool, options(encoding=EncodingRequest(), stop_seconds=0.1))
    pool.close()
    assert len(times(tmp_path / "again.mp4")) == 3


def test_an_existing_output_survives_a_failed_overwrite(tmp_path: Path, identity: RestorerPool) -> None:
    source = make_clip(tmp_path / "in.mp4")
    output = tmp_path / "out.mp4"
    output.write_bytes(b"precious")
    with pytest.raises(OutputError, match="exists"):
        restore(source, output, identity, options(encoding=EncodingRequest()))
    assert output.read_bytes() == b"precious"


@dataclass(frozen=True)
class _FolderRemover:
    """Takes the output's folder away while the video is restored."""

    folder: Path

    def __call__(self) -> "_FolderRemover":
        return self

    def restore(self, chunk: Chunk) -> Restored:
        if self.folder.exists():
            shutil.rmtree(self.folder)
        return OffsetRestorer().restore(chunk)


def test_an_output_folder_that_goes_away_is_said(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mp4")
    pool = open_pool(_FolderRemover(tmp_path / "out"), workers=0)
    with pytest.raises(OutputError, match="is its folder still there"):
        restore(source, tmp_path / "out" / "x.mp4", pool, options(encoding=EncodingRequest()))
    pool.close()


PLAIN_CLIPS = {
    "imageio_realshort.mp4": ".mp4",
    "sample_with_srt.mkv": ".mkv",
    "sample.avi": ".mkv",
    "sample_h264.ts": ".ts",
    "bt601.mov": ".mov",
}


@pytest.mark.parametrize("name", PLAIN_CLIPS)
def test_plain_real_clips_keep_every_time_and_every_audio_packet(
    tmp_path: Path, identity: RestorerPool, data_dir: Path, name: str
) -> None:
    source = data_dir / "video" / name
    output = tmp_path / f"out{PLAIN_CLIPS[name]}"
    restore(source, output, identity, options(encoding=EncodingRequest(preset="ultrafast")))
    before, after = times(source), times(output)
    assert len(before) == len(after) > 0
    # Matroska counts milliseconds; the other containers hold these times exactly.
    tolerance = 0.0005 if output.suffix == ".mkv" else 0
    assert max(abs(a - b) for a, b in zip(before, after, strict=True)) <= tolerance
    assert sound(output) == sound(source)


ONE = 1 << 16
TURNS = [(ONE, 0, 0, ONE), (0, ONE, -ONE, 0), (-ONE, 0, 0, -ONE), (0, -ONE, ONE, 0)]
TURNS += [(-a, b, -c, d) for a, b, c, d in TURNS]  # mirrored


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
@pytest.mark.parametrize("turn", TURNS)
def test_turned_and_mirrored_pictures_stay_so(
    tmp_path: Path, identity: RestorerPool, turn: tuple[int, int, int, int], suffix: str
) -> None:
    a, b, c, d = turn
    # As phones write it: the picture is moved back to where it was after it is turned.
    matrix = (a, b, 0, c, d, 0, 96 * ONE, 64 * ONE, 1 << 30)
    source = make_clip(tmp_path / "in.mp4", Clip(display_matrix=matrix))
    restore(source, tmp_path / f"out{suffix}", identity, options(encoding=EncodingRequest()))
    found = open_source(tmp_path / f"out{suffix}").info.display_matrix or (ONE, 0, 0, 0, ONE, 0, 0, 0, 1 << 30)
    assert (found[0], found[1], found[3], found[4]) == turn
