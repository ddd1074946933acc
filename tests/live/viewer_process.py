"""The viewer's process: plays a URL with little delay, reads time codes, and opens it again when it ends."""

import time
from typing import Any

import av
from av.container import InputContainer

from tests.live import parent
from tests.live.timecode import Luma, plane_of, read

RETRY_SECONDS = 0.1


def play(url: str, options: dict[str, str], session: int) -> None:
    """Play to the end.

    Raises:
        OSError: It cannot be opened, or ended in an error; PyAV's own error may be one.
        av.error.FFmpegError: The same, for other reasons.
    """
    container = av.open(url, options=options)
    assert isinstance(container, InputContainer)
    with container:
        parent.say("opened", time.monotonic())
        for stream in container.streams.video:
            stream.thread_type = "SLICE"  # threads of whole frames would hold pictures back
            stream.codec_context.thread_count = 1
        for packet in container.demux(*container.streams.video, *container.streams.audio):
            arrival = time.monotonic()
            if packet.stream.type == "audio":
                if packet.size:
                    parent.say("sound", arrival, _seconds(packet), packet.size, session)
                continue
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:
                parent.say("damaged", arrival)
                continue
            for frame in frames:
                assert isinstance(frame, av.VideoFrame)
                report(frame, session)


def report(frame: av.VideoFrame, session: int) -> None:
    """Tell about a picture."""
    arrival = time.monotonic()
    luma = luma_of(frame)
    code = read(luma)
    index, seconds = (code.index, code.seconds) if code is not None else (None, None)
    mean = round(float(luma.mean()), 2)
    parent.say("picture", arrival, _seconds(frame), index, seconds, frame.height, frame.width, mean, session)


def luma_of(frame: av.VideoFrame) -> Luma:
    """[H, W]: the first plane of a planar format of 8 bits, else what FFmpeg makes of the picture."""
    if frame.format.components[0].bits != 8 or not frame.format.is_planar or frame.format.is_rgb:
        frame = frame.reformat(format="gray")
    return plane_of(frame)


def _seconds(item: "av.VideoFrame | av.Packet[Any]") -> float | None:
    return float(item.pts * item.time_base) if item.pts is not None and item.time_base else None


def _main(url: str, options: dict[str, str], reopen: bool) -> None:
    def obey(command: str, arguments: dict[str, Any]) -> None:
        raise ValueError(command)

    parent.obey(obey)
    parent.say("answer", None, None)
    session = 1
    while True:
        try:
            play(url, options, session)
            parent.say("ended", time.monotonic(), "end")
        except (OSError, av.error.FFmpegError) as error:
            parent.say("ended", time.monotonic(), type(error).__name__)
        if not reopen:
            parent.leave()
        session += 1
        time.sleep(RETRY_SECONDS)


if __name__ == "__main__":
    _main(**parent.settings())
