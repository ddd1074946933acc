"""``streamrestore evaluate``: how near restoration comes to what should be there, in the field's own measures.

What loads torch is imported inside the commands, so that ``--help`` answers at once.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from streamrestore.errors import ConfigError, OutputError

if TYPE_CHECKING:
    from pipelines.evaluation_sets import EvaluationSet
    from streamrestore.pairs import Pair

NOTHING = "none"
"""The task of comparing things as they are."""


def evaluate_command(
    data: Annotated[
        list[Path],
        typer.Argument(
            help="Folders, each with input/ and target/ (matched by name), or of clean pictures or videos; "
            "or two files: the degraded one and its target."
        ),
    ],
    task: Annotated[
        str,
        typer.Option(
            "-t", "--task", help="derain, deblur, denoise, a chain; or none, which compares things as they are."
        ),
    ],
    weights: Annotated[
        list[str] | None,
        typer.Option("--weights", help="Name (see: weights list) or file; once for each task of a chain."),
    ] = None,
    stages: Annotated[int, typer.Option(min=1, max=3, help="Stages of the network: 1 is fastest, 3 best.")] = 3,
    local_pooling: Annotated[
        bool, typer.Option("--local-pooling", help="Whole frames, attention pooled as in training (TLC).")
    ] = False,
    self_ensemble: Annotated[
        bool,
        typer.Option(
            "--self-ensemble",
            help="The mean over eight flips and turns; of derain over four, since rain falls.",
        ),
    ] = False,
    noise: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="SIGMA",
            help="Add Gaussian noise to clean pictures: SIGMA in 8-bit codes, then rounded and clipped to 8 bits.",
        ),
    ] = None,
    blur: Annotated[bool, typer.Option("--blur", help="Blur clean pictures, by motion as in training.")] = False,
    seed: Annotated[int, typer.Option(help="Of --noise and --blur, together with each file's name.")] = 0,
    measure: Annotated[
        Literal["Y", "RGB"] | None,
        typer.Option(case_sensitive=False, help="What PSNR and SSIM are of. Default: Y for derain, else RGB."),
    ] = None,
    device: Annotated[str, typer.Option("--device", "--devices", help="auto, cpu, or the number of a GPU.")] = "auto",
    precision: Annotated[Literal["auto", "fp32", "bf16", "fp16"], typer.Option(case_sensitive=False)] = "auto",
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write every figure of every pair and frame.")
    ] = None,
    pictures: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write before | after | target of each pair; of a video, its worst frame."),
    ] = None,
) -> None:
    """Measure PSNR and SSIM of degraded pictures and videos, before and after restoration.

    Clean data without --noise and --blur tell what restoration does to what needs none. SSIM is
    taken with a Gaussian window of 11x11 px and sigma 1.5; Y is luma of BT.601, rounded to 8
    bits. Of videos, flicker is measured too: how much of luma changes from frame to frame, in
    8-bit codes, where the target stands still.
    """
    from pipelines.arguments import AUTO, parse_stages, parse_tasks, weights_per_task
    from pipelines.evaluation_report import MeasuredSet, Setting, document, table_of, write_document
    from pipelines.evaluation_sets import Degrading, find_sets
    from streamrestore.devices import CPU_THREADS, choose_devices, choose_precision, find_devices
    from streamrestore.evaluation import Outcome, default_measure, evaluate
    from streamrestore.identity import describe_environment
    from streamrestore.pairs import FrameRestorer, unrestored
    from streamrestore.restorer import RestorerSettings
    from streamrestore.side_by_side import side_by_side, write_png
    from streamrestore.weights import find_weights

    if task.lower() == AUTO:
        raise ConfigError("-t auto chooses for each shot: name what is to be measured, a task, a chain or none")
    tasks = () if task.lower() == NOTHING else parse_tasks(task)
    if not tasks and (weights or local_pooling or self_ensemble):
        raise ConfigError("-t none runs no network: leave --weights, --local-pooling and --self-ensemble out")
    sets = find_sets(data, Degrading(noise, blur, seed))
    choice = choose_devices(device, find_devices())
    named = weights_per_task(tasks, weights or [])
    models = tuple(find_weights(*each, choice.kind) for each in zip(tasks, named, strict=True))
    used = choice.devices[0]
    settings = RestorerSettings(
        used.label(),
        choose_precision(precision, choice)[0],
        parse_stages(stages),
        local_pooling,
        threads=CPU_THREADS if choice.kind == "cpu" else 0,
        self_ensemble=self_ensemble,
    )
    restore = FrameRestorer(models, settings, choice.devices[0]) if tasks else unrestored
    of = measure or default_measure(tasks)
    _prepare_places(sets, json_file, pictures)

    measured = list[MeasuredSet]()
    with Progress(console=Console(stderr=True), transient=True) as bar:
        for pair in bar.track([pair for each in sets for pair in each.pairs], description="checking"):
            pair.check()
        for each in sets:
            outcomes = list[Outcome]()
            for pair in bar.track(each.pairs, description=escape(each.name)):
                outcome, worst = evaluate(pair, restore, of)
                outcomes.append(outcome)
                if pictures is not None:
                    shown = (worst.degraded, worst.restored, worst.target)
                    write_png(side_by_side(shown if tasks else shown[::2]), _picture_of(pair, each, pictures))
            measured.append(MeasuredSet(each, tuple(outcomes)))
    Console().print(table_of(measured, of, restored=bool(tasks)))
    if json_file is not None:
        setting = Setting(tasks, models, settings, of, describe_environment(used))
        write_document(json_file, document(measured, setting))


def _picture_of(pair: "Pair", measured: "EvaluationSet", pictures: Path) -> Path:
    return pictures / measured.name / f"{pair.name}.png"


def _prepare_places(sets: "Sequence[EvaluationSet]", json_file: Path | None, pictures: Path | None) -> None:
    """See that results can be written, before hours of work.

    Raises:
        OutputError: They cannot, or would replace what is measured.
    """
    inputs = {file.resolve() for each in sets for pair in each.pairs for file in pair.files}
    places = [] if json_file is None else [json_file]
    if pictures is not None:
        places += [_picture_of(pair, each, pictures) for each in sets for pair in each.pairs]
    for place in places:
        if place.resolve() in inputs:
            raise OutputError(f"{place} is itself measured and would be replaced; name another place")
    if json_file is not None and json_file.is_dir():
        raise OutputError(f"{json_file} cannot be written: it is a folder; name a file in it")
    if json_file is not None and not json_file.parent.is_dir():
        raise OutputError(f"{json_file} cannot be written: there is no folder {json_file.parent}; make it")
    if pictures is not None:
        try:
            for each in sets:
                (pictures / each.name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{pictures} is no place for pictures: {error.strerror}; name another folder") from error
