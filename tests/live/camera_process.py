"""The camera's process: publishes pictures in real time, and comes back to a server that went."""

import math
import time
from dataclasses import dataclass
from typing import Any

import av

from tests.live import parent
from tests.live.camera_session import CLOCK, Session, Settings
from tests.live.timecode import TimeCode

RETRY_SECONDS = 0.2
LATE_SECONDS = 0.2
"""Pictures later than this are never made; those that are less late are made up for."""
SOUND_AHEAD_SECONDS = 0.1
"""Sound is sent before its time: FFmpeg keeps a picture back until something that follows it is there."""


@dataclass
class Course:
    """Where the camera is; all its sessions share it."""

    size: tuple[int, int]
    """(height, width) of the next picture; set by the thread that hears commands."""
    index: int = 0
    """Of the next picture."""


def publish(settings: Settings, course: Course) -> None:
    """Publish until the server is gone.

    Raises:
        OSError: As `Session`.
        av.error.FFmpegError: As `Session`.
    """
    with Session(settings, course.size) as session:
        parent.say("published", time.monotonic())
        start, tick = time.monotonic(), 0
        while True:
            passed = time.monotonic() - start
            if passed > tick / settings.fps + LATE_SECONDS:
                tick = math.ceil(passed * settings.fps)
            time.sleep(max(0.0, start + tick / settings.fps - time.monotonic()))
            session.send_sound(tick / settings.fps + SOUND_AHEAD_SECONDS)
            code = TimeCode.now(course.index)
            course.index += 1
            size = course.size
            session.send_picture(code, round(tick * CLOCK / settings.fps), size)
            parent.say("picture", code.index, size)
            tick += 1


def _main(size: tuple[int, int], settings: Settings) -> None:
    course = Course(size)

    def obey(command: str, arguments: dict[str, Any]) -> None:
        if command != "resize":
            raise ValueError(command)
        height, width = arguments["size"]
        course.size = height, width

    parent.obey(obey)
    parent.say("answer", None, None)
    while True:
        try:
            publish(settings, course)
        except (OSError, av.error.FFmpegError) as error:
            parent.say("ended", time.monotonic(), type(error).__name__)
        time.sleep(RETRY_SECONDS)


if __name__ == "__main__":
    given = parent.settings()
    height, width = given.pop("size")
    _main((height, width), Settings(**given))
