"""A live run's log: one line for each change, in words or as JSON, without secrets and without floods."""

import io
import json
import logging
import re
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from pipelines.live.log import LiveHandler, LogFormat, RepeatLimiter, SecretFilter, note, set_up_log
from streamrestore.live.addresses import parse_address

ADDRESS = parse_address("rtsp://admin:pass%2Fword@cam/stream")
SECRETS = ADDRESS.secrets

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def log_as_before() -> Iterator[None]:
    """What `set_up_log` changes is changed back."""
    root, live = logging.getLogger(), logging.getLogger("pipelines.live")
    handlers, levels = root.handlers[:], (root.level, live.level)
    hooks = sys.excepthook, threading.excepthook, sys.unraisablehook
    yield
    for handler in root.handlers[:]:
        root.removeHandler(handler)
        if handler not in handlers:
            handler.close()
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(levels[0])
    live.setLevel(levels[1])
    logging.captureWarnings(False)
    sys.excepthook, threading.excepthook, sys.unraisablehook = hooks


def lines(capture: Capture) -> list[str]:
    captured = capture.readouterr()
    assert captured.out == ""
    return captured.err.splitlines()


def objects(capture: Capture) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines(capture)]


def test_a_plain_line(capsys: Capture) -> None:
    set_up_log("plain", SECRETS)
    note("front-door", "reader", "streaming -> backoff: timeout", address=str(ADDRESS))
    note("yard", "quality", "2 of 3 stages", workers=4, why=None)
    first, second = lines(capsys)
    time = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
    assert re.fullmatch(
        time + re.escape(" front-door reader streaming -> backoff: timeout (rtsp://***@cam/stream)"), first
    )
    assert re.fullmatch(f"{time} yard quality 2 of 3 stages workers=4", second)


def test_a_line_of_json(capsys: Capture) -> None:
    set_up_log("json", SECRETS)
    note("front-door", "publisher", "publishing -> backoff", level=logging.WARNING, address=str(ADDRESS), attempts=3)
    (line,) = objects(capsys)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
    assert line == {
        "level": "warning",
        "stream": "front-door",
        "part": "publisher",
        "event": "publishing -> backoff",
        "address": "rtsp://***@cam/stream",
        "attempts": 3,
    }


@pytest.mark.parametrize("format", ["plain", "json"])
def test_no_line_shows_a_secret(capsys: Capture, format: LogFormat) -> None:
    set_up_log(format, [*SECRETS, 'quo"te', "schlüssel"])
    foreign = logging.getLogger("some.library")
    try:
        raise ConnectionRefusedError(111, "refused", ADDRESS.url)
    except ConnectionRefusedError as error:
        foreign.exception("cannot open %s: %s", ADDRESS.url, error)
        note("front-door", "reader", f"failed: {error}", address=ADDRESS.url, words='quo"te')
    foreign.warning("password %(password)s", {"password": "pass/word"}, stack_info=True)
    nested = {"secrets": ["schlüssel", {'quo"te': ("pass/word", 1)}], "error": ValueError(ADDRESS.url)}
    logging.getLogger("pipelines.live").info("nested", extra={"live": nested})
    foreign.warning("not %d", "pass/word")
    with pytest.warns(UserWarning, match="x"):  # what pytest itself records is not written
        warnings.warn("x", stacklevel=1)
    warnings.showwarning(ADDRESS.url, UserWarning, "file.py", 1)
    text = "\n".join(lines(capsys))
    assert "refused" in text
    assert "Traceback" in text
    assert "nested" in text
    assert "not %d" in text
    assert "UserWarning" in text
    for secret in ("pass/word", "pass%2Fword", "quo", "schl", "admin"):
        assert secret not in text


def test_crashes_are_lines_without_secrets(capsys: Capture) -> None:
    set_up_log("json", SECRETS)

    def crash() -> None:
        raise RuntimeError(ADDRESS.url)

    thread = threading.Thread(target=crash, name="worker")
    thread.start()
    thread.join()
    try:
        crash()
    except RuntimeError as error:
        sys.excepthook(type(error), error, error.__traceback__)

    class Ill:
        def __del__(self) -> None:
            crash()

    Ill()
    told = objects(capsys)
    assert [line["event"] for line in told] == [
        "the thread worker ended by RuntimeError",
        "ended by RuntimeError",
        "an error was ignored",
    ]
    assert all("RuntimeError: rtsp://***@cam/stream" in line["exception"] for line in told)


