"""The command line: options become plans, errors become exit codes.

Heavy modules are imported inside the commands, so that ``--help`` and ``--version`` answer at once.
"""

import logging
import os
import sys
import threading
from contextlib import suppress
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

# By default idle threads of torch's pool spin long for the next piece of work, on cores that the
# decoder, the encoder and other workers need; a short spin is as fast alone, and far faster beside
# them (benchmarks/spinning.py). It is read when torch is imported.
os.environ.setdefault("GOMP_SPINCOUNT", "30000")

import typer
from rich.console import Console
from rich.table import Table

from pipelines.archive.cli import archive_app
from pipelines.evaluate_cli import evaluate_command
from pipelines.exit_codes import ExitCode, exit_code
from pipelines.live.cli import live_command
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
    set_up_logging,
)
from pipelines.signals import keep_code, stop_on_signals
from pipelines.train_cli import train_command
from pipelines.verify_cli import verify_command
from pipelines.weights_cli import weights_app
from streamrestore import __version__
from streamrestore.errors import ConfigError, StreamRestoreError
from streamrestore.host_memory import keep_freed_memory

log = logging.getLogger(__name__)

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    help="Restore video: deblur, derain and denoise with MPRNet.",
)
app.add_typer(archive_app, name="archive")
app.add_typer(weights_app, name="weights")
app.command("evaluate")(evaluate_command)
app.command("live")(live_command)
app.command("train")(train_command)
app.command("verify")(verify_command)


class PrecisionChoice(StrEnum):
    """What ``--precision`` takes."""

    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"


class DeinterlaceChoice(StrEnum):
    """What ``--deinterlace`` takes."""

    BWDIF = "bwdif"


class OnErrorChoice(StrEnum):
    """What ``--on-error`` takes."""

    PASS = "pass"
    FAIL = "fail"


class HwaccelChoice(StrEnum):
    """What ``--hwaccel`` takes."""

    NONE = "none"
    AUTO = "auto"
    CUDA = "cuda"


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"streamrestore {__version__}")
        raise typer.Exit


