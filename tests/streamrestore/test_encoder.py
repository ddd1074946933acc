"""What encoders are told, as their streams say it; the same bytes whatever the machine does meanwhile."""

import hashlib
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from streamrestore.encoders import ENCODER_THREADS
from streamrestore.encoding import EncodingRequest, plan_encoding
from streamrestore.formats import ColourTags, video_format
from streamrestore.frame import FieldOrder, Plane
from streamrestore.segment_file import open_segment, segment_packets
from tests.clips import INFO

FRAMES = 12
SIZE = (240, 322)
"""No multiple of any vector's width."""


def moving(shape: tuple[int, int], depth: int, index: int) -> Plane:
    """Waves that move on from frame to frame, under a little noise."""
    row, column = np.indices(shape)
    waves = 2 + np.sin((column - 3 * index) / 9) + np.sin((row - index) / 7 + column / 31)
    noise = np.random.default_rng(index).integers(0, 2 ** (depth - 4), shape)
    samples: Plane = (waves * 2 ** (depth - 3) + noise).astype(np.uint8 if depth == 8 else np.uint16)
    return samples


def encode(path: Path, codec: str = "h264", pix_fmt: str = "yuv420p", order: FieldOrder | None = None) -> list[bytes]:
    """The packets of the same frames each time."""
    video = video_format(SIZE[1], SIZE[0], pix_fmt, ColourTags(), "h264")
    info = replace(INFO, video=video, pixel_format_name=pix_fmt)
    encoding = plan_encoding(info, EncodingRequest(codec=codec), field_order=order)
    with open_segment(path, info, encoding) as writer:
        for index in range(FRAMES):
            planes = tuple(moving(shape, video.pixels.depth, index) for shape in video.plane_shapes())
            writer.write(1001 * index, planes)
        writer.finish()
    return [bytes(packet) for packet in segment_packets(path)]


def digest(packets: list[bytes]) -> str:
    return hashlib.sha256(b"".join(packets)).hexdigest()


X264 = pytest.mark.parametrize(
    ("pix_fmt", "order"),
    [("yuv420p", None), ("yuv420p", FieldOrder.TOP), ("yuv420p10le", None), ("yuv422p10le", FieldOrder.BOTTOM)],
)


@X264
def test_x264_works_on_several_frames_at_once(tmp_path: Path, pix_fmt: str, order: FieldOrder | None) -> None:
    """By what it says of itself in its stream."""
    settings = b"".join(encode(tmp_path / "a", pix_fmt=pix_fmt, order=order))
    found = dict(re.findall(rb"\b(sliced_threads|threads|interlaced)=(\w+)", settings))
    fields = {None: b"0", FieldOrder.TOP: b"tff", FieldOrder.BOTTOM: b"bff"}[order]
    assert found == {b"sliced_threads": b"0", b"threads": b"%d" % ENCODER_THREADS, b"interlaced": fields}


@X264
def test_x264_gives_the_same_bytes_however_busy_the_machine_is(
    tmp_path: Path, pix_fmt: str, order: FieldOrder | None
) -> None:
    """Threads that share a frame do not, where frames are interlaced or of more than 8 bits."""
    with ThreadPoolExecutor(6) as several:
        runs = [several.submit(encode, tmp_path / str(run), "h264", pix_fmt, order) for run in range(12)]
        assert len({digest(run.result()) for run in runs}) == 1


@pytest.mark.parametrize(("codec", "pix_fmt"), [("ffv1", "yuv420p"), ("prores", "yuv422p10le"), ("vp9", "yuv420p")])
def test_others_do_too(tmp_path: Path, codec: str, pix_fmt: str) -> None:
    with ThreadPoolExecutor(3) as several:
        runs = [several.submit(encode, tmp_path / str(run), codec, pix_fmt) for run in range(3)]
        assert len({digest(run.result()) for run in runs}) == 1


def test_the_bytes_do_not_depend_on_what_was_in_memory_before(tmp_path: Path) -> None:
    """The AVX-512 code of x264 reads what nobody wrote. Here the C library fills new memory with other bytes each
    time, where it is glibc."""
    script = "import sys; from pathlib import Path; from tests.streamrestore.test_encoder import *; "
    script += "print(digest(encode(Path(sys.argv[1]))))"
    found = set()
    for filling in (0, 85, 254):
        tunables = f"glibc.malloc.mmap_threshold=1073741824:glibc.malloc.perturb={filling}"
        command = [sys.executable, "-c", script, str(tmp_path / str(filling))]
        done = subprocess.run(
            command,
            cwd=Path(__file__).parents[2],
            env={**os.environ, "GLIBC_TUNABLES": tunables},
            capture_output=True,
            text=True,
            check=True,
        )
        found.add(done.stdout)
    assert len(found) == 1
