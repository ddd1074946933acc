"""FFV1's checksums: a flipped bit is seen wherever it is, and nothing is seen where there are none."""

from pathlib import Path

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamrestore.ffv1 import SliceChecksums
from streamrestore.frame import Defect
from streamrestore.source import open_source
from tests.clips import Clip, make_clip

CODED: dict[str, bytes] = {}


def coded(slices: str) -> bytes:
    """One picture, in so many slices."""
    if slices not in CODED:
        encoder = av.CodecContext.create("ffv1", "w")
        assert isinstance(encoder, av.VideoCodecContext)
        encoder.width, encoder.height, encoder.pix_fmt = 64, 48, "yuv420p"
        encoder.time_base = Clip().time_base
        encoder.options = {"level": "3", "slicecrc": "1", "slices": slices, "coder": "1"}
        frame = av.VideoFrame(64, 48, "yuv420p")
        frame.pts = 0
        CODED[slices] = b"".join(bytes(packet) for packet in (*encoder.encode(frame), *encoder.encode(None)))
    return CODED[slices]


@given(st.sampled_from(["4", "24"]), st.floats(0, 1, exclude_max=True), st.integers(0, 7))
def test_a_flipped_bit_is_seen_wherever_it_is(slices: str, place: float, bit: int) -> None:
    data = bytearray(coded(slices))
    checksums = SliceChecksums()
    assert not checksums.is_damaged(bytes(data))
    data[int(place * len(data))] ^= 1 << bit
    assert checksums.is_damaged(bytes(data))
    assert not checksums.is_damaged(coded(slices))


@given(st.binary(max_size=64))
def test_any_bytes_are_survived(data: bytes) -> None:
    assert not SliceChecksums().is_damaged(data)


@pytest.mark.parametrize("options", [{"level": "3", "slicecrc": "0"}, {"level": "1"}, {"level": "3", "slicecrc": "1"}])
def test_sound_pictures_are_sound(tmp_path: Path, options: dict[str, str]) -> None:
    frames = open_source(make_clip(tmp_path / "a.mkv", Clip(codec="ffv1", options=options))).frames()
    assert all(Defect.CONCEALED not in frame.defects for frame in frames)
