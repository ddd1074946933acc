"""``streamrestore archive submit``: a run as a job of a Ray cluster, from any machine that reaches its dashboard.

What loads Ray is imported inside the command, so that ``--help`` answers at once.
"""

import hashlib
import re
import shlex
import sys
from collections.abc import Iterable
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from pipelines.exit_codes import ExitCode
from streamrestore.errors import ConfigError, StreamRestoreError, WorkerLostError
from streamrestore.locations import parse_location

if TYPE_CHECKING:
    from workers.archive.jobs import JobEnd

_VARIABLE = re.compile(r"\$\{\w+\}")

_NO_SUCH_COMMAND = 127
"""What a shell ends with that does not find a command."""


def submit_command(
    context: typer.Context,
    arguments: Annotated[
        list[str], typer.Argument(metavar="SRC DST [OPTIONS OF RUN]", help="As of `archive run`, but for --address.")
    ],
    address: Annotated[
        str,
        typer.Option(envvar="RAY_API_SERVER_ADDRESS", metavar="URL", help="Of the dashboard: http://head:8265"),
    ],
    name: Annotated[
        str | None,
        typer.Option("--id", metavar="NAME", help="Of the job; one runs at a time. Default: after DST and --shard."),
    ] = None,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Do not stay until it ends.")] = False,
) -> None:
    """Run `archive run` on a cluster, as a job of Ray's: shows its log, and ends with its exit code.

    Paths are those of the cluster's machines. Submit the same again after any end, and it goes on.
    """
    entrypoint, target, shard = make_entrypoint(context, arguments)
    code = _submit(address, name or default_name(target, shard), entrypoint, target, wait=not no_wait)
    if code:
        raise typer.Exit(code)


def make_entrypoint(context: typer.Context, arguments: list[str]) -> tuple[str, str, str | None]:
    """The command of a job, its target and its shard, from what was given here; checked as `run` would.

    Raises:
        ConfigError: It must not be shown, or is wrong.
    """
    from pipelines.archive.command import RunParameters, from_anywhere

    archive = context.parent
    run = archive.command.get_command(archive, "run") if archive and isinstance(archive.command, TyperGroup) else None
    if archive is None or run is None:
        raise RuntimeError("`run` is a command beside this one")
    parsed = run.make_context(f"{archive.command_path} run", list(arguments))
    wanted = RunParameters.model_validate(parsed.params)
    for text in (wanted.source, wanted.target):
        _check_may_be_shown(text)
    settled = from_anywhere(wanted)
    places = {"weights": settled.weights, "scratch": settled.scratch, "address": "auto"}
    words = ["streamrestore", "archive", "run", settled.source, settled.target]
    for parameter in run.params:
        key = parameter.name or ""
        source = parsed.get_parameter_source(key)
        given = source is not None and source.name == "COMMANDLINE"
        if parameter.param_type_name == "option" and (given or key == "address"):
            words += _words(parameter.opts, places.get(key, parsed.params[key]))
    return shlex.join(words), settled.target, wanted.shard


def _words(names: list[str], value: Any) -> list[str]:  # noqa: ANN401 - any option's
    """A parameter, as a command line has it: its name and its value, once for each value."""
    values: Iterable[Any] = value if isinstance(value, list | tuple) else [value]
    words = list[str]()
    for each in values:
        words += [names[0]] if each is True else [names[0], str(each.value if isinstance(each, Enum) else each)]
    return words


def _check_may_be_shown(text: str) -> None:
    """Refuse an address that holds what nobody must see.

    Raises:
        ConfigError: It does.
    """
    shown = parse_location(_VARIABLE.sub("x", text))
    if shown.secrets:
        raise ConfigError(
            f"{shown} holds a password or a signature, and a job's command is shown to all who may look at the "
            "dashboard: put the address into a manifest"
        )


def default_name(target: str, shard: str | None) -> str:
    """What runs on a target are called, from whatever machine they are submitted."""
    digest = hashlib.sha256(f"{target.rstrip('/')}\0{shard or ''}".encode()).hexdigest()[:8]
    last = re.sub(r"[^A-Za-z0-9]+", "-", target.rstrip("/").rpartition("/")[2]).strip("-").lower()
    part = "" if shard is None else f"-{shard.replace('/', '-of-')}"
    return "-".join(word for word in ("archive", last[:40], digest) if word) + part


def _submit(address: str, name: str, entrypoint: str, target: str, *, wait: bool) -> int:
    from workers.archive.jobs import JobClient

    client = JobClient(address)
    job = client.submit(entrypoint, name)
    _tell(f"job {job} on {address}: {entrypoint}")
    hint = f"see `ray job logs --follow {job} --address {address}`, and `ray job stop` to stop it"
    if not wait:
        _tell(f"it goes on by itself: {hint}")
        return ExitCode.DONE
    try:
        end = client.follow(job, _say)
    except KeyboardInterrupt:
        _tell(f"{job} goes on without this terminal: {hint}")
        return ExitCode.INTERRUPTED
    except WorkerLostError:
        # It may have ended all the same.
        if (code := _kept_code(target, job)) is None:
            raise
        return code
    return _code_of(end, job, target)


def _code_of(end: "JobEnd", job: str, target: str) -> int:
    """The exit code of a job that has ended.

    Raises:
        WorkerLostError: It was killed.
    """
    if end.stopped:
        return ExitCode.TERMINATED
    code = end.code if end.code is not None else _kept_code(target, job)
    if code == _NO_SUCH_COMMAND:
        raise WorkerLostError(
            "the cluster's head does not find the command streamrestore: start Ray there from an environment that has "
            "it in its PATH"
        )
    if code not in set(ExitCode):
        raise WorkerLostError(
            f"the process of {job} was killed: {end.message}; what is finished stays: submit it again, and it goes on"
        )
    return code


def _kept_code(target: str, job: str) -> int | None:
    """What a job said itself, in its target; None where it did not, or that cannot be read from here."""
    from pipelines.archive.state import read_states

    try:
        states = read_states(parse_location(target))
    except StreamRestoreError:
        return None
    return next((state.exit_code for state in states if state.job == job), None)


def _say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _tell(text: str) -> None:
    sys.stderr.write(f"{text}\n")
