"""Test bars, transparency and palettes, through whole files: nothing shifts where nothing is restored."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
import pytest
import torch
from av.filter import Graph
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from streamrestore.carry_planning import plan_carry
from streamrestore.color import to_rgb
from streamrestore.devices import Precision
from streamrestore.encoding import AUTOMATIC, Encoding, EncodingRequest, plan_encoding
from streamrestore.errors import ConfigError
from streamrestore.formats import ColourTags, video_format
from streamrestore.frame import Chunk, Frame, Planes, VideoFormat
from streamrestore.patches import plan_patches
from streamrestore.planes import build_frame, copy_planes
from streamrestore.probing import SourceInfo
from streamrestore.restorer import Restorer, RestorerSettings
from streamrestore.samples import pixel_format, sample_layout
from streamrestore.source import open_source
from tests import h273
from tests.networks import noise_planes, tiny_model
from tests.writing import write_video

FFV1 = EncodingRequest(codec="ffv1")
LOSSLESS_FORMATS = sorted(
    form.name
    for form in av.codec.Codec("ffv1", "w").video_formats or ()
    if "f16" not in form.name and "f32" not in form.name
)
CODE_POINTS = [1, 4, 5, 6, 7, 9]
"""Of the matrices that are supported."""

SIZE = (16, 128)
BARS = [(r, g, b) for g in (0.75, 0) for r in (0.75, 0) for b in (0.75, 0)]
"""75 % bars, white to black."""


@pytest.fixture(scope="module")
def identity() -> Restorer:
    return Restorer([tiny_model(scale=0)], RestorerSettings("cpu", Precision.FP32))


@dataclass(frozen=True)
class Result:
    """A file that went the whole way through a network that changes nothing."""

    source: SourceInfo
    result: SourceInfo
    encoding: Encoding
    frames: list[Frame]
    written: list[Frame]

    def same_samples(self) -> bool:
        return all(
            np.array_equal(before, after)
            for frame, twin in zip(self.frames, self.written, strict=True)
            for before, after in zip(frame.planes, twin.planes, strict=True)
        )

    def same_times(self) -> bool:
        """To the output's own clock, which must be the coarser one to make a difference."""

        def times(frames: list[Frame], info: SourceInfo) -> list[tuple[Fraction, Fraction]]:
            return [(frame.pts * info.time_base, frame.duration * info.time_base) for frame in frames]

        return times(self.frames, self.source) == times(self.written, self.result)


def pass_through(identity: Restorer, path: Path, request: EncodingRequest = AUTOMATIC) -> Result:
    with open_source(path) as source:
        info = source.info
        encoding = plan_encoding(info, request)
        frames = list(source.frames())
        plan = plan_patches(info.video.picture.upright_size, crop=32, batch_pixels=1, frames=1)
        restored = [
            Frame(
                frame.index,
                frame.pts,
                frame.duration,
                tuple(
                    plane[0]
                    for plane in identity.restore(
                        Chunk(info.video, plan, cast(Planes, tuple(plane[None] for plane in frame.planes)))
                    ).planes
                ),
            )
            for frame in frames
        ]
        output = path.with_name(f"restored{encoding.suffix}")
        write_video(output, info, encoding, plan_carry(info, encoding), restored)
    with open_source(output) as again:
        return Result(info, again.info, encoding, frames, list(again.frames()))


