"""What a live run says while it runs: one line on stderr for each change, without secrets, in words or as JSON."""

import atexit
import copy
import io
import json
import logging
import re
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from queue import Full, Queue
from types import TracebackType
from typing import Literal, TextIO, cast

from streamrestore.live.addresses import redact

LogFormat = Literal["plain", "json"]
Part = Literal["reader", "publisher", "quality", "supervisor"]

REPEAT_SECONDS = 10.0
"""The same line comes at most once in so long: a camera that is off is asked for twice a second."""

_MOST_REMEMBERED = 1000
"""Different lines of the last seconds."""

_MOST_WAITING = 1000
"""Lines that wait to be written in the background."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_PLACED = ("stream", "part", "address", "left_out", "until")
"""Fields that have a place of their own in a plain line."""

_log = logging.getLogger("pipelines.live")

_Key = tuple[object, ...]


def note(stream: str, part: Part, event: str, *, level: int = logging.INFO, **fields: str | float | None) -> None:
    """Log one change.

    Args:
        stream: Its name; ``all`` for what concerns all.
        part: What changed.
        event: Such as ``streaming -> backoff: timeout``.
        level: Of `logging`.
        fields: What else is known; ``address`` is shown in parentheses.
    """
    _log.log(level, "%s", event, extra={"live": {"stream": stream, "part": part, **fields}})


def set_up_log(
    format: LogFormat,
    secrets: Iterable[str],
    *,
    repeat_seconds: float = REPEAT_SECONDS,
    background: bool = False,
) -> None:
    """Send what every logger says, warnings and crashes among it, to stderr as a live run's lines.

    Handlers that are there already are taken off, for they would show secrets.

    Args:
        format: ``plain`` for people, ``json`` for one object a line.
        secrets: Which no line shows.
        repeat_seconds: The same line comes at most once in so long.
        background: Whether a thread of its own writes, so that nobody waits where stderr is not read.
    """
    handler = LiveHandler(cast(TextIO, Background(sys.stderr)) if background else sys.stderr, repeat_seconds)
    handler.setFormatter(_JsonFormatter() if format == "json" else _PlainFormatter())
    handler.addFilter(SecretFilter(secrets))
    root = logging.getLogger()
    for other in root.handlers[:]:
        root.removeHandler(other)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    _log.setLevel(logging.INFO)
    logging.captureWarnings(True)
    # Python's own words for an error that nobody catches may hold an address.
    sys.excepthook = _say_crash
    threading.excepthook = _say_thread_crash
    sys.unraisablehook = _say_unraisable


class Background(io.TextIOBase):
    """A text stream that is written to by a thread of its own; what it is too far behind for is lost and counted."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._queue: Queue[str] = Queue(_MOST_WAITING)
        self._lost = 0
        threading.Thread(target=self._run, name="log", daemon=True).start()
        atexit.register(self.drain)

    def write(self, text: str) -> int:
        """Have it written soon."""
        try:
            self._queue.put_nowait(text)
        except Full:
            self._lost += 1
        return len(text)

    def drain(self, seconds: float = 1.0) -> None:
        """Wait until all is written, but not long."""
        deadline = time.monotonic() + seconds
        while self._queue.unfinished_tasks and time.monotonic() < deadline:
            time.sleep(0.005)

    def _run(self) -> None:
        while True:
            text, lost, self._lost = self._queue.get(), self._lost, 0
            with suppress(OSError, ValueError):  # nobody reads it any more
                self._stream.write(f"[{lost} lines were lost: nobody read them]\n{text}" if lost else text)
                self._stream.flush()
            self._queue.task_done()


class SecretFilter(logging.Filter):
    """Takes secrets out of all that a record holds; for a handler, so that it sees every logger's."""

    def __init__(self, secrets: Iterable[str]) -> None:
        super().__init__()
        self._secrets = tuple(secrets)

    def filter(self, record: logging.LogRecord) -> bool:
        """Take them out; every record passes."""
        record.msg, record.args = self._redact(_message(record)), None
        if record.exc_info:
            record.exc_text = record.exc_text or logging.Formatter().formatException(record.exc_info)
            record.exc_info = None
        if record.exc_text:
            record.exc_text = self._redact(record.exc_text)
        if record.stack_info:
            record.stack_info = self._redact(record.stack_info)
        if isinstance(live := getattr(record, "live", None), Mapping):
            record.live = {str(key): self._clean(value) for key, value in live.items()}
        return True

    def _redact(self, text: str) -> str:
        return redact(text, self._secrets)

    def _clean(self, value: object) -> object:
        match value:
            case bool() | int() | float() | None:
                return value
            case Mapping():
                return {self._redact(str(key)): self._clean(item) for key, item in value.items()}
            case list() | tuple():
                return [self._clean(item) for item in value]
            case _:
                return self._redact(str(value))


@dataclass(slots=True)
class _Seen:
    since: float
    left_out: int = 0


