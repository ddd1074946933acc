"""A property that is broken is found, and no other is blamed for it."""

import subprocess
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import imageio_ffmpeg
import pytest

from streamrestore.checks import Verdict
from streamrestore.encoding import EncodingRequest
from streamrestore.errors import VerificationError
from streamrestore.frame import planes_md5
from streamrestore.source import open_source
from streamrestore.verification import Verification, verify
from tests.clips import STEADY, VARIABLE, Clip, make_clip
from tests.outputs import FFV1, make

FULL = Clip(
    pts=VARIABLE,
    sound="aac",
    subtitles=[(0, 100, "hello"), (250, 100, "world")],
    attachment=bytes(range(256)) * 9,
    chapters=[(0, 200, "one"), (200, 400, "two")],
    tags={"title": "A film", "comment": "of nothing"},
    stream_tags={"title": "Main", "language": "eng"},
    colour=(1, 9, 9, 18),
    aspect=Fraction(4, 3),
    display_matrix=(0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30),
)


def mismatches(verification: Verification) -> set[str]:
    return {check.name for check in verification.mismatches}


def announced(verification: Verification) -> set[str]:
    return {check.name for check in verification.checks if check.verdict is Verdict.ANNOUNCED}


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".mov", ".ts"])
@pytest.mark.parametrize("pts", [STEADY, VARIABLE], ids=["steady", "vfr"])
def test_a_faithful_output_passes(tmp_path: Path, suffix: str, pts: tuple[int, ...]) -> None:
    clip = Clip(pts=pts, b_frames=2, sound="aac", colour=(1, 1, 1, 1))
    made = make(make_clip(tmp_path / "clip.mp4", clip), EncodingRequest(codec="h264", preset="veryfast"), suffix)
    verification = verify(made.path, made.info, made.encoding, made.plan, made.stamps)
    assert announced(verification) == set()
    assert len(verification.frames) == len(pts)


def test_everything_that_matroska_holds_is_checked(tmp_path: Path) -> None:
    made = make(make_clip(tmp_path / "clip.mkv", FULL))
    verification = made.compare()
    assert mismatches(verification) == announced(verification) == set()
    assert {check.name for check in verification.checks} >= {
        *("plays", "frames", "frame times", "end of the video", "frames marked as interlaced"),
        *("video codec", "size", "pixel format", "colour range", "colour matrix", "colour primaries"),
        *("colour transfer", "chroma location", "pixel aspect ratio", "display matrix", "tags", "chapters"),
        *("video stream: language", "video stream: tags", "video stream: dispositions"),
        *("audio stream #1: codec", "audio stream #1: packets", "audio stream #1: SHA-256 of its content"),
        *("audio stream #1: times against the video's", "audio stream #1: dispositions"),
        *("subtitle stream #2: packets", "attachment stream #3: SHA-256 of its content"),
    }


