"""Captions, HDR10+ and Dolby Vision: out of the source's packets, into those of another encoder."""

from collections.abc import Sequence
from fractions import Fraction
from itertools import product
from pathlib import Path
from typing import cast

import av
import pytest
from av.packet import Packet
from av.sidedata.sidedata import SideDataContainer
from av.sidedata.sidedata import Type as SideData
from av.video.stream import VideoStream
from hypothesis import given
from hypothesis import strategies as st

from streamrestore import nal
from streamrestore.hdr import ambient_message
from streamrestore.messages import (
    Message,
    MessageKind,
    SourceMessages,
    codecs_holding,
    holds,
    messages_in,
    with_messages,
)
from tests.clips import paint

ENCODERS = {
    "libx264": {"preset": "ultrafast", "bf": "3"},
    "libx265": {"preset": "ultrafast", "x265-params": "log-level=none:pools=1:frame-threads=1"},
    "libsvtav1": {"preset": "12", "svtav1-params": "lp=1"},
}
FRAMES = 12


@pytest.fixture(autouse=True)
def _quiet_av1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SVT_LOG", "1")


def captions(index: int) -> bytes:
    """CEA-608 data of one frame: two characters, in the words of ATSC A/53."""
    characters = bytes([0xFC, 0x80 | (0x41 + index), 0])
    return b"\xb5\x00\x31GA94\x03" + bytes([0xC0 | 2, 0xFF]) + characters + b"\xfd\x00\x00" + b"\xff"


def encode(path: Path, encoder: str, give: "SourceMessages | Sequence[Sequence[Message]]", container: str) -> Path:
    """A clip of `FRAMES` frames, each with the messages that are given for its pts."""
    with av.open(str(path), "w", format=container) as output:
        stream = output.add_stream(encoder, rate=25, options=ENCODERS.get(encoder, {}))
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        stream.codec_context.thread_count = 1
        stream.time_base = stream.codec_context.time_base = Fraction(1, 25)
        output.start_encoding()
        codec, header = stream.codec_context.codec.canonical_name, stream.codec_context.extradata

        def mux(packets: "list[Packet[VideoStream]]") -> None:
            for packet in packets:
                assert packet.pts is not None
                messages = give.take(packet.pts) if isinstance(give, SourceMessages) else give[packet.pts]
                held = [message for message in messages if holds(codec, message.kind)]
                data = with_messages(bytes(packet), held, codec, header)
                changed = Packet(data)
                changed.pts, changed.dts, changed.time_base = packet.pts, packet.dts, packet.time_base
                changed.is_keyframe, changed.stream = packet.is_keyframe, stream
                output.mux(changed)

        for index in range(FRAMES):
            frame = av.VideoFrame(128, 96, "yuv420p")
            paint(frame, index)
            frame.pts, frame.time_base = index, Fraction(1, 25)
            mux(stream.encode(frame))
        mux(stream.encode(None))
    return path


def side_data(path: Path, kind: SideData, count: int = FRAMES) -> list[bytes | None]:
    """Of the first frames, as FFmpeg's decoder gives it."""
    with av.open(str(path)) as container:
        frames = [frame for frame, _ in zip(container.decode(video=0), range(count), strict=False)]
    found = [cast(SideDataContainer, frame.side_data).get(kind) for frame in frames]
    return [None if data is None else bytes(data) for data in found]


@pytest.mark.parametrize(
    ("encoder", "container"),
    # FFmpeg writes no AV1 into transport streams.
    sorted({*product(ENCODERS, ["matroska", "mp4", "mpegts"])} - {("libsvtav1", "mpegts")}),
)
def test_captions_are_seen_by_a_decoder_on_their_own_frames(tmp_path: Path, encoder: str, container: str) -> None:
    given = [[Message(MessageKind.T35, captions(index))] for index in range(FRAMES)]
    found = side_data(encode(tmp_path / "clip", encoder, given, container), SideData.A53_CC)
    assert found == [captions(index)[10:-1] for index in range(FRAMES)]


@pytest.mark.parametrize(
    ("first", "second"), [("libx264", "libx265"), ("libx265", "libsvtav1"), ("libsvtav1", "libx264")]
)
@pytest.mark.parametrize("container", ["matroska", "mp4"])
def test_from_codec_to_codec(tmp_path: Path, first: str, second: str, container: str) -> None:
    given = [[Message(MessageKind.T35, captions(index))] * (index % 3) for index in range(FRAMES)]
    source = encode(tmp_path / "source", first, given, container)
    with av.open(str(source)) as opened:
        stream = opened.streams.video[0]
        # Their clocks differ; the second encoder counts frames.
        assert stream.time_base is not None
        ticks = Fraction(1, 25) / stream.time_base

        class ByFrame(SourceMessages):
            def take(self, pts: int) -> list[Message]:
                return super().take(int(pts * ticks))

        encode(tmp_path / "result", second, ByFrame(opened.demux(stream), stream), container)
    with av.open(str(tmp_path / "result")) as opened:
        stream = opened.streams.video[0]
        codec, header = stream.codec_context.codec.canonical_name, stream.codec_context.extradata
        found = {p.pts: messages_in(bytes(p), codec, header) for p in opened.demux(stream) if p.size}
    assert [found[pts] for pts in sorted(found, key=lambda pts: pts or 0)] == given