class RepeatLimiter:
    """Lets the same thing through once in a while. Passive; ``now`` is seconds on one monotonic clock."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._seen: dict[_Key, _Seen] = {}
        """In the order in which they were let through."""

    def admit(self, key: _Key, now: float) -> int | None:
        """How many like it were left out since the last one; None where this one is to be left out, too."""
        seen = self._seen.get(key)
        if seen is not None and now - seen.since < self._seconds:
            seen.left_out += 1
            return None
        self._seen.pop(key, None)
        self._seen[key] = _Seen(now)
        return seen.left_out if seen is not None else 0

    def forget(self, now: float) -> Iterator[tuple[_Key, int]]:
        """Forget what was let through long ago, and say how many like it were left out since."""
        while self._seen:
            key, seen = next(iter(self._seen.items()))
            if now - seen.since < self._seconds and len(self._seen) <= _MOST_REMEMBERED:
                return
            del self._seen[key]
            yield key, seen.left_out


class LiveHandler(logging.StreamHandler[TextIO]):
    """Writes records, but the same one only now and then; at the latest when it is closed, it says how often."""

    def __init__(
        self, stream: TextIO, repeat_seconds: float = REPEAT_SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(stream)
        self._limiter = RepeatLimiter(repeat_seconds)
        self._clock = clock
        self._left_out: dict[_Key, logging.LogRecord] = {}
        """The last one of each kind that was not written."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write it, or count it."""
        now = self._clock()
        key = _key(record)
        left_out = self._limiter.admit(key, now)
        self._catch_up(now)
        if left_out is None:
            self._left_out[key] = record
            return
        self._left_out.pop(key, None)
        super().emit(_with_fields(record, left_out=left_out) if left_out else record)

    def close(self) -> None:
        """Say what was left out, and end; may be called twice."""
        self.acquire()
        try:
            self._catch_up(float("inf"))
        finally:
            self.release()
        super().close()

    def _catch_up(self, now: float) -> None:
        """Write of what was left out and did not come again."""
        for key, left_out in self._limiter.forget(now):
            last = self._left_out.pop(key, None)
            if last is not None:
                late = _with_fields(last, left_out=left_out, until=_time(last, "seconds"))
                late.created = time.time()
                super().emit(late)


class _PlainFormatter(logging.Formatter):
    """``2026-11-28T20:44:07Z front-door reader streaming -> backoff: timeout (rtsp://***@cam/stream)``."""

    def format(self, record: logging.LogRecord) -> str:
        fields = _fields(record)
        words = [_time(record, "seconds"), fields["stream"], fields["part"], record.getMessage()]
        if fields.get("address"):
            words.append(f"({fields['address']})")
        words += [f"{key}={value}" for key, value in fields.items() if key not in _PLACED and value is not None]
        if left_out := fields.get("left_out"):
            until = f" until {fields['until']}" if "until" in fields else ""
            words.append(f"[{left_out} like it left out{until}]")
        line = _CONTROL.sub(" ", " ".join(map(str, words)))
        details = (text for text in (record.exc_text, record.stack_info) if text)
        return "\n  ".join([line, *(_CONTROL.sub(" ", row) for text in details for row in text.splitlines())])


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = _fields(record)
        known = {
            "time": _time(record, "milliseconds"),
            "level": record.levelname.lower(),
            "stream": fields["stream"],
            "part": fields["part"],
            "event": record.getMessage(),
        }
        details = {"exception": record.exc_text, "stack": record.stack_info}
        return json.dumps(fields | known | {key: text for key, text in details.items() if text})


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001 - a wrong call of another library's must neither end the run nor be lost
        return f"{record.msg} {record.args}"


def _fields(record: logging.LogRecord) -> dict[str, object]:
    live = getattr(record, "live", None)
    if isinstance(live, Mapping):
        return {"stream": "all", "part": "supervisor", **live}
    return {"stream": "all", "part": "supervisor", "logger": record.name}


def _with_fields(record: logging.LogRecord, **more: object) -> logging.LogRecord:
    record = copy.copy(record)
    record.live = _fields(record) | more
    return record


def _key(record: logging.LogRecord) -> _Key:
    fields = _fields(record)
    return record.levelno, fields["stream"], fields["part"], str(fields.get("address")), record.getMessage()


def _time(record: logging.LogRecord, precision: str) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec=precision).replace("+00:00", "Z")


def _say_crash(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    logging.getLogger().critical("ended by %s", kind.__name__, exc_info=(kind, error, trace))


def _say_thread_crash(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None and not issubclass(args.exc_type, SystemExit):
        name = args.thread.name if args.thread is not None else "unknown"
        trace = (args.exc_type, args.exc_value, args.exc_traceback)
        logging.getLogger().critical("the thread %s ended by %s", name, args.exc_type.__name__, exc_info=trace)


def _say_unraisable(args: "sys.UnraisableHookArgs") -> None:
    if args.exc_value is not None:
        trace = (args.exc_type, args.exc_value, args.exc_traceback)
        logging.getLogger().error("%s", args.err_msg or "an error was ignored", exc_info=trace)
