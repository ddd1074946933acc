"""Synthetic clips, made with PyAV when a test wants one: small, quick, and each odd in one way."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import lcm
from pathlib import Path

import av
import numpy as np
from av.packet import Packet
from av.stream import Disposition
from av.video.stream import VideoStream

from streamrestore.formats import ColourTags, video_format
from streamrestore.probing import SourceInfo

TIME_BASE = Fraction(1, 30000)
STEADY = tuple(range(0, 12 * 1001, 1001))
"""12 frames at 29.97 a second, in `TIME_BASE`."""
VARIABLE = (0, 1001, 2002, 5005, 5500, 6000, 8000, 9001, 10002, 12000)
"""10 frames whose distances vary sixfold, in `TIME_BASE`."""


@dataclass(frozen=True)
class Clip:
    """What a clip is made of; the defaults are the plainest video."""

    pts: Sequence[int] = STEADY
    time_base: Fraction = TIME_BASE
    size: tuple[int, int] = (48, 64)
    """(height, width)."""
    pix_fmt: str = "yuv420p"
    codec: str = "libx264"
    options: dict[str, str] = field(default_factory=lambda: {"preset": "ultrafast", "crf": "20"})
    b_frames: int = 0
    gop: int = 250
    colour: tuple[int, int, int, int] = (0, 2, 2, 2)
    """Range, matrix, primaries, transfer."""
    aspect: Fraction | None = None
    display_matrix: tuple[int, ...] | None = None
    sound: str | None = None
    """Audio codec; a tone as long as the video."""
    sound_start: int = 0
    """In samples of 1/48000 s."""
    subtitles: Sequence[tuple[int, int, str]] = ()
    """(start, duration, text) in milliseconds."""
    attachment: bytes | None = None
    cover: bool = False
    chapters: Sequence[tuple[int, int, str]] = ()
    """(start, end, title) in milliseconds."""
    tags: dict[str, str] = field(default_factory=dict)
    stream_tags: dict[str, str] = field(default_factory=dict)


INFO = SourceInfo(
    path=Path("clip.mp4"),
    container="mov,mp4,m4a,3gp,3g2,mj2",
    stream_index=0,
    codec="h264",
    video=video_format(64, 48, "yuv420p", ColourTags(), "h264"),
    pixel_format_name="yuv420p",
    tags=ColourTags(),
    time_base=TIME_BASE,
    sample_aspect_ratio=None,
    display_matrix=None,
    average_rate=Fraction(30),
    estimated_frames=12,
    start_pts=0,
    container_start=Fraction(0),
    duration_seconds=0.4,
    lost_side_data=(),
    other_streams=(),
)
"""What `open_source` would say of the plainest clip, for tests of pure functions."""


def paint(frame: av.VideoFrame, index: int) -> None:
    """Fill every plane with a moving gradient and some noise, the same for the same index."""
    random = np.random.default_rng(index)
    depth = max(component.bits for component in frame.format.components)
    for number, plane in enumerate(frame.planes):
        itemsize = 1 if depth <= 8 else 2
        width = plane.line_size // itemsize
        ramp = np.add.outer(np.arange(plane.height) * (3 + number), np.arange(width) * 2 + index * 5)
        noise = random.integers(0, 9, ramp.shape)
        samples = ((ramp + noise) % 220 + 16) << (depth - 8 if itemsize == 2 else 0)
        plane.update(samples.astype(np.uint8 if itemsize == 1 else np.uint16).tobytes())


def make_noise(
    path: Path,
    frames: int,
    *,
    rate: int = 30,
    gop: int = 8,
    open_gop: bool = False,
    muxing: dict[str, str] | None = None,
) -> Path:
    """Write a clip that is large for its length, 30 kB a frame, with B-frames; its pictures are noise.

    Args:
        path: Where; its suffix chooses the container.
        frames: How many.
        rate: Frames a second.
        gop: Frames from one key frame to the next.
        open_gop: Whether pictures that are shown before a key frame may refer to it.
        muxing: For the muxer.
    """
    random = np.random.default_rng(frames)
    with av.open(f"file:{path}", "w", container_options=muxing or {}) as output:
        options = {"preset": "ultrafast", "crf": "12", "x264-params": f"open-gop={int(open_gop)}:scenecut=0"}
        video = output.add_stream("libx264", rate=rate, options=options)
        assert isinstance(video, VideoStream)
        video.width, video.height, video.pix_fmt = 192, 144, "yuv420p"
        video.codec_context.gop_size, video.codec_context.max_b_frames = gop, 2
        video.codec_context.thread_count = 1
        for index in range(frames):
            frame = av.VideoFrame.from_ndarray(random.integers(0, 256, (216, 192), np.uint8), "yuv420p")
            frame.pts = index
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
    return path


def make_clip(path: Path, clip: Clip = Clip(), container: str | None = None) -> Path:
    """Write a clip.

    Args:
        path: Where; its suffix chooses the container unless ``container`` does.
        clip: What is in it.
        container: FFmpeg's name of the muxer.

    Returns:
        The path.
    """
    muxing = {"avoid_negative_ts": "disabled"} | {
        ".ts": {"mpegts_copyts": "1"},
        ".mp4": {"movie_timescale": str(lcm(clip.time_base.denominator, 48000))},
    }.get(path.suffix, {})
    with av.open(f"file:{path}", "w", format=container, container_options=muxing) as output:
        output.metadata.update(clip.tags)
        video = output.add_stream(clip.codec, rate=30, options=clip.options)
        assert isinstance(video, VideoStream)
        height, width = clip.size
        context = video.codec_context
        context.width, context.height, context.pix_fmt = width, height, clip.pix_fmt
        context.time_base = video.time_base = clip.time_base
        context.thread_count = 1
        context.gop_size = clip.gop
        if clip.codec != "ffv1":
            context.max_b_frames = clip.b_frames
        context.color_range, context.colorspace, context.color_primaries, context.color_trc = clip.colour
        if clip.aspect is not None:
            context.sample_aspect_ratio = clip.aspect
        video.set_display_matrix(clip.display_matrix)
        video.metadata.update(clip.stream_tags)
        output.set_chapters(
            [
                {"id": number, "start": start, "end": end, "time_base": Fraction(1, 1000), "metadata": {"title": title}}
                for number, (start, end, title) in enumerate(clip.chapters)
            ]
        )
        packets = list(_sound(output, clip)) + list(_subtitles(output, clip)) + list(_pictures(output, clip))
        output.start_encoding()
        for index, pts in enumerate(clip.pts):
            frame = av.VideoFrame(width, height, clip.pix_fmt)
            paint(frame, index)
            frame.pts, frame.time_base = pts, clip.time_base
            packets += video.encode(frame)
        packets += video.encode(None)
        output.mux(sorted(packets, key=lambda packet: (packet.dts or 0) * packet.time_base))
    return path


def _sound(output: av.container.OutputContainer, clip: Clip) -> list[Packet]:  # type: ignore[type-arg]
    if clip.sound is None:
        return []
    stream = output.add_stream(clip.sound, rate=48000)
    assert isinstance(stream, av.AudioStream)
    stream.metadata["language"] = "deu"
    stream.disposition = Disposition.default | Disposition.original
    stream.codec_context.layout = "mono"
    packets = []
    seconds = float((clip.pts[-1] - clip.pts[0]) * clip.time_base)
    for start in range(0, int(seconds * 48000) + 1024, 1024):
        tone = np.sin(np.arange(start, start + 1024) * 0.05).astype(np.float32)[None] * 0.3
        frame = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 48000, start + clip.sound_start, Fraction(1, 48000)
        packets += stream.encode(frame)
    return packets + stream.encode(None)


def _subtitles(output: av.container.OutputContainer, clip: Clip) -> list[Packet]:  # type: ignore[type-arg]
    if clip.attachment is not None:
        output.add_attachment("font.ttf", "font/ttf", clip.attachment)
    if not clip.subtitles:
        return []
    stream = output.add_mux_stream("subrip", time_base=Fraction(1, 1000))
    stream.metadata.update({"language": "fra", "title": "Dialogue"})
    stream.disposition = Disposition.forced
    packets = []
    for start, duration, text in clip.subtitles:
        packet = Packet(text.encode())
        packet.pts = packet.dts = start
        packet.duration, packet.time_base, packet.stream = duration, Fraction(1, 1000), stream
        packets.append(packet)
    return packets


def _pictures(output: av.container.OutputContainer, clip: Clip) -> list[Packet]:  # type: ignore[type-arg]
    if not clip.cover:
        return []
    stream = output.add_mux_stream("png", width=16, height=16, time_base=Fraction(1, 90000))
    stream.disposition = Disposition.attached_pic
    packet = Packet(png())
    packet.pts = packet.dts = clip.pts[0]
    packet.time_base, packet.stream, packet.is_keyframe = Fraction(1, 90000), stream, True
    return [packet]


def png() -> bytes:
    """A grey picture of 16 by 16 pixels."""
    memory = io.BytesIO()
    with av.open(memory, "w", format="image2pipe") as output:
        stream = output.add_stream("png", rate=1)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "rgb24"
        frame = av.VideoFrame(16, 16, "rgb24")
        frame.planes[0].update(bytes([128]) * frame.planes[0].buffer_size)
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return memory.getvalue()
