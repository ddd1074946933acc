"""``streamrestore archive run`` and ``retry``: options become a run.

What loads torch or Ray is imported inside the commands, so that ``--help`` answers at once.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from pipelines.archive.plan_cli import plan_command, with_options_of
from pipelines.archive.reading_cli import index_command, report_command, status_command, verify_command
from pipelines.archive.submit_cli import submit_command
from pipelines.options import (
    AddressOption,
    CrfOption,
    DevicesOption,
    EncoderOptionsOption,
    LocalPoolingOption,
    PatchOption,
    PresetOption,
    ProgressChoice,
    ProgressOption,
    QuietOption,
    StagesOption,
    StrengthOption,
    TaskOption,
    VerboseOption,
    WeightsOption,
    WorkersOption,
    WorkersPerGpuOption,
    set_up_logging,
)
from streamrestore.errors import ConfigError

archive_app = typer.Typer(no_args_is_help=True, help="Restore thousands of clips, on one machine or a cluster.")
archive_app.command("submit", context_settings={"ignore_unknown_options": True})(submit_command)
archive_app.command("status")(status_command)
archive_app.command("report")(report_command)
archive_app.command("verify")(verify_command)
archive_app.command("index")(index_command)


class OnErrorChoice(StrEnum):
    """What ``--on-error`` takes."""

    QUARANTINE = "quarantine"
    COPY_SOURCE = "copy-source"


@archive_app.command("run")
def run_command(
    context: typer.Context,
    source: Annotated[
        str, typer.Argument(metavar="SRC", help="A folder, a glob, a manifest (.jsonl, .csv, .parquet), or s3://...")
    ],
    target: Annotated[str, typer.Argument(metavar="DST", help="The folder of the results, or s3://...")],
    task: TaskOption = None,
    weights: WeightsOption = None,
    stages: StagesOption = 3,
    local_pooling: LocalPoolingOption = False,
    strength: StrengthOption = 1.0,
    devices: DevicesOption = "auto",
    workers: WorkersOption = None,
    workers_per_gpu: WorkersPerGpuOption = None,
    address: AddressOption = None,
    precision: Annotated[str, typer.Option(help="auto, fp32, bf16 or fp16.")] = "auto",
    patch: PatchOption = "auto",
    codec: Annotated[
        str | None, typer.Option("-c:v", "--codec", help="h264, hevc, av1, ffv1, ... Default: by source.")
    ] = None,
    crf: CrfOption = None,
    preset: PresetOption = None,
    encoder_options: EncoderOptionsOption = None,
    preserve: Annotated[
        bool, typer.Option("--preserve", help="Masters for an archive: lossless FFV1 with checksums, in .mkv.")
    ] = False,
    deinterlace: Annotated[
        bool, typer.Option("--deinterlace", help="Make interlaced video progressive (bwdif).")
    ] = False,
    on_error: Annotated[
        OnErrorChoice,
        typer.Option(case_sensitive=False, help="What becomes of clips that cannot be restored."),
    ] = OnErrorChoice.QUARANTINE,
    shard: Annotated[
        str | None, typer.Option("--shard", metavar="I/N", help="Only the I-th of N parts, as for Slurm arrays.")
    ] = None,
    scratch: Annotated[
        Path | None,
        typer.Option(help="On each machine's own disk, for copies of remote files."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("-y", help="Make outputs of other requests again.")] = False,
    progress: ProgressOption = ProgressChoice.AUTO,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Restore every clip of SRC into a tree like it at DST; run it again to go on, what is done is not done again."""
    _run(context.params)


archive_app.command("plan")(with_options_of(run_command, plan_command))


@archive_app.command("retry")
def retry_command(
    target: Annotated[str, typer.Argument(metavar="DST", help="The target of `archive run`.")],
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME", help="Clips, as `status` names them.")] = None,
    failed: Annotated[bool, typer.Option("--failed", help="All that are in quarantine.")] = False,
    address: AddressOption = None,
) -> None:
    """Take clips out of quarantine, and run again as the last time: where that was, or on the cluster at --address."""
    from pipelines.archive.ledger import Ledger
    from pipelines.archive.state import read_states
    from streamrestore.locations import parse_location

    if failed == bool(names):
        raise ConfigError("name the clips to try again, or give --failed for all of them")
    place = parse_location(target)
    states, ledger = read_states(place), Ledger(place)
    records = {record.source: record for record in ledger.failed()}
    unknown = [name for name in names or () if name not in records]
    if unknown:
        raise ConfigError(f"{unknown[0]} is not in quarantine: `streamrestore archive status {target}` says what is")
    for name in names or records:
        ledger.release(records[name].id)
    if not states[0].parameters["source"]:
        raise ConfigError(
            f"the clips are out of quarantine, but the source of {target} was named with a password, which is not "
            "kept: give the same `archive run` command again"
        )
    wanted = {**states[0].parameters, "target": target, "shard": None}
    if address is not None:
        if wanted["address"] is None:
            wanted["workers"] = None  # that of one machine says nothing about a cluster
        wanted["address"] = address
    _run(wanted)


def _run(parameters: dict[str, Any]) -> None:
    """Run an archive by the options of `run_command`, as they were given or as they were kept."""
    from pipelines.archive.command import RunParameters, run_archive

    wanted = RunParameters.model_validate(parameters)
    set_up_logging(verbose=wanted.verbose)
    if code := run_archive(wanted):
        raise typer.Exit(code)