def write(
    path: Path, frames: list[av.VideoFrame], codec: str, tags: ColourTags, pts: list[int] | None = None, rate: int = 25
) -> Path:
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=rate)
        assert isinstance(stream, VideoStream)
        context = stream.codec_context
        context.width, context.height, context.pix_fmt = frames[0].width, frames[0].height, frames[0].format.name
        context.color_range, context.colorspace = tags.range, tags.matrix
        for index, frame in enumerate(frames):
            frame.pts, frame.time_base = pts[index] if pts else index, Fraction(1, rate)
            frame.color_range, frame.colorspace = tags.range, tags.matrix
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def bars(video: VideoFormat) -> tuple[h273.Samples, Planes]:
    """The picture in RGB, exact, and its samples."""
    rgb = np.repeat(np.array(BARS).T[:, None, :], video.width // len(BARS), axis=2).repeat(video.height, axis=1)
    return rgb, h273.encoded(rgb, video)


def combinations() -> list[tuple[str, ColourTags]]:
    """Each format once, and some of each kind with every matrix and range."""
    once = [
        (name, ColourTags(range=1 + number % 2, matrix=CODE_POINTS[number % 6] if "yuv" in name else 2))
        for number, name in enumerate(LOSSLESS_FORMATS)
    ]
    every = [
        (name, ColourTags(range=full, matrix=code))
        for name in ("yuv420p", "yuv422p10le", "yuv444p12le")
        for full in (1, 2)
        for code in CODE_POINTS
    ]
    return list(dict.fromkeys(once + every))


def combination_id(value: str | ColourTags) -> str:
    return value if isinstance(value, str) else f"matrix{value.matrix}-range{value.range}"


@pytest.mark.parametrize(("name", "tags"), combinations(), ids=combination_id)
def test_bars_do_not_shift(tmp_path: Path, identity: Restorer, name: str, tags: ColourTags) -> None:
    height, width = SIZE
    video = video_format(width, height, name, tags, "ffv1")
    rgb, planes = bars(video)
    path = write(tmp_path / "bars.mkv", [build_frame(planes, video, name)], "ffv1", tags)
    made = pass_through(identity, path, FFV1)
    assert made.same_samples()
    assert all(map(np.array_equal, made.written[0].planes, planes))
    assert (made.result.tags, made.result.video) == (made.source.tags, made.source.video)
    assert (made.result.tags.range, made.result.tags.matrix) == (tags.range, tags.matrix)
    # The network saw the colours that were meant, to the rounding of the samples.
    seen = to_rgb(tuple(torch.from_numpy(plane[None]) for plane in planes), made.source.video)[0].numpy()
    if video.pixels.model != "grey":
        middles = np.arange(7, width, width // len(BARS))  # where even 4:1:0 blends no two bars
        assert np.abs(seen - rgb)[:, :, middles].max() < 2 / 219


def test_what_a_pipe_of_rgb24_would_have_cost(tmp_path: Path, identity: Restorer) -> None:
    """Why frames keep their own samples: the same bars through RGB of 8 bits, by swscale at its best."""
    graph = Graph()
    graph.link_nodes(
        graph.add("smptehdbars", "size=192x108:rate=25"), graph.add("format", "yuv420p"), graph.add("buffersink")
    ).configure()
    frame = cast(av.VideoFrame, graph.pull())
    tags = ColourTags(frame.color_range, frame.colorspace)
    video = video_format(192, 108, "yuv420p", tags, "ffv1")
    layout = sample_layout("yuv420p")
    before = copy_planes(frame, layout, video)

    def cost(back: av.VideoFrame) -> float:
        """Codes that a sample is off, on average."""
        after = copy_planes(back, layout, video)
        return float(
            np.mean(np.concatenate([np.abs(a.astype(int) - b).ravel() for a, b in zip(before, after, strict=True)]))
        )

    rgb = VideoReformatter().reformat(frame, format="rgb24", threads=1)
    with_tags = VideoReformatter().reformat(rgb, format="yuv420p", threads=1)
    # What most tools do: the pipe says nothing of the matrix, so the way back is BT.601's.
    without_tags = VideoReformatter().reformat(
        av.VideoFrame.from_ndarray(rgb.to_ndarray(), format="rgb24"), format="yuv420p", threads=1
    )
    assert cost(with_tags) > 0.5
    assert cost(without_tags) > 3
    assert pass_through(identity, write(tmp_path / "bars.mkv", [frame], "ffv1", tags), FFV1).same_samples()


@pytest.mark.parametrize(
    ("name", "codec", "suffix"),
    [
        ("yuva420p", "ffv1", ".mkv"),
        ("yuva444p16le", "ffv1", ".mkv"),
        ("gbrap12le", "ffv1", ".mkv"),
        ("bgra", "ffv1", ".mkv"),
        ("argb", "qtrle", ".mov"),
        ("rgba", "png", ".mov"),
        ("rgba64be", "png", ".mov"),
        ("ya8", "png", ".mov"),
        ("yuva420p", "rawvideo", ".nut"),
        ("uyva", "rawvideo", ".nut"),
    ],
)
def test_alpha_goes_along(tmp_path: Path, identity: Restorer, name: str, codec: str, suffix: str) -> None:
    video = video_format(40, 24, name, ColourTags(), codec)
    batch = noise_planes(video.plane_shapes(), 3, depth=video.pixels.depth)
    frames = [build_frame(cast(Planes, tuple(plane[n] for plane in batch)), video, name) for n in range(3)]
    made = pass_through(identity, write(tmp_path / f"a{suffix}", frames, codec, ColourTags()))
    assert (made.encoding.codec, made.encoding.suffix) == ("ffv1", ".mkv")
    assert any("has an alpha channel" in note and "FFV1" in note for note in made.encoding.notes)
    assert made.same_samples()
    assert made.result.video.pixels == made.source.video.pixels == pixel_format(name)
    for number, frame in enumerate(made.written):
        assert np.array_equal(frame.planes[-1], batch[-1][number])


def test_alpha_in_prores(tmp_path: Path, identity: Restorer) -> None:
    video = video_format(48, 32, "yuva444p10le", ColourTags(), "ffv1")
    batch = noise_planes(video.plane_shapes(), 2, depth=10)
    frames = [build_frame(cast(Planes, tuple(plane[n] for plane in batch)), video) for n in range(2)]
    path = write(tmp_path / "a.mkv", frames, "ffv1", ColourTags())
    made = pass_through(identity, path, EncodingRequest(codec="prores"))
    assert (made.encoding.codec, made.encoding.suffix) == ("prores", ".mkv")
    assert made.result.video.pixels.alpha
    # ProRes keeps 16 bits of alpha without loss; FFmpeg gives back the upper 12.
    for number, frame in enumerate(made.written):
        alpha = batch[-1][number].astype(np.int64)
        assert np.array_equal(frame.planes[-1], alpha << 2 | alpha >> 8)


@pytest.mark.parametrize("codec", ["h264", "hevc", "av1", "vp9"])
def test_codecs_without_alpha_refuse_it(tmp_path: Path, identity: Restorer, codec: str) -> None:
    video = video_format(48, 32, "yuva420p", ColourTags(), "ffv1")
    planes = cast(Planes, tuple(plane[0] for plane in noise_planes(video.plane_shapes(), 1)))
    path = write(tmp_path / "a.mkv", [build_frame(planes, video)], "ffv1", ColourTags())
    with pytest.raises(ConfigError, match=r"cannot take yuva420p .*for this picture choose ffv1"):
        pass_through(identity, path, EncodingRequest(codec=codec))


def make_gif(path: Path, pts: list[int]) -> Path:
    """Noise in 255 colours and one that is clear; a palette for each frame."""
    generator = np.random.default_rng(0)
    frames = []
    for _ in pts:
        frame = av.VideoFrame(40, 24, "pal8")
        frame.planes[0].update(generator.integers(0, 256, frame.planes[0].buffer_size, np.uint8).tobytes())
        palette = generator.integers(0, 256, (256, 4), np.uint8)
        palette[:, 3] = 255
        palette[7] = 0
        frame.planes[1].update(palette.tobytes())
        frames.append(frame)
    return write(path, frames, "gif", ColourTags(), pts, rate=100)


def test_a_gif_keeps_every_frame_and_every_time(tmp_path: Path, identity: Restorer) -> None:
    made = pass_through(identity, make_gif(tmp_path / "a.gif", [0, 3, 13, 14, 64]))
    assert [int(frame.pts * made.source.time_base * 100) for frame in made.frames] == [0, 3, 13, 14, 64]
    assert (made.encoding.encoder, made.encoding.suffix) == ("ffv1", ".mkv")
    assert "the palette's colours are written out in full, as gbrap" in made.encoding.notes
    assert made.same_samples()
    assert made.same_times()
    assert {0, 255} == set(np.unique(np.stack([frame.planes[-1] for frame in made.written])).tolist())


def test_a_real_gif(tmp_path: Path, identity: Restorer, data_dir: Path) -> None:
    path = tmp_path / "animated.gif"
    path.write_bytes((data_dir / "video" / "animated.gif").read_bytes())
    made = pass_through(identity, path)
    assert len(made.frames) > 1
    assert made.same_samples()
    assert made.same_times()
