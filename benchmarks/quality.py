"""How well do the shipped weights restore? PSNR and SSIM by the field's protocols, on sets never trained on.

As ``streamrestore evaluate`` measures: Y for deraining, else RGB, through the product's own
restorer. First each network as it is used, then what its settings change. What results/quality.json
has already, of the same weights file and setting, is not measured again, so an interrupted run
goes on where it was.
"""

import argparse
import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "30000")

from _record import RESULTS, commit, data_folder, record

from pipelines.evaluation_sets import Degrading, find_sets
from streamrestore.checkpoint import read_checkpoint
from streamrestore.devices import CPU_THREADS, Device, Precision, choose_devices, find_devices
from streamrestore.evaluation import default_measure, evaluate, mean_score
from streamrestore.pairs import FrameRestorer
from streamrestore.restorer import RestorerSettings
from streamrestore.tasks import Task
from streamrestore.weights import WeightsEntry, list_weights


@dataclass(frozen=True)
class TestSet:
    """What is measured on."""

    name: str
    folder: str
    degrading: Degrading = Degrading()  # noqa: RUF009 - frozen


SETS: dict[Task, tuple[TestSet, ...]] = {
    "derain": (TestSet("rain100l", "rain100l"), TestSet("rain100h", "rain100h")),
    "denoise": (
        TestSet("cbsd68, sigma 15", "cbsd68", Degrading(noise=15)),
        TestSet("cbsd68, sigma 25", "cbsd68", Degrading(noise=25)),
        TestSet("cbsd68, sigma 50", "cbsd68", Degrading(noise=50)),
        TestSet("polyu", "polyu"),
    ),
    "deblur": (TestSet("gopro", "gopro"), TestSet("cbsd68, motion blur", "cbsd68", Degrading(blur=True))),
}

HARM = TestSet("cbsd68, clean", "cbsd68")
"""For every task: clean pictures should come out as they went in."""


@dataclass(frozen=True)
class Row:
    """Means over the pairs of one set; PSNR in dB."""

    weights: str
    sha256: str
    task: Task
    set: str
    pairs: int
    measure: str
    stages: int
    local_pooling: bool
    self_ensemble: bool
    precision: str
    psnr_input: float
    psnr_restored: float
    ssim_input: float
    ssim_restored: float
    commit: str
    """Of the code that measured it."""

    def __str__(self) -> str:
        setting = [f"{self.stages} stages", self.precision]
        setting += ["local pooling"] * self.local_pooling + ["self-ensemble"] * self.self_ensemble
        return (
            f"{self.weights}, {self.set} ({', '.join(setting)}): {self.psnr_input:.2f} -> {self.psnr_restored:.2f} dB, "
            f"SSIM {self.ssim_input:.4f} -> {self.ssim_restored:.4f}"
        )

    def key(self) -> tuple[object, ...]:
        return (self.sha256, self.set, self.stages, self.local_pooling, self.self_ensemble, self.precision)


def key_of(entry: WeightsEntry, test_set: TestSet, settings: RestorerSettings) -> tuple[object, ...]:
    """`Row.key` of what would be measured."""
    mode = (settings.stages, settings.local_pooling, settings.self_ensemble, settings.precision.value)
    return (entry.sha256, test_set.name, *mode)


def measure(entry: WeightsEntry, test_set: TestSet, settings: RestorerSettings, device: Device, data: Path) -> Row:
    """Restore a set with one network in one setting."""
    restore = FrameRestorer([read_checkpoint(entry.path)], settings, device)
    of = default_measure([entry.task])
    (found,) = find_sets([data / test_set.folder], test_set.degrading)
    score = mean_score([evaluate(pair, restore, of)[0].score for pair in found.pairs])
    figures = {name: round(value, 4) for name, value in asdict(score).items()}
    return Row(
        entry.name,
        entry.sha256,
        entry.task,
        test_set.name,
        len(found.pairs),
        of,
        settings.stages,
        settings.local_pooling,
        settings.self_ensemble,
        settings.precision.value,
        **figures,
        commit=commit(),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the shipped weights.")
    parser.add_argument("--again", action="store_true", help="measure all of it, whatever was measured before")
    again = parser.parse_args().again
    folder = data_folder()
    if folder is None:
        print("skipped: no reference data; STREAMRESTORE_DATA names its folder")
        return
    choice = choose_devices("auto", find_devices())
    name = "quality" if choice.kind == "cpu" else f"quality_{choice.kind}"
    results = RESULTS / f"{name}.json"
    known = dict[tuple[object, ...], Row]()
    if results.exists() and not again:
        rows = [Row(**row) for row in json.loads(results.read_text())["results"]["rows"]]
        known = {row.key(): row for row in rows}

    usual = RestorerSettings(
        choice.devices[0].label(), Precision.BF16, threads=CPU_THREADS if choice.kind == "cpu" else 0
    )
    variations = (
        usual,
        replace(usual, stages=1),
        replace(usual, stages=2),
        replace(usual, local_pooling=True),
        replace(usual, precision=Precision.FP32),
        replace(usual, self_ensemble=True),
    )
    shipped = [entry for entry in list_weights() if entry.origin == "shipped"]
    for task in SETS:
        if task not in {entry.task for entry in shipped}:
            print(f"no weights for {task} are shipped: nothing to measure")
    plan = [
        (entry, test_set, settings)
        for settings in variations
        for entry in shipped
        for test_set in (*SETS[entry.task], HARM)
    ]
    for entry, test_set, settings in plan:
        key = key_of(entry, test_set, settings)
        if key not in known:
            known[key] = measure(entry, test_set, settings, choice.devices[0], folder / "eval")
            print(known[key])
            # Rows of weights that are no longer shipped are left out.
            rows = [known[key] for key in (key_of(*item) for item in plan) if key in known]
            record(name, {"rows": [asdict(row) for row in rows]})


if __name__ == "__main__":
    main()