@pytest.mark.parametrize(
    ("other", "names"),
    [
        (replace(FULL, pts=(*VARIABLE[:4], *VARIABLE[5:])), {"frames", "frame times"}),
        (replace(FULL, pts=(*VARIABLE[:4], VARIABLE[4] + 30, *VARIABLE[5:])), {"frame times"}),
        (replace(FULL, pix_fmt="yuv422p"), {"pixel format"}),
        (replace(FULL, size=(48, 48)), {"size"}),
        (replace(FULL, colour=(2, 9, 9, 18)), {"colour range"}),
        (replace(FULL, colour=(1, 1, 9, 18)), {"colour matrix"}),
        (replace(FULL, colour=(1, 9, 1, 18)), {"colour primaries"}),
        (replace(FULL, colour=(1, 9, 9, 16)), {"colour transfer"}),
        (replace(FULL, aspect=Fraction(16, 15)), {"pixel aspect ratio"}),
        (replace(FULL, display_matrix=None), {"display matrix"}),
        (replace(FULL, tags={"title": "A film"}), {"tags"}),
        (replace(FULL, tags={"title": "Another", "comment": "of nothing"}), {"tags"}),
        (replace(FULL, stream_tags={"language": "eng"}), {"video stream: tags"}),
        (replace(FULL, stream_tags={"title": "Main", "language": "fra"}), {"video stream: language"}),
        (replace(FULL, chapters=[(0, 200, "one")]), {"chapters"}),
        (replace(FULL, chapters=[(0, 200, "one"), (210, 400, "two")]), {"chapters"}),
        (replace(FULL, attachment=bytes(2304)), {"attachment stream #3: SHA-256 of its content"}),
        (
            replace(FULL, subtitles=[(0, 100, "hello"), (250, 100, "moon")]),
            {"subtitle stream #2: SHA-256 of its content"},
        ),
        (
            replace(FULL, subtitles=[(0, 100, "hello"), (251, 100, "world")]),
            {"subtitle stream #2: times against the video's"},
        ),
        (replace(FULL, sound_start=48 * 3), {"audio stream #1: times against the video's"}),
        (
            replace(FULL, sound="flac"),
            {f"audio stream #1: {what}" for what in ("codec", "packets", "SHA-256 of its content")}
            | {"audio stream #1: times against the video's"},
        ),
        (replace(FULL, sound=None), {"audio stream #1"}),
    ],
    ids=lambda value: ", ".join(sorted(value)) if isinstance(value, set) else "",
)
def test_what_differs_is_named_and_nothing_else(tmp_path: Path, other: Clip, names: set[str]) -> None:
    made = make(make_clip(tmp_path / "clip.mkv", FULL))
    wrong = make(make_clip(tmp_path / "other.mkv", other))
    assert mismatches(made.compare(wrong.path)) == names
    with pytest.raises(VerificationError, match=next(iter(names))):
        verify(wrong.path, made.info, made.encoding, made.plan, made.stamps)


def test_a_shift_by_one_tick_is_found_where_times_are_exact(tmp_path: Path) -> None:
    made = make(make_clip(tmp_path / "clip.mp4"))
    moved = tuple(replace(stamp, pts=stamp.pts + (number == 5)) for number, stamp in enumerate(made.stamps))
    verification = replace(made, stamps=moved).compare()
    assert mismatches(verification) == {"frame times"}
    (late,) = verification.mismatches
    assert late.found == "1 others: frame 5 has pts 5005, not 5006"


def test_matroska_rounds_and_says_so(tmp_path: Path) -> None:
    made = make(make_clip(tmp_path / "clip.mp4"), suffix=".mkv")
    times = next(check for check in made.compare().checks if check.name == "frame times")
    assert times.expected == "the source's 12, rounded once to 1/1000 s"
    assert times.found == "12 of them, at most 0.467 ms away"


def remux(path: Path, keep: Callable[[int, int], bool]) -> Path:
    """Copy a Matroska file without the packets, by stream and number, that are not kept."""
    target = path.with_name("remuxed.mkv")
    options = {"fflags": "+bitexact", "avoid_negative_ts": "disabled"}
    with av.open(str(path)) as source, av.open(str(target), "w", container_options=options) as output:
        streams = {}
        for stream in source.streams:
            streams[stream.index] = output.add_stream_from_template(stream, opaque=True)
            streams[stream.index].metadata.update(stream.metadata)
            streams[stream.index].disposition = stream.disposition
        numbers = dict.fromkeys(streams, -1)
        for packet in source.demux():
            if packet.size:
                index = packet.stream_index
                numbers[index] += 1
                packet.dts = packet.pts if packet.dts is None else packet.dts
                packet.stream = streams[index]
                if keep(index, numbers[index]):
                    output.mux(packet)
    return target


def test_a_lost_packet_is_found(tmp_path: Path) -> None:
    made = make(make_clip(tmp_path / "clip.mkv", Clip(sound="aac", pts=VARIABLE)), FFV1)
    whole = remux(made.path, lambda stream, number: True)
    assert mismatches(made.compare(whole)) == set()
    without_sound = remux(made.path, lambda stream, number: (stream, number) != (1, 7))
    names = {f"audio stream #1: {what}" for what in ("packets", "SHA-256 of its content", "times against the video's")}
    assert mismatches(made.compare(without_sound)) == names
    without_picture = remux(made.path, lambda stream, number: (stream, number) != (0, 4))
    assert mismatches(made.compare(without_picture)) == {"frames", "frame times"}