def test_mpeg2_captions_become_sei(tmp_path: Path) -> None:
    unit = b"\0\0\1\xb2" + captions(5)[3:] + b"\0\0\1\xb2other data\0\0\1\x01slice"
    assert messages_in(b"\0\0\1\0picture" + unit, "mpeg2video", None) == [Message(MessageKind.T35, captions(5))]


def test_hdr10plus_of_a_real_clip(tmp_path: Path, data_dir: Path) -> None:
    path = data_dir / "video" / "hdr10plus_regular.mkv"
    wanted = side_data(path, SideData.DYNAMIC_HDR_PLUS)
    assert None not in wanted
    for encoder in ("libx265", "libsvtav1"):
        with av.open(str(path)) as opened:
            stream = opened.streams.video[0]
            times = [frame.pts for frame, _ in zip(opened.decode(stream), range(FRAMES), strict=False)]
            opened.seek(0)
            messages = SourceMessages(opened.demux(stream), stream)
            given = [messages.take(time) for time in times if time is not None]
        result = encode(tmp_path / encoder, encoder, given, "matroska")
        assert side_data(result, SideData.DYNAMIC_HDR_PLUS) == wanted


def test_dolby_vision_of_a_real_clip(tmp_path: Path, data_dir: Path) -> None:
    path = data_dir / "video" / "sample_edit_list.mp4"
    with av.open(str(path)) as opened:
        header = opened.streams.video[0].codec_context.extradata
        packets = [bytes(p) for p, _ in zip(opened.demux(video=0), range(FRAMES), strict=False)]
    given = [messages_in(packet, "hevc", header) for packet in packets]
    assert [[message.kind for message in one] for one in given] == [[MessageKind.DOLBY_VISION]] * FRAMES
    found = side_data(encode(tmp_path / "dv", "libx265", given, "mp4"), SideData.DOVI_RPU_BUFFER)
    assert found == [one[0].payload[2:] for one in given]  # without the header of the NAL unit


@pytest.mark.parametrize("encoder", ["libx264", "libx265"])
def test_the_room_is_seen_by_a_decoder(tmp_path: Path, encoder: str) -> None:
    room = Message(MessageKind.AMBIENT, bytes.fromhex("002fe9a03d134042"))
    path = encode(tmp_path / "room.mp4", encoder, [[room], *[[]] * (FRAMES - 1)], "mp4")
    data = side_data(path, SideData.AMBIENT_VIEWING_ENVIRONMENT)[0]
    assert data is not None
    assert ambient_message(data) == room


def test_rpus_of_two_layers_are_left_behind() -> None:
    def packet(*kinds: int) -> bytes:
        return b"".join(b"\0\0\0\1" + bytes([kind << 1, 1]) + b"payload" for kind in kinds)

    assert len(messages_in(packet(1, 62), "hevc", None)) == 1
    assert messages_in(packet(1, 63, 62), "hevc", None) == []


def test_who_holds_what() -> None:
    assert codecs_holding(MessageKind.T35) == ("h264", "hevc", "av1")
    assert codecs_holding(MessageKind.DOLBY_VISION) == ("hevc",)
    assert not holds("ffv1", MessageKind.T35)
    assert messages_in(b"\0\0\1\6whatever", "ffv1", None) == []


@given(st.lists(st.sampled_from([0, 0, 0, 1, 2, 3, 4, 128, 255])).map(bytes))
def test_no_start_code_is_imitated(data: bytes) -> None:
    data += b"\x80"
    escaped = nal.escaped(data)
    assert nal.unescaped(escaped) == data
    assert not any(bytes([0, 0, number]) in escaped for number in range(3))


@given(st.binary(min_size=1, max_size=1000), st.sampled_from(["h264", "hevc", "av1"]))
def test_any_payload_comes_back(payload: bytes, codec: str) -> None:
    message = Message(MessageKind.T35, payload)
    picture = {"h264": b"\0\0\0\1\x65slice", "hevc": b"\0\0\0\1\x26\1slice", "av1": b"\x32\5frame"}[codec]
    assert messages_in(with_messages(picture, [message], codec, None), codec, None) == [message]
    assert with_messages(picture, [], codec, None) == picture


@given(st.binary(max_size=200), st.sampled_from(["h264", "hevc", "av1", "mpeg2video"]), st.booleans())
def test_garbage_is_no_message_and_no_error(packet: bytes, codec: str, lengths: bool) -> None:
    header = b"\1" * 23 if lengths else None
    for found in messages_in(packet, codec, header):
        assert isinstance(found, Message)
