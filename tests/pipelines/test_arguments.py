"""What users type: every accepted form, and a clear word for the rest."""

import pytest

from pipelines.arguments import parse_encoder_options, parse_patch, parse_tasks, parse_time, weights_per_task
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
