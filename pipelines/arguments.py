"""What the user typed, as values; every refusal says what is allowed."""

import re
from collections.abc import Sequence
from fractions import Fraction
from typing import get_args

from streamrestore.errors import ConfigError
from streamrestore.tasks import Stages, Task

TASKS: tuple[Task, ...] = get_args(Task)

AUTO = "auto"
"""In the place of tasks: each shot is given what it needs."""

_RATE = re.compile(r"\d{1,6}(\.\d{1,6}|/[1-9]\d{0,6})?")
_SIZE = re.compile(r"(?P<width>[1-9]\d{0,4})x(?P<height>[1-9]\d{0,4})")
_PIPE_ALIASES = {"y4m": "yuv4mpegpipe", "raw": "rawvideo", "mkv": "matroska", "ts": "mpegts"}
_DURATION = re.compile(r"(?P<number>\d+(?:\.\d+)?)(?P<unit>[smhd])")
_CLOCK = re.compile(r"(?:(?:(?P<hours>\d+):)?(?P<minutes>\d+):)?(?P<seconds>\d+(?:\.\d+)?|\.\d+)")


def is_auto(text: str) -> bool:
    """Whether ``-t`` asks for each shot to be given what it needs; else it is for `parse_tasks`.

    Raises:
        ConfigError: It asks for tasks as well.
    """
    wanted = [part.strip().lower() for part in text.split(",")]
    if AUTO in wanted and len(wanted) > 1:
        raise ConfigError(f"-t {text}: auto chooses the tasks itself: give it alone, or the tasks without it")
    return wanted == [AUTO]


def parse_tasks(text: str) -> tuple[Task, ...]:
    """``denoise,deblur`` to its tasks, in the order they are run.

    Raises:
        ConfigError: A task is missing, unknown or there twice.
    """
    allowed = f"give {', '.join(TASKS)}, or a chain of them such as denoise,deblur"
    if not text:
        raise ConfigError(f"what is to be done? -t names no task: {allowed}")
    wanted = [part.strip().lower() for part in text.split(",")]
    tasks = tuple(task for name in wanted for task in TASKS if task == name)
    unknown = [name for name in wanted if name not in TASKS]
    if unknown:
        raise ConfigError(f"-t {unknown[0]!r} is no task: {allowed}")
    if len(set(tasks)) < len(tasks):
        raise ConfigError(f"-t {text} has a task twice: {allowed}")
    return tasks


def weights_per_task(tasks: Sequence[Task], weights: Sequence[str]) -> tuple[str | None, ...]:
    """What ``--weights`` names for each task; None leaves the choice.

    Raises:
        ConfigError: There are more or fewer of them than tasks.
    """
    if not weights:
        return (None,) * len(tasks)
    if len(weights) != len(tasks):
        raise ConfigError(
            f"--weights was given {len(weights)} times for {len(tasks)} tasks: give it once for each, in their order"
        )
    return tuple(weights)


def parse_time(option: str, text: str | None) -> float | None:
    """``83.5``, ``1:23.5`` or ``00:01:23.5`` to seconds.

    Raises:
        ConfigError: It is no time.
    """
    if text is None:
        return None
    match = _CLOCK.fullmatch(text.strip())
    if match is None:
        raise ConfigError(f"{option} {text!r} is no time: give seconds, or HH:MM:SS.mmm")
    return int(match["hours"] or 0) * 3600 + int(match["minutes"] or 0) * 60 + float(match["seconds"])


def parse_duration(option: str, text: str | None) -> float | None:
    """``90``, ``90s``, ``10m``, ``2h`` or ``HH:MM:SS`` to seconds.

    Raises:
        ConfigError: It is no duration.
    """
    if text is None:
        return None
    match = _DURATION.fullmatch(text.strip())
    if match is not None:
        return float(match["number"]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[match["unit"]]
    try:
        return parse_time(option, text)
    except ConfigError:
        raise ConfigError(f"{option} {text!r} is no duration: give 90, 90s, 10m, 2h or HH:MM:SS") from None


def parse_rate(text: str | None) -> Fraction | None:
    """``24``, ``23.976`` or ``24000/1001`` pictures a second, exactly as it is written.

    Raises:
        ConfigError: It is no rate.
    """
    if text is None:
        return None
    if _RATE.fullmatch(text) is None or not (rate := Fraction(text)):
        raise ConfigError(f"--framerate {text!r} is no rate: give pictures a second, such as 24 or 24000/1001")
    return rate


def parse_size(text: str | None) -> tuple[int, int] | None:
    """``1920x1080`` to (height, width).

    Raises:
        ConfigError: It is no size.
    """
    if text is None:
        return None
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ConfigError(f"--video-size {text!r} is no size: give WIDTHxHEIGHT in pixels, such as 1920x1080")
    return int(match["height"]), int(match["width"])


def parse_pipe_format(option: str, text: str | None, allowed: Sequence[str]) -> str | None:
    """FFmpeg's name of what a pipe holds; ``y4m`` and ``raw`` are short for two of them.

    Raises:
        ConfigError: It is none of those that are allowed.
    """
    if text is None:
        return None
    name = _PIPE_ALIASES.get(text.lower(), text.lower())
    if name not in allowed:
        raise ConfigError(f"{option} {text!r} is no format for pipes: give one of {', '.join(allowed)}")
    return name


def parse_stages(number: int) -> Stages:
    """How many stages to run; the option's own bounds leave these three."""
    return 1 if number == 1 else 2 if number == 2 else 3


def parse_patch(text: str) -> int | None:
    """``auto`` to None, else pixels.

    Raises:
        ConfigError: It is neither.
    """
    if text.lower() == "auto":
        return None
    if not text.isdecimal() or int(text) == 0:
        raise ConfigError(f"--patch {text!r} is no size: give pixels such as 256, or auto")
    return int(text)


def parse_encoder_options(pairs: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """``key=value`` each.

    Raises:
        ConfigError: One has no ``=``, or no key.
    """
    options = list[tuple[str, str]]()
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise ConfigError(f"-e {pair!r} is no option: give KEY=VALUE, such as tune=film")
        options.append((key, value))
    return tuple(options)
