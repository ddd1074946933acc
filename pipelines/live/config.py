"""The streams of a live run: from a TOML file, or from what was typed for one of them."""

import json
import os
import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AllowInfNan,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    ValidationInfo,
)
from pydantic_core import PydanticCustomError

from pipelines.arguments import AUTO, TASKS, parse_tasks
from streamrestore.errors import ConfigError
from streamrestore.live.addresses import Address, parse_address

DropPolicy = Literal["degrade", "drop-oldest", "wait"]
RtspTransport = Literal["tcp", "udp"]

_NAME = re.compile(r"[A-Za-z0-9._-]{1,100}")
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,40}")
_USERINFO = re.compile(r"^([a-z0-9+.-]+://)[^/?#]*@")


def _mistake(words: str) -> PydanticCustomError:
    """For a validator; the words must not hold what was given, which may be a password in the wrong place."""
    return PydanticCustomError("mistake", "{words}", {"words": words})


def _name(value: object) -> str:
    if isinstance(value, str) and _NAME.fullmatch(value):
        return value
    raise _mistake("should be at most 100 letters, digits, '.', '_' or '-'")


def _address(value: object, info: ValidationInfo) -> Address:
    if isinstance(value, Address):
        return value
    if not isinstance(value, str):
        raise _mistake("should be an address or a path, in quotes")
    folder: Path | None = (info.context or {}).get("folder")
    try:
        return parse_address(value, folder)
    except ConfigError as error:
        raise _mistake(str(error)) from None


def _addresses(value: object) -> object:
    if isinstance(value, str | Address):
        return (value,)
    if isinstance(value, list | tuple):
        return tuple(value)
    raise _mistake("should be a list of addresses and paths")


def _task(value: object) -> str:
    if value in ("", AUTO):  # of which the command says more
        return str(value)
    try:
        return ",".join(parse_tasks(str(value)))
    except ConfigError:
        raise _mistake(f"should be {', '.join(TASKS)}, or a chain of them such as denoise,deblur, each once") from None


def _encoder_options(value: object) -> object:
    if isinstance(value, tuple):
        return value
    if isinstance(value, Mapping) and all(isinstance(option, str | int | float) for option in value.values()):
        return tuple((str(key), str(option)) for key, option in value.items())
    raise _mistake('should be a table of words and numbers, such as {tune = "film"}')


class StreamConfig(BaseModel):
    """One stream: where it comes from, where it goes, and what is special about it."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)

    name: Annotated[str, PlainValidator(_name)]
    """In logs and metrics; no other stream of the run has it."""
    source: Annotated[Address, PlainValidator(_address)]
    to: Annotated[
        tuple[Annotated[Address, PlainValidator(_address)], ...], BeforeValidator(_addresses), Field(min_length=1)
    ]
    """One output or several."""
    task: Annotated[str, PlainValidator(_task)] = ""
    """A task, or a chain of them with commas between, as for `parse_tasks`; empty where it is said elsewhere."""
    max_latency: Annotated[float, Field(gt=0), AllowInfNan(False)] = 1.0
    """Seconds that a frame may take from its arrival to the outputs."""
    drop_policy: DropPolicy = "degrade"
    """What becomes of frames for which there is no time."""
    rtsp_transport: RtspTransport = "tcp"
    """How RTSP sources send."""
    codec: str | None = None
    crf: Annotated[int | None, Field(ge=0, le=63)] = None
    preset: str | None = None
    encoder_options: Annotated[tuple[tuple[str, str], ...], BeforeValidator(_encoder_options)] = ()
    """Further ones, which win over ours; in TOML a table."""
    audio: bool = True
    """Whether sound is copied through."""


class _Run(BaseModel):
    """The file as a whole."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    defaults: dict[str, object] = {}
    stream: Annotated[list[dict[str, object]], Field(min_length=1)]


def stream_of(source: str, to: Sequence[str], *, name: str = "live", **options: object) -> StreamConfig:
    """The one stream of a command.

    Args:
        source: An address or a path.
        to: The same for each output.
        name: In logs and metrics.
        options: The other fields of `StreamConfig`.

    Raises:
        ConfigError: Something is not as it may be; every mistake is named, and no secret.
    """
    fields: dict[str, object] = {"name": name, "source": source, "to": list(to), **options}
    try:
        stream = StreamConfig.model_validate(fields)
    except ValidationError as error:
        mistakes = [f"{place}: {words}" for place, words in _describe(error)]
    else:
        mistakes = _clashes([stream])
        if not mistakes:
            return stream
    # Outside of the handler: the error that is left behind there holds what was given.
    raise ConfigError("; ".join(mistakes))