@app.callback()
def streamrestore(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Restore video: deblur, derain and denoise with MPRNet."""


@app.command()
def restore(
    inputs: Annotated[
        list[Path] | None,
        typer.Argument(help="Video files, folders of them, numbered images such as shots/f_%06d.dpx, or - for a pipe."),
    ] = None,
    more_inputs: Annotated[list[Path] | None, typer.Option("-i", "--input", help="A further input.")] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="File, folder, images as out/f_%06d.png, or -. Default: INPUT.TASK.EXT."),
    ] = None,
    task: TaskOption = None,
    weights: WeightsOption = None,
    stages: StagesOption = 3,
    local_pooling: LocalPoolingOption = False,
    strength: StrengthOption = 1.0,
    devices: DevicesOption = "auto",
    workers: WorkersOption = None,
    address: AddressOption = None,
    precision: Annotated[PrecisionChoice, typer.Option(case_sensitive=False)] = PrecisionChoice.AUTO,
    patch: PatchOption = "auto",
    reuse: Annotated[
        bool,
        typer.Option("--reuse/--no-reuse", help="Take over what does not change from frame to frame; same bytes."),
    ] = True,
    reuse_threshold: Annotated[
        float,
        typer.Option(min=0, max=255, help="Also what changes by at most so many codes of 8 bits; other bytes."),
    ] = 0.0,
    codec: Annotated[
        str | None,
        typer.Option("-c:v", "--codec", help="h264, hevc, av1, ffv1, prores, h264_nvenc, ... Default: by source."),
    ] = None,
    crf: CrfOption = None,
    preset: PresetOption = None,
    pix_fmt: Annotated[
        str | None, typer.Option("--pix-fmt", "-pix_fmt", help="Another pixel format than the source's.")
    ] = None,
    encoder_options: EncoderOptionsOption = None,
    preserve: Annotated[
        bool, typer.Option("--preserve", help="A master for an archive: lossless FFV1 with checksums, in .mkv.")
    ] = False,
    pipe_format: Annotated[
        str | None, typer.Option("-f", "--format", help="Of pipes: yuv4mpegpipe, rawvideo, nut, matroska, mpegts.")
    ] = None,
    input_format: Annotated[
        str | None, typer.Option("--input-format", help="What standard input holds, if it is not the same as -f.")
    ] = None,
    framerate: Annotated[
        str | None, typer.Option("--framerate", metavar="RATE", help="Of images and raw pipes: 24 or 24000/1001.")
    ] = None,
    video_size: Annotated[
        str | None, typer.Option("--video-size", metavar="WxH", help="Of raw video on standard input.")
    ] = None,
    input_pix_fmt: Annotated[
        str | None, typer.Option("--input-pix-fmt", help="Of raw video on standard input.")
    ] = None,
    start: Annotated[
        str | None, typer.Option("--ss", "-ss", metavar="TIME", help="Begin there: seconds or HH:MM:SS.mmm.")
    ] = None,
    stop: Annotated[str | None, typer.Option("--to", "-to", metavar="TIME", help="End there.")] = None,
    deinterlace: Annotated[
        DeinterlaceChoice | None,
        typer.Option(
            case_sensitive=False, help="Make interlaced video progressive. Default: fields are restored one by one."
        ),
    ] = None,
    on_error: Annotated[
        OnErrorChoice,
        typer.Option(
            case_sensitive=False,
            help="What damaged frames are: passed on as they are, counted and named; or the end of the job.",
        ),
    ] = OnErrorChoice.PASS,
    hwaccel: Annotated[
        HwaccelChoice,
        typer.Option(
            case_sensitive=False,
            help="Decode and encode on the GPU that restores: where it can; or decode there or end the job.",
        ),
    ] = HwaccelChoice.NONE,
    restart: Annotated[bool, typer.Option("--restart", help="Forget what an interrupted run finished.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the work folder when all is done.")] = False,
    work_dir: Annotated[
        Path | None, typer.Option("--work-dir", help="Where finished segments wait. Default: OUTPUT.work beside it.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("-y", help="Overwrite outputs.")] = False,
    never_overwrite: Annotated[bool, typer.Option("-n", help="Never overwrite outputs (the default).")] = False,
    progress: ProgressOption = ProgressChoice.AUTO,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Restore video files: same streams, same times, restored pictures.

    Several inputs go one after the other through the same warm workers.
    """
    from pipelines.arguments import (
        AUTO,
        is_auto,
        parse_encoder_options,
        parse_patch,
        parse_rate,
        parse_size,
        parse_stages,
        parse_tasks,
        parse_time,
        weights_per_task,
    )
    from pipelines.outputs import plan_items
    from pipelines.pipe import plan_pipes, take_stdout
    from pipelines.planning import FileOptions, Network, PipeOutput
    from pipelines.pools import PoolOptions, start_file_workers
    from pipelines.progress import make_reporter
    from pipelines.restore import restore_files
    from streamrestore.assessor import load_assessor
    from streamrestore.devices import choose_devices, choose_precision, find_devices
    from streamrestore.encoding import EncodingRequest
    from streamrestore.opening import InputRequest
    from streamrestore.weights import find_weights, find_weights_for_all

    if reuse_threshold and not reuse:
        raise ConfigError("--no-reuse and --reuse-threshold contradict each other: give one of them")
    if overwrite and never_overwrite:
        raise ConfigError("-y and -n contradict each other: give one of them")
    set_up_logging(verbose=verbose)
    wanted = ",".join(task or [])
    tasks = () if is_auto(wanted) else parse_tasks(wanted)
    items = plan_items([*(inputs or []), *(more_inputs or [])], output, tasks or (AUTO,))
    comes, goes = plan_pipes(items, pipe_format, input_format)
    pipe = None if goes is None else PipeOutput(goes, take_stdout())
    choice = choose_devices(devices, find_devices())
    if tasks:
        named = weights_per_task(tasks, weights or [])
        models = tuple(find_weights(*each, choice.kind) for each in zip(tasks, named, strict=True))
    else:
        models = find_weights_for_all(weights or [], choice.kind)
    chosen_precision, why = choose_precision(precision, choice)
    network = Network(
        models=models,
        device=choice.devices[0],
        precision=chosen_precision,
        stages=parse_stages(stages),
        local_pooling=local_pooling,
        strength=strength,
        reuse=reuse,
        reuse_threshold=reuse_threshold,
        assessor=None if tasks else load_assessor(),
    )
    options = FileOptions(
        network=network,
        patch=parse_patch(patch),
        encoding=EncodingRequest(
            codec, crf, preset, pix_fmt, parse_encoder_options(encoder_options or []), preservation=preserve
        ),
        input=InputRequest(parse_rate(framerate), comes, parse_size(video_size), input_pix_fmt),
        pipe=pipe,
        start_seconds=parse_time("--ss", start),
        stop_seconds=parse_time("--to", stop),
        deinterlace=deinterlace is not None,
        on_error="fail" if on_error is OnErrorChoice.FAIL else "pass",
        hwaccel="none" if hwaccel is HwaccelChoice.NONE else "auto" if hwaccel is HwaccelChoice.AUTO else "cuda",
        overwrite=overwrite,
        restart=restart,
        keep=keep,
        work_dir=work_dir,
    )
    piped = any(item.piped for item in items)
    start_workers = partial(start_file_workers, PoolOptions(network, choice, workers, address), piped=piped)
    log.info("devices: %s (%s)", ", ".join(device.label() for device in choice.devices), choice.reason)
    log.info("precision: %s (%s)", chosen_precision, why)
    for model in models:
        log.info("weights: %s, SHA-256 %s, from %s", model.name, model.sha256, model.source)

    with stop_on_signals() as request, make_reporter(progress, quiet=quiet) as reporter:
        try:
            code = restore_files(items, options, start_workers, reporter, request)
        except KeyboardInterrupt:
            code = request.code
    if code is not ExitCode.DONE:
        raise typer.Exit(code)


@app.command()
def devices(
    request: Annotated[str, typer.Option("--devices", help="auto, cpu, gpu, or GPU numbers such as 0,1.")] = "auto",
) -> None:
    """Show what was found to compute on, what would be used, and why."""
    from pipelines.hardware import describe_hardware
    from streamrestore.devices import choose_devices, choose_precision, default_workers, find_devices

    found = find_devices()
    choice = choose_devices(request, found)
    precision, why = choose_precision("auto", choice)
    table = Table("device", "name", "memory", "fast bfloat16", "used")
    for device in found:
        memory = f"{device.memory_bytes / 2**30:.1f} GiB"
        used = "yes" if device in choice.devices else "no"
        table.add_row(device.label(), device.name, memory, "yes" if device.bf16 else "no", used)
    Console().print(table)
    typer.echo(f"devices: {choice.reason}")
    typer.echo(f"precision: {precision}, since {why}")
    typer.echo(f"workers: {default_workers(choice)}")
    for line in describe_hardware(choice.devices[0]):
        typer.echo(line)


def main() -> None:
    """Run the command line and end the process; the console script ``streamrestore``."""
    keep_freed_memory()
    code = run_command()
    with suppress(OSError):  # whoever read it is gone
        sys.stdout.flush()
        sys.stderr.flush()
    keep_code(code)
    if threading.active_count() > 1:
        # Imported only where such a thread may be: it loads torch, and --help answers at once.
        from workers.inline import THREAD_NAME

        if any(thread.name.startswith(THREAD_NAME) for thread in threading.enumerate()):
            # It is inside torch: the interpreter would take its ground away, and the process would end by SIGABRT.
            os._exit(code)
    sys.exit(code)


def run_command() -> int:
    """Run the command line; the exit code."""
    try:
        app()
    except StreamRestoreError as error:
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"error: {error}", markup=False)
        return exit_code(error)
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    return ExitCode.DONE
