"""Progress as people and programs read it."""

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.engine import Progress, StageLoad
from pipelines.progress import Finished, describe_finished, describe_load, make_reporter

LOAD = StageLoad(0.12, 0.963, 0.41)
FINISHED = Finished(Path("in.mp4"), Path("out.mp4"), Progress(60, 25.0, LOAD))


def test_the_load_names_every_stage() -> None:
    assert describe_load(LOAD) == "decode 12 % · restore 96 % · encode 41 %"


def test_plain_lines_are_few_and_say_what_is_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    from pipelines.progress import _Plain

    with _Plain(lambda: now[0]) as reporter:
        reporter.begin(Path("in.mp4"), Path("out.mp4"), 100)
        for tenth in range(120):
            now[0] = tenth / 10
            reporter.update(Progress(tenth // 2, now[0], LOAD))
        reporter.note("something will be lost")
        reporter.finish(FINISHED)
    out, err = capsys.readouterr()
    assert err.splitlines() == [
        "25/100 frames  5.00 fps  eta 15 s  decode 12 % · restore 96 % · encode 41 %",
        "50/100 frames  5.00 fps  eta 10 s  decode 12 % · restore 96 % · encode 41 %",
        "something will be lost",
    ]
    assert out.splitlines() == [
        "out.mp4: 60 frames in 25.0 s, 2.40 fps (restore is the bottleneck: decode 12 % · restore 96 % · encode 41 %)"
    ]


def test_a_look_at_the_footage_is_shown_as_such(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines.progress import _Json, _Plain

    now = [0.0]
    for reporter in (_Plain(lambda: now[0]), _Json(lambda: now[0])):
        now[0] = 0.0
        with reporter:
            reporter.look(Path("in.mp4"), 100)
            now[0] = 6.0
            reporter.update(Progress(50, 5.0, LOAD))
            reporter.begin(Path("in.mp4"), Path("out.mp4"), 100)
            now[0] = 12.0
            reporter.update(Progress(50, 5.0, LOAD))
    out, err = capsys.readouterr()
    assert err.splitlines()[:2] == [
        "in.mp4: looking at the footage",
        "50/100 frames  10.00 fps  eta 5 s  looking",
    ]
    assert "decode 12 %" in err.splitlines()[2]
    assert [json.loads(line)["event"] for line in out.splitlines()] == ["look", "looking", "begin", "progress"]


def test_what_needed_nothing_is_said() -> None:
    assert "60 frames in 25.0 s" in describe_finished(FINISHED)
    assert "60 frames, 12 of which needed no restoring, in 25.0 s" in describe_finished(replace(FINISHED, untouched=12))
    resumed = replace(FINISHED, frames_before=40, untouched=100)
    assert "60 frames (and 40 before), none of which needed restoring, in 25.0 s" in describe_finished(resumed)


def test_an_unknown_length_has_no_eta(capsys: pytest.CaptureFixture[str]) -> None:
    from pipelines.progress import _Plain

    now = [0.0]
    with _Plain(lambda: now[0]) as reporter:
        reporter.begin(Path("in.mp4"), Path("out.mp4"), None)
        now[0] = 6.0
        reporter.update(Progress(0, 6.0, LOAD))
    assert capsys.readouterr().err == "0 frames  0.00 fps  the first frames are on their way\n"


def test_json_lines_are_complete(capsys: pytest.CaptureFixture[str]) -> None:
    with make_reporter("json", quiet=False) as reporter:
        reporter.begin(Path("in.mp4"), Path("out.mp4"), 100)
        reporter.note("moved by 0.2 s")
        reporter.finish(FINISHED)
        reporter.fail(Path("bad.mp4"), "no video")
    out, err = capsys.readouterr()
    events = [json.loads(line) for line in out.splitlines()]
    assert [event["event"] for event in events] == ["begin", "note", "done", "failed"]
    assert events[2]["bottleneck"] == "restore"
    assert err == "error: bad.mp4: no video\n"


@pytest.mark.parametrize(("mode", "quiet"), [("none", False), ("plain", True), ("json", True)])
def test_silence_still_says_errors(capsys: pytest.CaptureFixture[str], mode: str, quiet: bool) -> None:
    with make_reporter(mode, quiet=quiet) as reporter:
        reporter.begin(Path("in.mp4"), Path("out.mp4"), 100)
        reporter.note("a note")
        reporter.finish(FINISHED)
        reporter.fail(Path("bad.mp4"), "no video [in brackets]")
    assert capsys.readouterr() == ("", "error: bad.mp4: no video [in brackets]\n")


def test_the_live_line_can_be_drawn_and_ended(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with make_reporter("auto", quiet=False) as reporter:
        reporter.begin(Path("[raw] in.mp4"), Path("out.mp4"), 100)
        reporter.update(Progress(50, 10.0, LOAD))
        drawn, deadline = "", time.monotonic() + 30
        while "50/100 frames" not in drawn and time.monotonic() < deadline:
            drawn += capsys.readouterr().err
            time.sleep(0.05)
        reporter.finish(FINISHED)
        reporter.fail(Path("bad.mp4"), "no video")
    out, err = capsys.readouterr()
    assert "50/100 frames" in drawn
    assert "[raw] in.mp4" in drawn
    assert "out.mp4: 60 frames" in out
    assert "no video" in err
