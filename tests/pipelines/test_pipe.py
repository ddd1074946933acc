"""Pipes, whole runs: bit for bit through other programs, nothing else on standard output, no trace left behind."""

import io
import os
import subprocess
import sys
import threading
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import imageio_ffmpeg
import pytest

from pipelines.outputs import Item
from pipelines.pipe import PipeJob, plan_pipes, prepare_pipe, restore_pipe
from pipelines.planning import FileOptions, PipeOutput
from streamrestore.encoding import EncodingRequest
from streamrestore.errors import ConfigError, OutputError, SourceError, StoppedError, VerificationError
from streamrestore.frame import planes_md5
from streamrestore.opening import PIPE, UNSAID, InputRequest
from streamrestore.source import open_source
from streamrestore.weights import write_weights
from tests.clips import VARIABLE, Clip, make_clip
from tests.networks import offset_restorer, tiny_model
from tests.pipelines.runs import LOSSLESS, Notes, options, sound, times
from workers.inline import InlinePool

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
PLAIN = EncodingRequest()
LOSSLESS_CLIP = Clip(codec="ffv1", options={})


@pytest.fixture(scope="module")
def pool() -> InlinePool:
    return InlinePool(partial(offset_restorer, 0))


@dataclass
class Shell:
    """Standard input and output, as a shell would connect them."""

    pool: InlinePool
    monkeypatch: pytest.MonkeyPatch

    def run(self, item: Item, wanted: FileOptions, fed: bytes = b"", notes: Notes | None = None) -> bytes:
        """What comes out of standard output."""
        received = io.BytesIO()
        reading, writing = os.pipe()
        drain = threading.Thread(target=lambda: received.write(_drained(reading)))
        drain.start()
        try:
            if item.output == PIPE:
                assert wanted.pipe is not None
                wanted = replace(wanted, pipe=replace(wanted.pipe, descriptor=writing))
            with self.feeding(fed):
                job = prepare_pipe(item, wanted, threading.Event())
                restore_pipe(job, self.pool, notes or Notes(), threading.Event())
        finally:
            os.close(writing)
            drain.join()
            os.close(reading)
        return received.getvalue()

    def prepare(self, fed: bytes, output: Path, wanted: FileOptions) -> PipeJob:
        with self.feeding(fed):
            return prepare_pipe(Item(PIPE, output), wanted, threading.Event())

    def feeding(self, data: bytes) -> "_Feeder":
        return _Feeder(data, self.monkeypatch)


