"""Find out whether a GPU's decoder gives a video's pictures bit for bit as software does, by trying."""

import os
from collections.abc import Generator
from contextlib import closing
from fractions import Fraction
from itertools import islice, zip_longest
from pathlib import Path

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from streamrestore.decoding import PacketDecoder, Picture, demux_through, open_video
from streamrestore.encoders import ENCODERS, find_encoder
from streamrestore.errors import ConfigError, UnsupportedError
from streamrestore.nvdec import EXACT_CODECS, Nvdec
from streamrestore.planes import copy_planes
from streamrestore.probing import AV_ERRORS, SourceInfo, probe, reason
from streamrestore.samples import sample_layout

_HINT = "; in a container, NVIDIA_DRIVER_CAPABILITIES must name video"

_PICTURES = 12
"""To compare: with B-frames too, and a fraction of a second to decode."""

_SAMPLE_SIZE = (180, 320)
"""(height, width) that no decoder finds too small."""

_MOST_PACKETS = 64
"""To try: a GPU that refuses the stream refuses each packet."""


def try_nvdec(info: SourceInfo, gpu: int) -> Nvdec:
    """Decode the first pictures of a video on a GPU and in software, and compare them.

    Args:
        info: A file.
        gpu: As torch counts them.

    Returns:
        The decoder, if all are the same.

    Raises:
        ConfigError: They are not, or the GPU does not decode them; the message says why.
        SourceError: The file cannot be opened any more.
    """
    if why := _excluded(info):
        raise ConfigError(why)
    video = f"{info.codec} in {info.pixel_format_name} at {info.video.width}x{info.video.height}"
    format_name: str | None = None
    try:
        with closing(_pictures(info, None)) as theirs, closing(_pictures(info, gpu)) as ours:
            for wanted, found in islice(zip_longest(theirs, ours), _PICTURES):
                if wanted is None or wanted.concealed or wanted.lost:
                    raise ConfigError("its beginning is damaged, and of damage NVDEC tells little")
                if found is None and format_name is None:
                    raise ConfigError(f"NVDEC on cuda:{gpu} does not take {video}{_HINT}")
                if found is None or not _same(wanted, found, info):
                    raise ConfigError(f"NVDEC on cuda:{gpu} gives other pictures of {video} than software")
                format_name = found.image.format.name
    except AV_ERRORS as error:
        raise ConfigError(f"its beginning cannot be read: {reason(error)}") from error
    if format_name is None:
        raise ConfigError("its beginning is damaged, and of damage NVDEC tells little")
    return Nvdec(gpu, format_name)


def _excluded(info: SourceInfo) -> str | None:
    """Why there is nothing to try; None if there is."""
    if info.opening.pipe is not None:
        return "a pipe cannot be read again in software, should NVDEC meet damage"
    if info.codec not in EXACT_CODECS:
        return f"only of {', '.join(EXACT_CODECS)} every decoder gives the same pictures, and this is {info.codec}"
    if info.video.pixels.alpha:
        return "NVDEC decodes no alpha"
    return None


def _pictures(info: SourceInfo, gpu: int | None) -> Generator[Picture]:
    with open_video(info) as (container, stream):
        decoder = PacketDecoder(stream, gpu)
        for packet in islice(demux_through(container, stream), _MOST_PACKETS):
            yield from decoder.decode(packet)
        yield from decoder.decode(None)


def _same(wanted: Picture, found: Picture, info: SourceInfo) -> bool:
    """Whether what a GPU gives is what software gives: samples, times, and that nothing was wrong."""
    if found.concealed or found.lost or _shape(found.image) != _shape(wanted.image):
        return False
    try:
        layout = sample_layout(found.image.format.name)
    except UnsupportedError:
        return False
    if layout.pixels != info.video.pixels:
        return False
    ours = copy_planes(found.image, layout, info.video)
    theirs = copy_planes(wanted.image, sample_layout(wanted.image.format.name), info.video)
    return all(np.array_equal(one, other) for one, other in zip(ours, theirs, strict=True))


def _shape(image: VideoFrame) -> tuple[object, ...]:
    return image.width, image.height, image.pts, image.duration, image.interlaced_frame


def make_sample(folder: Path, codec: str) -> SourceInfo:
    """Write a short video of 8 bits in 4:2:0, to try a decoder that no video was named for.

    Args:
        folder: Where.
        codec: One of `EXACT_CODECS`.
    """
    path, name = folder / f"{codec}.mkv", find_encoder(codec)
    os.environ.setdefault("SVT_LOG", "1")  # as where videos are encoded
    with av.open(str(path), "w") as output:
        stream = output.add_stream(name, rate=25, options=ENCODERS[name].options)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = _SAMPLE_SIZE[1], _SAMPLE_SIZE[0], "yuv420p"
        for number in range(4):
            frame = VideoFrame(stream.width, stream.height, "yuv420p")
            for plane in frame.planes:
                ramp = np.add.outer(np.arange(plane.height) * 3, np.arange(plane.line_size) + 8 * number)
                plane.update((ramp % 256).astype(np.uint8).tobytes())
            frame.pts, frame.time_base = number, Fraction(1, 25)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return probe(path)
