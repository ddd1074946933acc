"""Make the demo clips: ``rainy.mp4``, and ``clean.mp4``, the same frames without the rain.

Two photographs in the public domain, panned and zoomed, under layers of synthetic rain that
fall from frame to frame, with a synthesised sound of rain. All randomness has one seed, so a
machine makes the same bytes each time. Pixels are converted to BT.709 limited range and tagged
as such; the photographs' tone curve is kept as it is.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import skimage.data
import torch
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, Interpolation
from numpy.typing import NDArray
from PIL import Image
from torch import Generator, Tensor

from streamrestore.training.rain import CLIP_SIDE, FallingRain, Layer, add_rain

FOLDER = Path(__file__).parent
SCIKIT_IMAGE_DATA = Path(skimage.data.__file__).parent
HEIGHT, WIDTH = 270, 480
FRAMES_PER_SECOND = 20
SAMPLE_RATE = 48_000
SEED = 31

H264_BT709 = 1
"""BT.709 as matrix, primaries and transfer in H.264's tables; FFmpeg uses the same number."""


@dataclass(frozen=True, slots=True)
class Shot:
    """A camera move over one photograph, at constant speed."""

    photograph: Image.Image
    start: tuple[float, float, float]
    """Left, top and width of the first view; never narrower than the clip, so nothing is enlarged."""
    stop: tuple[float, float, float]
    """The view one frame after the last."""
    frames: int

    def views(self) -> Iterator[NDArray[np.uint8]]:
        """The shot's frames, ``[H, W, 3]`` RGB, resampled with an antialiasing filter at sub-pixel positions."""
        for index in range(self.frames):
            way = index / self.frames
            left, top, width = (a + (b - a) * way for a, b in zip(self.start, self.stop, strict=True))
            box = (left, top, left + width, top + width * HEIGHT / WIDTH)
            yield np.asarray(self.photograph.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS, box))


def shots() -> tuple[Shot, ...]:
    """The clip: one and a half seconds of each photograph."""
    frames = FRAMES_PER_SECOND * 3 // 2
    return (
        Shot(Image.open(SCIKIT_IMAGE_DATA / "rocket.jpg"), (0, 67, 640), (60, 100, 540), frames),
        Shot(Image.open(SCIKIT_IMAGE_DATA / "coffee.png"), (0, 8, 490), (70, 60, 530), frames),
    )


RAIN_TILT = math.radians(11)


def _depth(tilt: float, length: float, width: float, brightness: float, coverage: float) -> Layer:
    """Rain at one distance: streaks of one length and width, in nearly one direction."""
    values = (length, width, RAIN_TILT + math.radians(tilt), False, brightness, 0.8, coverage)
    return Layer(*(torch.tensor([value]) for value in values))


RAIN_DEPTHS = [
    _depth(-1.5, 13, 0.5, 0.25, 0.012),
    _depth(0.0, 24, 0.7, 0.38, 0.011),
    _depth(1.5, 42, 1.0, 0.46, 0.010),
]
"""Far, middle and near rain: what is nearer is longer, wider and brighter."""


def under_rain(clean: NDArray[np.uint8], amount: Tensor) -> NDArray[np.uint8]:
    """A frame with rain over it; both frames ``[H, W, 3]`` RGB."""
    pixels = torch.from_numpy(clean.copy()).permute(2, 0, 1).float() / 255
    rainy = (add_rain(pixels[None], amount[None], screen=False)[0] * 255).round().to(torch.uint8)
    return rainy.permute(1, 2, 0).contiguous().numpy()


def sound_of_rain(seconds: float, generator: np.random.Generator) -> NDArray[np.float32]:
    """A hiss with drops in it: ``[2, N]`` in [-1, 1], faded in and out."""
    count = round(seconds * SAMPLE_RATE)
    frequency = np.fft.rfftfreq(count, 1 / SAMPLE_RATE).clip(min=1)
    hiss_shape = 1 / np.sqrt(1 + (700 / frequency) ** 4) / np.sqrt(1 + (frequency / 5000) ** 2)
    hiss = np.fft.irfft(np.fft.rfft(generator.standard_normal((2, count))) * hiss_shape, n=count)

    clicks = (generator.random((2, count)) < 150 / SAMPLE_RATE) * generator.exponential(1.0, (2, count))
    ring_time = np.arange(round(0.012 * SAMPLE_RATE)) / SAMPLE_RATE
    ring = np.exp(-ring_time / 0.002) * np.sin(2 * np.pi * 2400 * ring_time)
    drops = np.stack([np.convolve(channel, ring)[:count] for channel in clicks])

    edge = np.minimum(np.arange(count), np.arange(count)[::-1]) / (0.15 * SAMPLE_RATE)
    sound = (hiss / hiss.std() + 2 * drops) * edge.clip(max=1)
    return np.asarray(0.5 * sound / np.abs(sound).max(), dtype=np.float32)


def write_clip(path: Path, pictures: list[NDArray[np.uint8]], sound: NDArray[np.float32], crf: int) -> None:
    """Encode frames ``[H, W, 3]`` RGB and a stereo sound as H.264 and AAC."""
    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as container:
        # Without asm=0, x264's AVX-512 code makes other bytes from run to run for widths that 128 does not divide.
        x264_options = {"crf": str(crf), "preset": "veryslow", "x264-params": "asm=0", "flags": "+bitexact"}
        video = container.add_stream("libx264", FRAMES_PER_SECOND, options=x264_options)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        video.color_range = ColorRange.MPEG
        video.colorspace = video.color_primaries = video.color_trc = H264_BT709
        # Another number of threads gives other bytes, too.
        video.codec_context.thread_count = 1
        audio = container.add_stream(
            "aac", SAMPLE_RATE, layout="stereo", bit_rate=96_000, options={"flags": "+bitexact"}
        )

        for index, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(
                format="yuv420p",
                interpolation=Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.BITEXACT,
                dst_colorspace=Colorspace.ITU709,
                src_color_range=ColorRange.JPEG,
                dst_color_range=ColorRange.MPEG,
                dst_color_trc=ColorTrc.BT709,
                dst_color_primaries=ColorPrimaries.BT709,
                threads=1,
            )
            frame.pts, frame.time_base = index, Fraction(1, FRAMES_PER_SECOND)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))

        samples = av.AudioFrame.from_ndarray(sound, format="fltp", layout="stereo")
        samples.sample_rate, samples.pts, samples.time_base = SAMPLE_RATE, 0, Fraction(1, SAMPLE_RATE)
        container.mux(audio.encode(samples))
        container.mux(audio.encode(None))


def main() -> None:
    """Write both clips beside this file."""
    clean = [picture for shot in shots() for picture in shot.views()]
    rain = FallingRain(RAIN_DEPTHS, CLIP_SIDE, Generator().manual_seed(SEED))
    rainy = [under_rain(picture, rain.at(index, (HEIGHT, WIDTH))) for index, picture in enumerate(clean)]
    sound = sound_of_rain(len(clean) / FRAMES_PER_SECOND, np.random.default_rng(SEED))
    write_clip(FOLDER / "clean.mp4", clean, sound, crf=8)
    write_clip(FOLDER / "rainy.mp4", rainy, sound, crf=15)


if __name__ == "__main__":
    main()
