"""Lists of clips in a file, a row each, with what is asked for of each alone: JSON lines, CSV or Parquet."""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from pipelines.archive.items import AS_THE_RUN, ItemOptions
from pipelines.arguments import is_auto, parse_tasks, parse_time
from streamrestore.errors import ConfigError
from streamrestore.tasks import Stages, Task

MANIFEST_SUFFIXES = (".jsonl", ".ndjson", ".csv", ".parquet")
"""What a file is called that lists clips."""

OWN_PREFIX = "x_"
"""Begins the names of columns that are the user's own, and are not read."""

_DELIMITERS = ",;\t"
_SHOWN_LENGTH = 80
_ROWS_AT_ONCE = 4096


def _parse_tasks(value: object) -> object:
    if value is None:
        return None
    if isinstance(value, Sequence) and not isinstance(value, str):
        value = ",".join(map(str, value))
    if not isinstance(value, str):
        raise ValueError("give a task, or a chain such as denoise,deblur")
    try:
        return ("auto",) if is_auto(value) else parse_tasks(value)
    except ConfigError as error:
        raise ValueError(str(error).removeprefix("-t ")) from error


def _parse_time(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return parse_time("", value)
    except ConfigError:
        raise ValueError("give seconds, or HH:MM:SS.mmm") from None


def _parse_names(value: object) -> object:
    return tuple(name.strip() for name in value.split(",")) if isinstance(value, str) else value


_Seconds = Annotated[float, BeforeValidator(_parse_time), Field(ge=0)]


class _Row(BaseModel):
    """What a row may hold."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    source: Annotated[str, Field(min_length=1)]
    output: Annotated[str, Field(min_length=1)] | None = None
    task: Annotated[tuple[Task, ...] | tuple[Literal["auto"]] | None, BeforeValidator(_parse_tasks)] = None
    weights: Annotated[tuple[str, ...] | None, BeforeValidator(_parse_names)] = None
    strength: Annotated[float, Field(ge=0, le=1)] | None = None
    stages: Annotated[int, Field(ge=1, le=3)] | None = None
    codec: Annotated[str, Field(min_length=1)] | None = None
    crf: Annotated[int, Field(ge=0)] | None = None
    preset: Annotated[str, Field(min_length=1)] | None = None
    pix_fmt: Annotated[str, Field(min_length=1)] | None = None
    start: _Seconds | None = None
    stop: _Seconds | None = None
    deinterlace: bool | None = None

    @model_validator(mode="after")
    def _check(self) -> "_Row":
        if self.stop is not None and self.stop <= (self.start or 0):
            raise ValueError(f"stop is {self.stop:g} s, which is not after start, {self.start or 0:g} s")
        if self.weights and self.task and self.task != ("auto",) and len(self.weights) != len(self.task):
            raise ValueError(
                f"weights names {len(self.weights)} for {len(self.task)} tasks: give one for each, in order"
            )
        return self


COLUMNS = tuple(_Row.model_fields)
"""What columns may be called."""

_OPTIONS = COLUMNS[2:]


@dataclass(frozen=True, slots=True)
class ManifestRow:
    """One clip, as it is listed."""

    place: str
    """Which row it is, for messages: ``list.csv, line 7``."""
    source: str
    output: str | None
    options: ItemOptions


def read_manifest(name: str, content: bytes) -> Iterator[ManifestRow]:
    """The rows of a manifest.

    Args:
        name: Of its file; the suffix says what it is.
        content: Of its file.

    Raises:
        ConfigError: It is not what its name says, or a row is no clip; the message names it.
    """
    suffix = name[name.rfind(".") :].lower()
    rows = {".csv": _csv_rows, ".parquet": _parquet_rows}.get(suffix, _json_rows)
    for place, values in rows(name, content):
        yield _read_row(place, values)


def _json_rows(name: str, content: bytes) -> Iterator[tuple[str, Mapping[str, object]]]:
    for number, line in enumerate(content.splitlines(), 1):
        if not line.strip():
            continue
        place = f"{name}, line {number}"
        try:
            values = json.loads(line.removeprefix(b"\xef\xbb\xbf"))
        except ValueError as error:
            raise ConfigError(f'{place} is no JSON ({error}): give {{"source": "clip.mp4"}}, one a line') from error
        if not isinstance(values, dict):
            raise ConfigError(f'{place} is {_shown(values)}: give {{"source": "clip.mp4"}}, one a line')
        yield place, values


def _csv_rows(name: str, content: bytes) -> Iterator[tuple[str, Mapping[str, object]]]:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{name}, line {line} is no UTF-8: save it as UTF-8") from error
    first = text.partition("\n")[0]
    delimiter = max(_DELIMITERS, key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header, line = None, 1
    try:
        for cells in reader:
            place, line = f"{name}, line {line}", reader.line_num + 1
            if not any(cells):
                continue
            if header is None:
                header = [cell.strip() for cell in cells]
                _check_header(place, header)
            elif len(cells) > len(header):
                raise ConfigError(
                    f"{place} has {len(cells)} cells for {len(header)} columns: put quotes around those that hold "
                    f"{delimiter!r}"
                )
            else:
                yield place, {column: cell for column, cell in zip(header, cells, strict=False) if cell}
    except csv.Error as error:
        raise ConfigError(f"{name}, line {line} is no CSV: {error}") from error


def _check_header(place: str, header: Sequence[str]) -> None:
    twice = [column for column in header if header.count(column) > 1]
    if twice:
        raise ConfigError(f"{place} names the column {twice[0]!r} twice: give each once")
    if "source" not in header:
        raise ConfigError(
            f"{place} names no column 'source', but {', '.join(map(repr, header))}: the first line names the columns"
        )


def _parquet_rows(name: str, content: bytes) -> Iterator[tuple[str, Mapping[str, object]]]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise ConfigError(
            f"{name} needs a package that is not installed: pip install 'streamrestore[parquet]', or give CSV"
        ) from error
    try:
        number = 0
        for batch in pq.ParquetFile(io.BytesIO(content)).iter_batches(_ROWS_AT_ONCE):
            for values in batch.to_pylist():
                number += 1
                yield f"{name}, row {number}", {key: value for key, value in values.items() if value is not None}
    except pa.ArrowException as error:
        raise ConfigError(f"{name} is no Parquet file that can be read: {error}") from error


def _read_row(place: str, values: Mapping[str, object]) -> ManifestRow:
    known = {column: value for column, value in values.items() if not column.startswith(OWN_PREFIX)}
    try:
        row = _Row.model_validate(known)
    except ValidationError as error:
        raise ConfigError(f"{place}: {_describe(error)}") from error
    given = {column: value for column in _OPTIONS if (value := getattr(row, column)) is not None}
    if not given:
        return ManifestRow(place, row.source, row.output, AS_THE_RUN)
    options = ItemOptions(
        task=row.task,
        weights=row.weights,
        strength=row.strength,
        stages=cast(Stages | None, row.stages),
        codec=row.codec,
        crf=row.crf,
        preset=row.preset,
        pix_fmt=row.pix_fmt,
        start=row.start,
        stop=row.stop,
        deinterlace=row.deinterlace,
    )
    return ManifestRow(place, row.source, row.output, options)


def _describe(error: ValidationError) -> str:
    """What is wrong with a row, in our words."""
    first = error.errors(include_url=False)[0]
    column = str(first["loc"][0]) if first["loc"] else ""
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        return f"there is no column {column!r}: give {', '.join(COLUMNS)}; columns of your own begin with {OWN_PREFIX}"
    if first["type"] == "missing":
        return f"{column} is missing: name the clip, from the manifest's folder or as a URL"
    if not column:
        return message
    return f"{column} is {_shown(first['input'])}: {message[:1].lower()}{message[1:]}"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_LENGTH else f"{text[:_SHOWN_LENGTH]}..."