def load_streams(path: Path) -> tuple[StreamConfig, ...]:
    """Read the streams of a run from a TOML file.

    Args:
        path: The file. Relative paths in it begin in its folder.

    Raises:
        ConfigError: It cannot be read, or something in it is not as it may be; every mistake is named with its place,
            and no secret.
    """
    try:
        data = tomllib.loads(path.read_bytes().decode())
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:  # neither TOML nor, perhaps, text
        reason = error.reason if isinstance(error, UnicodeDecodeError) else error
        raise ConfigError(f"{path} is no TOML: {reason}") from None
    streams, mistakes = _read(data, path.parent)
    if mistakes:
        separator = "\n  "
        count = "a mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
        raise ConfigError(f"{path} has {count}:{separator}{separator.join(mistakes)}")
    return tuple(streams)


def _read(data: Mapping[str, object], folder: Path) -> tuple[list[StreamConfig], list[str]]:
    """The streams, and all that is wrong with them."""
    try:
        run = _Run.model_validate(data)
    except ValidationError as error:
        hint = "; a stream begins with [[stream]], and what all of them share with [defaults]"
        return [], [f"{place}: {words}{hint}" for place, words in _describe(error)]
    streams = list[StreamConfig]()
    mistakes = dict[str, None]()
    for number, own in enumerate(run.stream, 1):
        try:
            streams.append(StreamConfig.model_validate({**run.defaults, **own}, context={"folder": folder}))
        except ValidationError as error:
            here = f"stream {_label(own.get('name'), number)}"
            for place, words in _describe(error):
                key = place.partition("[")[0]
                shared = key in run.defaults and key not in own
                mistakes[f"{'defaults' if shared else here}: {place}: {words}"] = None
    return streams, [*mistakes, *_clashes(streams)]


def _clashes(streams: Sequence[StreamConfig]) -> list[str]:
    """What is wrong between streams, each of which is right."""
    mistakes = list[str]()
    for name, count in Counter(stream.name for stream in streams).items():
        if count > 1:
            mistakes.append(f'stream "{name}": {count} streams have this name: give each its own')
    tasks = {stream.task: stream for stream in streams}
    if len(tasks) > 1:
        each = ", ".join(f'"{stream.name}" {task or "none"}' for task, stream in tasks.items())
        mistakes.append(f"task: all streams of a run share its workers, so all must have the same one; here are {each}")
    writers = dict[str, str]()
    for stream in streams:
        for output in stream.to:
            place = _place(output)
            if place == _place(stream.source):
                mistakes.append(f'stream "{stream.name}": to: {output} is its own source: give another output')
            if place in writers:
                mistakes.append(
                    f'stream "{stream.name}": to: {output} is written by "{writers[place]}" already: '
                    "give each output once"
                )
            writers.setdefault(place, stream.name)
    return mistakes


def _place(address: Address) -> str:
    """The same for addresses that name the same thing; never shown."""
    if address.is_network:
        return _USERINFO.sub(r"\1", address.url)
    path = Path(os.path.realpath(address.url))
    is_folder = address.url.endswith("/") or path.is_dir()
    return str(path / "index.m3u8" if is_folder else path)


def _describe(error: ValidationError) -> Iterator[tuple[str, str]]:
    """Place and words of each mistake, without what was given."""
    for mistake in error.errors(include_url=False, include_input=False, include_context=False):
        words = mistake["msg"].replace("Input should be", "should be")
        match mistake["type"]:
            case "missing":
                words = "is missing"
            case "extra_forbidden":
                allowed = _Run if error.title == _Run.__name__ else StreamConfig
                words = f"is unknown: there are {', '.join(allowed.model_fields)}"
            case "too_short":
                words = "is empty: give at least one"
        yield _where(mistake["loc"]), words


def _where(place: Iterable[int | str]) -> str:
    """``to[2]``: from 1, as people count; keys that could be anything are not shown."""
    words = ""
    for part in place:
        if isinstance(part, int):
            words += f"[{part + 1}]"
        else:
            words += ("." if words else "") + (part if _KEY.fullmatch(part) else "a key")
    return words


def _label(name: object, number: int) -> str:
    return json.dumps(name) if isinstance(name, str) and _NAME.fullmatch(name) else str(number)
