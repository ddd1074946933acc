"""What users type: every accepted form, and a clear word for the rest."""

from fractions import Fraction

import pytest

from pipelines.arguments import (
    is_auto,
    parse_encoder_options,
    parse_patch,
    parse_pipe_format,
    parse_rate,
    parse_size,
    parse_tasks,
    parse_time,
    weights_per_task,
)
from streamrestore.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("83.5", 83.5), (".5", 0.5), ("1:23.5", 83.5), ("00:01:23.5", 83.5), ("2:00:00", 7200), (None, None)],
)
def test_times(text: str | None, seconds: float | None) -> None:
    assert parse_time("--ss", text) == seconds


@pytest.mark.parametrize("text", ["", "abc", "-1", "1:2:3:4", "1m", "5,5"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--to .* is no time"):
        parse_time("--to", text)


def test_tasks_keep_their_order_and_ignore_case() -> None:
    assert parse_tasks("derain") == ("derain",)
    assert parse_tasks("Denoise, deblur") == ("denoise", "deblur")


@pytest.mark.parametrize(("text", "word"), [("", "names no task"), ("dehaze", "dehaze"), ("derain,derain", "twice")])
def test_unknown_tasks_are_named_with_the_known_ones(text: str, word: str) -> None:
    with pytest.raises(ConfigError, match=rf"{word}.*derain, deblur, denoise"):
        parse_tasks(text)


def test_auto_stands_alone() -> None:
    assert is_auto(" Auto ")
    assert not is_auto("derain,deblur")
    assert not is_auto("")
    for text in ("auto,derain", "denoise,auto", "auto,auto"):
        with pytest.raises(ConfigError, match="auto chooses the tasks itself: give it alone"):
            is_auto(text)


def test_weights_go_with_their_tasks() -> None:
    assert weights_per_task(("derain", "deblur"), []) == (None, None)
    assert weights_per_task(("derain", "deblur"), ["a", "b"]) == ("a", "b")
    with pytest.raises(ConfigError, match="1 times for 2 tasks"):
        weights_per_task(("derain", "deblur"), ["a"])


def test_patches() -> None:
    assert parse_patch("auto") is None
    assert parse_patch("256") == 256
    for bad in ("0", "-8", "big", "1.5"):
        with pytest.raises(ConfigError, match="is no size"):
            parse_patch(bad)


def test_encoder_options() -> None:
    assert parse_encoder_options(["tune=film", "x264-params=a=b"]) == (("tune", "film"), ("x264-params", "a=b"))
    for bad in ("tune", "=film"):
        with pytest.raises(ConfigError, match="KEY=VALUE"):
            parse_encoder_options([bad])


@pytest.mark.parametrize(
    ("text", "rate"), [("24", 24), ("23.976", Fraction(2997, 125)), ("24000/1001", Fraction(24000, 1001)), (None, None)]
)
def test_rates_are_exact(text: str | None, rate: Fraction | None) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "0", "fast", "-24", "24/0", "1e3"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is no rate: give pictures a second"):
        parse_rate(text)


def test_sizes_are_width_by_height() -> None:
    assert parse_size("1920x1080") == (1080, 1920)
    assert parse_size(None) is None
    for text in ("1920", "1920x", "0x10", "10X10", "10x10x10"):
        with pytest.raises(ConfigError, match="is no size: give WIDTHxHEIGHT"):
            parse_size(text)


def test_formats_of_pipes_have_short_names() -> None:
    assert parse_pipe_format("-f", "Y4M", ["yuv4mpegpipe", "nut"]) == "yuv4mpegpipe"
    assert parse_pipe_format("-f", None, []) is None
    with pytest.raises(ConfigError, match="-f 'avi' is no format for pipes: give one of nut"):
        parse_pipe_format("-f", "avi", ["nut"])
