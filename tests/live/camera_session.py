"""One time of the camera's being published: pictures painted, encoded and sent; sound as well."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Self

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from tests.live.timecode import SHARE, TimeCode, paint, plane_of

CLOCK = 90_000
"""Ticks a second of RTP's video clock."""
SOUND_RATE = 48_000
SOUND_SAMPLES = 1024
"""Of a packet of AAC."""
SOUND_GAP_SECONDS = 1.0
"""What is longer over than this is never made."""
NOISES = 8
"""How many backgrounds there are; they take turns."""
ENCODERS: Mapping[str, tuple[str, str]] = {
    "h264": ("libx264", "x264-params"),
    "hevc": ("libx265", "x265-params"),
}
"""The encoder, and the one of FFmpeg's options that holds the encoder's own."""


@dataclass(frozen=True)
class Settings:
    """What a camera is like; see `tests.live.camera.Camera`."""

    url: str
    fps: float
    codec: str
    pix_fmt: str
    audio: bool
    noise: bool


class Painter:
    """Paints pictures of one size."""

    def __init__(self, size: tuple[int, int], pix_fmt: str, noise: bool) -> None:
        self.size = size
        self._pix_fmt = pix_fmt
        self._frames = [self._background(number, noise) for number in range(NOISES)]

    def picture(self, code: TimeCode) -> av.VideoFrame:
        """Give one, which must be encoded before the next is asked for."""
        frame = self._frames[code.index % NOISES]
        frame.make_writable()  # an encoder may still look at it
        paint(plane_of(frame), code)
        return frame

    def _background(self, number: int, noise: bool) -> av.VideoFrame:
        """A gradient that moves, or noise; the code comes over it."""
        height, width = self.size
        frame = av.VideoFrame(width, height, self._pix_fmt)
        random = np.random.default_rng(number)
        for index in range(len(frame.planes)):
            plane = plane_of(frame, index)
            plane[:] = random.integers(0, 256, plane.shape) if noise else 128
        if not noise:
            luma = plane_of(frame)[height // SHARE :]
            ramp = np.add.outer(np.arange(luma.shape[0]), np.arange(width)) * 256 // width + number * 256 // NOISES
            luma[:] = 60 + np.abs(ramp % 256 - 128)
        return frame


class Session:
    """A muxer and its encoders; passive."""

    def __init__(self, settings: Settings, size: tuple[int, int]) -> None:
        """Connect to the server.

        Args:
            settings: What to publish, and where.
            size: (height, width) of the first pictures.

        Raises:
            OSError: There is no server; PyAV's own error is one, too.
            av.error.FFmpegError: It refuses, or does not answer within 2 seconds.
        """
        self._settings = settings
        options = {"rtsp_transport": "tcp", "timeout": "2000000"}
        self._container: OutputContainer = av.open(settings.url, "w", format="rtsp", options=options)
        try:
            rate = Fraction(settings.fps).limit_denominator(1001)
            video = self._container.add_stream(ENCODERS[settings.codec][0], rate=rate)
            assert isinstance(video, VideoStream)
            self._video = video
            self._encoder = self._set_up(video.codec_context, size)
            self._painter = Painter(size, settings.pix_fmt, settings.noise)
            self._sound: AudioStream | None = None
            self._sound_at = 0
            """The first sample of the next packet."""
            if settings.audio:
                sound = self._container.add_stream("aac", rate=SOUND_RATE, layout="mono")
                assert isinstance(sound, AudioStream)
                self._sound = sound
            self._container.start_encoding()
        except BaseException:
            self._container.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    def send_picture(self, code: TimeCode, pts: int, size: tuple[int, int]) -> None:
        """Encode and send one picture.

        Args:
            code: What it carries.
            pts: When it is to be seen, in `CLOCK`.
            size: (height, width); another than before starts a new encoder within the same session: its parameter
                sets come with its first picture, while the SDP still tells the old ones.
        """
        if size != self._painter.size:
            made = av.CodecContext.create(ENCODERS[self._settings.codec][0], "w")
            assert isinstance(made, VideoCodecContext)
            made.framerate = self._encoder.framerate
            self._encoder = self._set_up(made, size)
            self._painter = Painter(size, self._settings.pix_fmt, self._settings.noise)
        frame = self._painter.picture(code)
        frame.pts, frame.time_base = pts, Fraction(1, CLOCK)
        for packet in self._encoder.encode(frame):
            packet.stream = self._video
            self._container.mux(packet)

    def send_sound(self, until_seconds: float) -> None:
        """Encode and send the packets of sound that begin before a time; those that are long over never come."""
        if self._sound is None:
            return
        self._sound_at = max(self._sound_at, int((until_seconds - SOUND_GAP_SECONDS) * SOUND_RATE))
        while self._sound_at < until_seconds * SOUND_RATE:
            times = (self._sound_at + np.arange(SOUND_SAMPLES)) / SOUND_RATE
            samples = (0.25 * np.sin(2 * np.pi * 440 * times)).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(samples[np.newaxis], format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = SOUND_RATE, self._sound_at, Fraction(1, SOUND_RATE)
            self._container.mux(self._sound.encode(frame))
            self._sound_at += SOUND_SAMPLES

    def _set_up(self, encoder: VideoCodecContext, size: tuple[int, int]) -> VideoCodecContext:
        encoder.height, encoder.width = size
        encoder.pix_fmt = self._settings.pix_fmt
        encoder.time_base = Fraction(1, CLOCK)
        encoder.thread_count = 1
        encoder.gop_size = seconds = round(self._settings.fps)
        encoder.max_b_frames = 0
        # Parameter sets stand in the SDP and before each key frame, as with real cameras.
        own = f"repeat-headers=1:scenecut=0:keyint={seconds}:min-keyint={seconds}"
        option = ENCODERS[self._settings.codec][1]
        if option == "x265-params":
            own += ":pools=none:frame-threads=1:log-level=none"
        quality = "9" if self._settings.noise else "23"
        encoder.options = {"preset": "ultrafast", "tune": "zerolatency", "crf": quality, option: own}
        return encoder