class _Feeder:
    def __init__(self, data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
        self._reading, self._writing = os.pipe()
        self._thread = threading.Thread(target=self._feed, args=(data,))
        monkeypatch.setattr("pipelines.pipe._STDIN", self._reading)

    def _feed(self, data: bytes) -> None:
        try:
            for start in range(0, len(data), 1 << 14):
                os.write(self._writing, data[start : start + (1 << 14)])
        except BrokenPipeError:
            pass
        finally:
            os.close(self._writing)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        os.close(self._reading)
        self._thread.join()


def _drained(descriptor: int) -> bytes:
    return b"".join(iter(lambda: os.read(descriptor, 1 << 16), b""))


@pytest.fixture
def shell(pool: InlinePool, monkeypatch: pytest.MonkeyPatch) -> Shell:
    return Shell(pool, monkeypatch)


def wanted(pipe: str | None = None, encoding: EncodingRequest = PLAIN, request: InputRequest = UNSAID) -> FileOptions:
    output = None if pipe is None else PipeOutput(pipe, -1)
    return replace(options(encoding=encoding), input=request, pipe=output)


def ffmpeg(*arguments: str | Path, fed: bytes | None = None) -> bytes:
    command = [FFMPEG, "-nostdin" if fed is None else "-y", "-v", "error", *map(str, arguments)]
    return subprocess.run(command, input=fed, stdout=subprocess.PIPE, timeout=120, check=True).stdout


def md5s(path: Path) -> list[str]:
    return [planes_md5(frame.planes) for frame in open_source(path).frames()]


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p10le", "gray", "yuv411p", "yuv444p12le"])
def test_yuv4mpeg_goes_through_bit_for_bit(tmp_path: Path, shell: Shell, pix_fmt: str) -> None:
    clip = make_clip(tmp_path / "a.mkv", replace(LOSSLESS_CLIP, pix_fmt=pix_fmt, pts=range(0, 12 * 1200, 1200)))
    fed = ffmpeg("-i", clip, "-strict", "-1", "-f", "yuv4mpegpipe", "-")
    out = shell.run(Item(PIPE, PIPE), wanted("yuv4mpegpipe", request=InputRequest(format="yuv4mpegpipe")), fed)
    assert ffmpeg("-f", "yuv4mpegpipe", "-i", "-", "-f", "framemd5", "-", fed=out) == ffmpeg(
        "-f", "yuv4mpegpipe", "-i", "-", "-f", "framemd5", "-", fed=fed
    )
    assert out[out.index(b"\n") :] == fed[fed.index(b"\n") :]


@pytest.mark.parametrize("header", ["It A16:11 C420paldv", "Ib A1:1 C420mpeg2", "Ip A59:54 C420jpeg"])
def test_yuv4mpegs_header_is_kept(shell: Shell, header: str) -> None:
    fed = f"YUV4MPEG2 W32 H32 F30000:1001 {header}\n".encode() + (b"FRAME\n" + os.urandom(1536)) * 16
    out = shell.run(Item(PIPE, PIPE), wanted("yuv4mpegpipe"), fed)
    kept = [word for word in header.split() if word != "A1:1"]  # FFmpeg reads that as unsaid
    assert out.startswith(b"YUV4MPEG2 W32 H32 F30000:1001 ")
    assert [word for word in kept if f" {word} ".encode() in out[:100]] == kept
    assert out[out.index(b"\n") :] == fed[fed.index(b"\n") :]


def test_raw_video_goes_through_bit_for_bit(shell: Shell) -> None:
    fed = os.urandom(64 * 48 * 2 * 3 * 5)
    said = InputRequest(Fraction(25), "rawvideo", (48, 64), "gbrp16le")
    assert shell.run(Item(PIPE, PIPE), wanted("rawvideo", request=said), fed) == fed


def test_a_file_goes_out_with_all_it_has(tmp_path: Path, shell: Shell) -> None:
    clip = Clip(codec="ffv1", options={}, pts=VARIABLE, sound="aac", tags={"title": "Rain"}, subtitles=[(0, 90, "x")])
    source = make_clip(tmp_path / "a.mkv", clip)
    (tmp_path / "out.mkv").write_bytes(shell.run(Item(source, PIPE), wanted("matroska", LOSSLESS)))
    assert (md5s(tmp_path / "out.mkv"), times(tmp_path / "out.mkv")) == (md5s(source), times(source))
    assert sound(tmp_path / "out.mkv") == sound(source)
    with av.open(str(tmp_path / "out.mkv")) as container:
        assert [stream.type for stream in container.streams] == ["video", "audio", "subtitle"]
        assert container.metadata["title"] == "Rain"
        assert container.metadata["RESTORATION"].startswith("streamrestore ")


def test_nut_keeps_times_that_vary(tmp_path: Path, shell: Shell) -> None:
    source = make_clip(tmp_path / "a.mkv", replace(LOSSLESS_CLIP, pts=VARIABLE, pix_fmt="gbrp10le"))
    (tmp_path / "out.nut").write_bytes(shell.run(Item(source, PIPE), wanted("nut")))
    assert (md5s(tmp_path / "out.nut"), times(tmp_path / "out.nut")) == (md5s(source), times(source))


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".mov", ".ts"])
def test_a_pipe_becomes_a_file(tmp_path: Path, shell: Shell, suffix: str) -> None:
    clip = Clip(b_frames=2, sound="aac", tags={"title": "Rain"}, aspect=Fraction(16, 15), pts=range(0, 30000, 1000))
    source = make_clip(tmp_path / "a.mkv", clip)
    notes = Notes()
    output = tmp_path / f"out{suffix}"
    shell.run(Item(PIPE, output), wanted(encoding=EncodingRequest(codec="h264", crf=0)), source.read_bytes(), notes)
    assert md5s(output) == md5s(source)
    assert times(output) == times(source)
    assert "-: audio stream #1 (aac, deu) is not taken from a pipe and will be lost" in notes.notes
    info = open_source(output).info
    assert info.sample_aspect_ratio == Fraction(16, 15)
    assert info.duration_seconds == pytest.approx(1.0, abs=0.04)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mkv", output.name]