def test_other_loggers_are_heard_from_warnings_on_and_named(capsys: Capture) -> None:
    set_up_log("plain", ())
    logging.getLogger("some.library").info("chatter")
    logging.getLogger("some.library").warning("trouble")
    (line,) = lines(capsys)
    assert line.endswith("Z all supervisor trouble logger=some.library")


def test_a_handler_from_before_says_nothing_any_more(capsys: Capture) -> None:
    logging.getLogger().addHandler(logging.StreamHandler())
    set_up_log("plain", SECRETS)
    set_up_log("plain", SECRETS)
    note("a", "reader", ADDRESS.url)
    assert len(lines(capsys)) == 1


def test_what_the_other_side_says_stays_on_its_line(capsys: Capture) -> None:
    set_up_log("plain", ())
    note("a", "reader", "backoff: 404\r\n2026-01-01T00:00:00Z b reader \x1b[31mstreaming")
    (line,) = lines(capsys)
    assert line.endswith("a reader backoff: 404 2026-01-01T00:00:00Z b reader  [31mstreaming")


class Clocked:
    """A handler that writes into a text, by a clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0
        self._text = io.StringIO()
        self.handler = LiveHandler(self._text, 10.0, lambda: self.now)
        self.handler.setFormatter(logging.Formatter("%(message)s %(live)s"))
        self.handler.addFilter(SecretFilter(["secret"]))

    def say(self, event: str, stream: str = "a", address: str | None = None) -> None:
        record = logging.LogRecord("x", logging.INFO, "x.py", 1, event, (), None)
        record.live = {"stream": stream, "part": "reader"} | ({"address": address} if address else {})
        self.handler.handle(record)

    def written(self) -> list[str]:
        text = self._text.getvalue()
        self._text.seek(0)
        self._text.truncate()
        return [re.sub(r"20\S+Z", "TIME", line) for line in text.splitlines()]


def test_the_same_line_comes_once_in_a_while_with_the_number_left_out() -> None:
    log = Clocked()
    for second in range(25):
        log.now = float(second)
        log.say("refused")
    fields = "{'stream': 'a', 'part': 'reader'"
    assert log.written() == [
        f"refused {fields}}}",
        f"refused {fields}, 'left_out': 9}}",
        f"refused {fields}, 'left_out': 9}}",
    ]
    log.now = 40.0
    log.say("streaming")
    late, streaming = log.written()
    assert late == f"refused {fields}, 'left_out': 4, 'until': 'TIME'}}"
    assert streaming == f"streaming {fields}}}"
    log.say("streaming")
    log.handler.close()
    log.handler.close()
    assert log.written() == [f"streaming {fields}, 'left_out': 1, 'until': 'TIME'}}"]


def test_lines_of_other_streams_and_outputs_are_not_the_same() -> None:
    log = Clocked()
    log.say("refused", "a")
    log.say("refused", "b")
    log.say("refused", "b", "rtsp://one")
    log.say("refused", "b", "rtsp://two")
    assert len(log.written()) == 4


def test_the_number_left_out_is_readable(capsys: Capture) -> None:
    set_up_log("plain", (), repeat_seconds=1000.0)
    for _ in range(5):
        note("a", "reader", "refused")
    logging.getLogger().handlers[0].close()
    first, second = lines(capsys)
    assert first.endswith("Z a reader refused")
    assert re.search(r"Z a reader refused \[4 like it left out until 20\d\d-\S+Z\]$", second)


def test_a_flood_of_different_lines_is_not_remembered_for_ever() -> None:
    limiter = RepeatLimiter(10.0)
    for number in range(5000):
        assert limiter.admit((number,), 0.0) == 0
        list(limiter.forget(0.0))
    assert limiter.admit((4999,), 0.0) is None
    assert limiter.admit((0,), 0.0) == 0
    assert sum(1 for _ in limiter.forget(10.0)) <= 1001


def test_a_stderr_that_nobody_reads_holds_nobody_up() -> None:
    program = """
import sys, time
from pipelines.live.log import note, set_up_log
set_up_log("plain", [], background=True)
begun = time.monotonic()
for number in range(5000):
    note("cam", "reader", f"line {number} " + 100 * "x")
sys.stdout.write(f"{time.monotonic() - begun}\\n")
sys.stdout.flush()
sys.stdin.readline()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert float(process.stdout.readline()) < 60, "it did not wait for ever"
    _, said = process.communicate("\n", timeout=60)
    assert "line 0 " in said
    assert "lines were lost" in said