def packets(path: Path, stream: int) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(container.streams[stream]) if packet.size]


def test_damage_is_found(tmp_path: Path) -> None:
    made = make(make_clip(tmp_path / "clip.mkv", Clip(sound="flac", size=(96, 128))))
    data = made.path.read_bytes()
    damaged = tmp_path / "damaged.mkv"
    at = data.index(packets(made.path, 1)[2]) + 20
    damaged.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    assert mismatches(made.compare(damaged)) == {"audio stream #1: SHA-256 of its content"}
    # A decoder would hide it, unless it is told not to.
    at = data.index(packets(made.path, 0)[2]) + 90
    damaged.write_bytes(data[:at] + bytes(60) + data[at + 60 :])
    assert "plays" in mismatches(made.compare(damaged))


def test_a_file_that_is_cut_off_or_no_video_does_not_pass(tmp_path: Path) -> None:
    made = make(make_clip(tmp_path / "clip.mkv"), FFV1)
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(made.path.read_bytes()[: made.path.stat().st_size * 2 // 3])
    assert "frames" in mismatches(made.compare(cut))
    cut.write_bytes(b"nothing like a video")
    assert mismatches(made.compare(cut)) == {"plays"}


def test_a_trimmed_part_is_compared_with_that_part(tmp_path: Path) -> None:
    clip = replace(FULL, pts=tuple(range(0, 60 * 1001, 1001)), chapters=[(0, 900, "one"), (900, 2000, "two")])
    made = make(make_clip(tmp_path / "clip.mkv", clip), part=(0.5, 1.5))
    assert len(made.stamps) == 30
    verification = made.compare()
    assert mismatches(verification) == set()
    assert next(check for check in verification.checks if check.name == "chapters").expected == (
        "'one' 0.000-0.400 s, 'two' 0.400-1.000 s"
    )


def test_what_a_container_cannot_hold_was_announced(tmp_path: Path) -> None:
    clip = replace(FULL, subtitles=[], attachment=None)
    made = make(make_clip(tmp_path / "clip.mkv", clip), suffix=".ts")
    verification = made.compare()
    assert mismatches(verification) == set()
    assert announced(verification) >= {"tags", "chapters", "display matrix"}


def test_cover_art_and_further_streams_are_paired_by_kind(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "clip.mp4", Clip(sound="aac", cover=True))
    for suffix in (".mp4", ".mkv"):
        verification = make(source, suffix=suffix).compare()
        assert mismatches(verification) == set()
        assert any(check.name.startswith("cover stream #2: SHA-256") for check in verification.checks)


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p10le", "gray", "gbrp10le", "yuv444p16le", "bgr0", "rgb24"])
def test_md5_of_frames_is_that_of_ffmpegs_framemd5(tmp_path: Path, pix_fmt: str) -> None:
    codec, suffix = ("png", ".mov") if pix_fmt == "rgb24" else ("ffv1", ".mkv")
    path = make_clip(tmp_path / f"clip{suffix}", Clip(size=(23, 37), pix_fmt=pix_fmt, codec=codec, options={}))
    with open_source(path) as source:
        planar = source.info.video.pixels.name
        ours = [planes_md5(frame.planes) for frame in source.frames()]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-loglevel", "error", "-noautorotate", "-i", str(path)]
    command += ["-map", "0:v:0", "-pix_fmt", planar, "-fps_mode", "passthrough", "-f", "framemd5", "-"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    theirs = [line.split(",")[-1].strip() for line in done.stdout.splitlines() if not line.startswith("#")]
    assert ours == theirs


def test_lost_marks_are_told_from_marks_that_cannot_be_held(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mkv", Clip(sound="aac"))  # its sound is marked as the original
    as_mp4 = make(clip, suffix=".mp4")
    assert "audio stream #1: dispositions" in announced(as_mp4.compare())
    assert "audio stream #1: dispositions" in mismatches(make(clip).compare(as_mp4.path))