def test_a_master_for_an_archive_can_be_piped(tmp_path: Path, shell: Shell) -> None:
    fed = b"YUV4MPEG2 W32 H32 F25:1 Ip A16:11 C420jpeg\n" + (b"FRAME\n" + os.urandom(1536)) * 3
    shell.run(Item(PIPE, tmp_path / "a.mkv"), wanted(encoding=EncodingRequest(preservation=True)), fed)
    info = open_source(tmp_path / "a.mkv").info
    assert (info.codec, info.sample_aspect_ratio, info.chroma_location) == ("ffv1", Fraction(16, 11), "center")


def test_a_part_of_a_pipe(tmp_path: Path, shell: Shell) -> None:
    source = make_clip(tmp_path / "a.mkv", replace(LOSSLESS_CLIP, pts=range(0, 30000, 1000)))
    part = replace(wanted(encoding=LOSSLESS), start_seconds=0.5, stop_seconds=0.8)
    shell.run(Item(PIPE, tmp_path / "out.mkv"), part, source.read_bytes())
    assert md5s(tmp_path / "out.mkv") == md5s(source)[15:24]


def test_a_file_that_came_out_wrong_does_not_appear(
    tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.pipe._restore", _losing_one())
    with pytest.raises(VerificationError, match=r"frames: expected 13, found 12"):
        shell.run(
            Item(PIPE, tmp_path / "out.mkv"), wanted(encoding=LOSSLESS), make_clip(tmp_path / "a.mkv").read_bytes()
        )
    assert not (tmp_path / "out.mkv").exists()


def _losing_one() -> object:
    from pipelines import pipe

    restore = pipe._restore

    def losing(*arguments: object) -> object:
        progress, stamps = restore(*arguments)  # type: ignore[arg-type] # passed on as they are
        return progress, [*stamps, replace(stamps[-1], pts=stamps[-1].pts + 1001)]

    return losing


def test_a_reader_that_leaves_is_an_error_of_the_output(shell: Shell) -> None:
    fed = b"YUV4MPEG2 W64 H64 F25:1\n" + (b"FRAME\n" + bytes(6144)) * 60
    reading, writing = os.pipe()
    os.close(reading)
    want = replace(wanted("yuv4mpegpipe"), pipe=PipeOutput("yuv4mpegpipe", writing))
    with shell.feeding(fed):
        job = prepare_pipe(Item(PIPE, PIPE), want, threading.Event())
        with pytest.raises(OutputError, match="closed it before the end"):
            restore_pipe(job, shell.pool, Notes(), threading.Event())
    os.close(writing)


def test_stopping_does_not_wait_for_a_silent_writer(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    monkeypatch.setattr("pipelines.pipe._STDIN", reading)
    stop = threading.Event()
    stop.set()
    with pytest.raises(StoppedError, match="waiting for standard input"):
        prepare_pipe(Item(PIPE, PIPE), wanted("yuv4mpegpipe"), stop)
    os.close(reading)
    os.close(writing)


def test_what_is_no_video_is_said(tmp_path: Path, shell: Shell) -> None:
    for fed in (b"", b"hello"):
        with pytest.raises(SourceError, match="- is no video or picture that can be read"):
            shell.prepare(fed, tmp_path / "out.mkv", wanted())
    with pytest.raises(ConfigError, match="raw video says nothing of itself"):
        shell.prepare(b"", tmp_path / "out.mkv", wanted(request=InputRequest(format="rawvideo")))
    with pytest.raises(ConfigError, match="other pipes say it themselves"):
        shell.prepare(b"", tmp_path / "out.mkv", wanted(request=InputRequest(Fraction(25))))
    with pytest.raises(ConfigError, match="images cannot be made of a pipe"):
        shell.prepare(b"YUV4MPEG2 W32 H32 F25:1\nFRAME\n" + bytes(1536), tmp_path / "f_%d.png", wanted())


def test_one_format_is_for_both_pipes_unless_it_is_said() -> None:
    through, coming, going = Item(PIPE, PIPE), Item(PIPE, Path("a.mkv")), Item(Path("a.mkv"), PIPE)
    assert plan_pipes([through], "y4m", None) == ("yuv4mpegpipe", "yuv4mpegpipe")
    assert plan_pipes([through], "nut", "y4m") == ("yuv4mpegpipe", "nut")
    assert plan_pipes([coming], None, None) == (None, None)
    assert plan_pipes([going], "nut", None) == (None, "nut")
    for items, formats, message in [
        ([going], (None, None), "does not say what to write"),
        ([Item(Path("a"), None)], ("nut", None), "-f is for pipes"),
        ([going], ("nut", "y4m"), "--input-format is for standard input"),
    ]:
        with pytest.raises(ConfigError, match=message):
            plan_pipes(items, *formats)


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a network that changes nothing."""
    return write_weights(tiny_model(scale=0.0), tmp_path_factory.mktemp("weights"))


@pytest.fixture
def command(identity: Path) -> list[str]:
    python = "from pipelines.cli import main; main()"
    tail = ["-t", "derain", "--weights", str(identity), "--workers", "0", "--devices", "cpu"]
    return [sys.executable, "-c", python, "restore", *tail]


def test_between_two_programs_only_video_is_on_standard_output(tmp_path: Path, command: list[str]) -> None:
    source = make_clip(tmp_path / "a.mkv", replace(LOSSLESS_CLIP, pts=range(0, 12 * 1200, 1200)))
    y4m = ["-f", "yuv4mpegpipe"]
    through = [*command, "-", *y4m, "-o", "-", "--progress", "json", "-v"]
    with (
        subprocess.Popen([FFMPEG, "-v", "error", "-i", source, *y4m, "-"], stdout=subprocess.PIPE) as before,
        subprocess.Popen(through, stdin=before.stdout, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as ours,
        subprocess.Popen(
            [FFMPEG, "-v", "error", *y4m, "-i", "-", "-f", "md5", "-"], stdin=ours.stdout, stdout=subprocess.PIPE
        ) as after,
    ):
        found, _ = after.communicate(timeout=120)
        assert ours.stderr is not None
        said = ours.stderr.read().decode()
    fed = ffmpeg("-i", source, *y4m, "-")
    assert found == ffmpeg(*y4m, "-i", "-", "-f", "md5", "-", fed=fed)
    assert '"event": "done"' in said
    assert (before.returncode, ours.returncode, after.returncode) == (0, 0, 0)


def test_a_reader_that_wants_little_gets_it_and_no_traceback(tmp_path: Path, command: list[str]) -> None:
    source = make_clip(tmp_path / "a.mkv", replace(LOSSLESS_CLIP, size=(96, 128), pts=range(0, 60 * 1200, 1200)))
    with subprocess.Popen(
        [*command, str(source), "-f", "rawvideo", "-o", "-"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as ours:
        assert ours.stdout is not None
        assert len(ours.stdout.read(100)) == 100
        ours.stdout.close()
        ours.stdout = None
        _, said = ours.communicate(timeout=120)
    assert ours.returncode == 4
    assert b"Traceback" not in said
    assert b"whoever reads standard output closed it before the end" in said
