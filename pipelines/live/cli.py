"""The command ``streamrestore live``: options become streams, and how they are restored."""

from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from pipelines.options import (
    AddressOption,
    DevicesOption,
    EncoderOptionsOption,
    PatchOption,
    StrengthOption,
    WeightsOption,
)
from streamrestore.errors import ConfigError


class DropPolicyChoice(StrEnum):
    """What ``--drop-policy`` takes."""

    DEGRADE = "degrade"
    DROP_OLDEST = "drop-oldest"
    WAIT = "wait"


class TransportChoice(StrEnum):
    """What ``--rtsp-transport`` takes."""

    TCP = "tcp"
    UDP = "udp"


class LogFormatChoice(StrEnum):
    """What ``--log-format`` takes."""

    PLAIN = "plain"
    JSON = "json"


def live_command(
    context: typer.Context,
    source: Annotated[
        str | None,
        typer.Argument(
            help="What to restore: rtsp://camera/stream, or another address. ${NAME} is taken from the "
            "environment, so that passwords need not be typed."
        ),
    ] = None,
    to: Annotated[
        list[str] | None,
        typer.Option("--to", help="Where it goes: rtsp://, rtmp://, a folder for HLS (hls/), a file. May be repeated."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="Several streams, from a TOML file (docs/live.md).")
    ] = None,
    task: Annotated[
        list[str] | None,
        typer.Option("-t", "--task", help="derain, deblur, denoise, or a chain such as denoise,deblur."),
    ] = None,
    weights: WeightsOption = None,
    stages: Annotated[int, typer.Option(min=1, max=3, help="Most stages of the network that are run.")] = 3,
    strength: StrengthOption = 1.0,
    max_latency: Annotated[
        float, typer.Option("--max-latency", min=0.05, help="Seconds a frame may take to be restored.")
    ] = 1.0,
    drop_policy: Annotated[
        DropPolicyChoice,
        typer.Option(
            case_sensitive=False,
            help="Where time is short: less work for each frame, or fewer frames, or later ones.",
        ),
    ] = DropPolicyChoice.DEGRADE,
    rtsp_transport: Annotated[TransportChoice, typer.Option(case_sensitive=False)] = TransportChoice.TCP,
    audio: Annotated[bool, typer.Option("--audio/--no-audio", help="Copy the sound through.")] = True,
    codec: Annotated[
        str | None, typer.Option("-c:v", "--codec", help="h264, hevc, h264_nvenc, hevc_nvenc. Default: h264.")
    ] = None,
    crf: Annotated[int | None, typer.Option("--crf", "-crf", help="Quality, lower is better. Default: 23.")] = None,
    preset: Annotated[str | None, typer.Option("--preset", "-preset", help="Default: veryfast.")] = None,
    encoder_options: EncoderOptionsOption = None,
    devices: DevicesOption = "auto",
    workers: Annotated[
        int | None, typer.Option(min=0, help="Worker processes; 0 restores in this one, without Ray.")
    ] = None,
    address: AddressOption = None,
    precision: Annotated[str, typer.Option(help="auto, fp32, bf16 or fp16.")] = "auto",
    patch: PatchOption = "auto",
    status: Annotated[
        str | None, typer.Option("--status", metavar="HOST:PORT", help="Serve /healthz and /metrics there.")
    ] = None,
    log_format: Annotated[LogFormatChoice, typer.Option(case_sensitive=False)] = LogFormatChoice.PLAIN,
    duration: Annotated[
        str | None, typer.Option("--for", metavar="TIME", help="End after 90, 90s, 10m or 2h. Default: never.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("-y", help="Overwrite files.")] = False,
) -> None:
    """Restore live streams, such as RTSP cameras, until stopped.

    The outputs go on through every trouble of the source: the last picture is repeated, then shown under the
    words that there is no signal, until it is back.
    """
    from pipelines.arguments import (
        is_auto,
        parse_duration,
        parse_encoder_options,
        parse_patch,
        parse_stages,
        parse_tasks,
        weights_per_task,
    )
    from pipelines.live.config import load_streams, stream_of
    from pipelines.live.hiding import hide_arguments
    from pipelines.live.log import set_up_log
    from pipelines.live.run import FILL_SECONDS, LIVE_THREADS, PATIENCE, LiveOptions, run_live
    from pipelines.planning import Network
    from pipelines.pools import PoolOptions, start_pool
    from pipelines.signals import stop_on_signals
    from streamrestore.devices import choose_devices, choose_precision, find_devices
    from streamrestore.weights import find_weights

    wanted = ",".join(task or [])
    if config is not None:
        refuse_stream_options(context, config)
        streams = load_streams(config)
    else:
        if source is None or not to:
            raise ConfigError("give a source and at least one --to, such as: live rtsp://camera/stream --to hls/")
        streams = (
            stream_of(
                source,
                to,
                task=wanted,
                max_latency=max_latency,
                drop_policy=drop_policy.value,
                rtsp_transport=rtsp_transport.value,
                audio=audio,
                codec=codec,
                crf=crf,
                preset=preset,
                encoder_options=parse_encoder_options(encoder_options or []),
            ),
        )
    secrets = [secret for stream in streams for each in (stream.source, *stream.to) for secret in each.secrets]
    hide_arguments(secrets)
    set_up_log(log_format.value, secrets, background=True)
    wanted = wanted or streams[0].task
    if is_auto(wanted):
        raise ConfigError("-t auto looks through a whole video first, and a live one has no end: name the tasks")
    tasks = parse_tasks(wanted)
    seconds = parse_duration("--for", duration)
    choice = choose_devices(devices, find_devices())
    named = weights_per_task(tasks, weights or [])
    network = Network(
        models=tuple(find_weights(*each, choice.kind) for each in zip(tasks, named, strict=True)),
        device=choice.devices[0],
        precision=choose_precision(precision, choice)[0],
        stages=parse_stages(stages),
        strength=strength,
    )
    pool = PoolOptions(network, choice, workers, address, FILL_SECONDS, PATIENCE, LIVE_THREADS, claimant="live")
    options = LiveOptions(network, parse_patch(patch), status, seconds, overwrite)
    with stop_on_signals() as request:
        try:
            code = run_live(streams, options, partial(start_pool, pool), request)
        except KeyboardInterrupt:
            code = request.code
    if code:
        raise typer.Exit(code)


def refuse_stream_options(context: typer.Context, config: Path) -> None:
    """Make sure that nothing was typed which belongs to one stream, where a file says what each of them is.

    Args:
        context: Of the command.
        config: The file.

    Raises:
        ConfigError: Something was; all of it is named, and how the file calls it.
    """
    from pipelines.live.config import StreamConfig

    typed, keys = list[str](), list[str]()
    for parameter in context.command.params:
        name = parameter.name or ""
        # The task is the same for all streams, so that it may be said here, too.
        if name == "task" or name not in StreamConfig.model_fields:
            continue
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            words = parameter.secondary_opts if context.params[name] is False else parameter.opts
            typed.append(max(words, key=len) if parameter.param_type_name == "option" else f"the {name}")
            keys.append(name)
    if typed:
        raise ConfigError(
            f"--config says what each stream is: leave {_listed(typed)} out, and write {_listed(keys)} into {config}, "
            "under [[stream]] or [defaults]"
        )


def _listed(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
