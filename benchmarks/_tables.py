"""Write the figures of ``results/*.json`` into the documents that quote them, between their marks."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from _record import RESULTS, ROOT
from quality import Row

from streamrestore.metrics import HIGHEST_DB

NOT_YET = "not yet measured"

Setting = dict[str, int | bool | str]

USUAL: Setting = {"stages": 3, "local_pooling": False, "self_ensemble": False, "precision": "bf16"}
"""As the shipped weights are used."""


def load(name: str) -> Any:  # noqa: ANN401 - whatever the JSON holds
    """The results of a benchmark, with its machine and commit."""
    return json.loads((RESULTS / f"{name}.json").read_text())


def fill(path: Path, mark: str, text: str) -> None:
    """Replace what stands between ``<!-- mark -->`` and ``<!-- /mark -->``."""
    pattern = re.compile(rf"(<!-- {mark} -->).*?(<!-- /{mark} -->)", re.DOTALL)
    before = path.read_text()
    after, count = pattern.subn(lambda match: match[1] + text + match[2], before)
    if count != 1:
        raise SystemExit(f"{path} has {count} places marked {mark}")
    path.write_text(after)


def table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """In Markdown."""
    lines = [f"| {' | '.join(line)} |" for line in (head, *body)]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]])


def measured() -> list[Row]:
    """All that was measured of the shipped weights."""
    return [Row(**row) for row in load("quality")["results"]["rows"]]


def has(row: Row, setting: Setting) -> bool:
    """Whether a row was measured so."""
    return all(getattr(row, name) == value for name, value in setting.items())


def psnr_cells(row: Row) -> tuple[str, str]:
    """PSNR before and after, and the gain; clean pictures have neither before nor gain."""
    before, after = row.psnr_input, row.psnr_restored
    if before >= HIGHEST_DB:
        return f"equal → {after:.2f} dB", ""
    return f"{before:.2f} → {after:.2f} dB", f"{after - before:+.2f} dB"


def ssim_cell(row: Row) -> str:
    """SSIM before and after."""
    return f"{row.ssim_input:.3f} → {row.ssim_restored:.3f}"


def quality_table() -> str:
    """Tasks and sets, PSNR and SSIM."""
    head = ["task", "weights", "set", "pairs", "PSNR: input → restored", "gain", "SSIM: input → restored"]
    body = list[list[str]]()
    for row in measured():
        if has(row, USUAL):
            psnr, gain = psnr_cells(row)
            body.append([row.task, row.weights, row.set, str(row.pairs), f"{psnr} {row.measure}", gain, ssim_cell(row)])
    return f"\n{table(head, body)}\n"


def quality() -> str:
    """One sentence."""
    parts = [
        f"{row.weights} {gain} on {row.set}" for row in measured() if has(row, USUAL) and (gain := psnr_cells(row)[1])
    ]
    return f" {'; '.join(parts)} "


def choosing() -> str:
    """One sentence."""
    found = load("choosing")["results"]
    simple = f"{found['right_of_one_flaw_or_none']:.1%} of those with one flaw or none"
    clean = f"nothing done to {found['none_on_clean']:.1%} of the clean"
    return f" right for {found['right']:.1%} of all, {simple}; {clean} "


def machine() -> str:
    """Where the speeds were measured."""
    found = load("network")
    here, versions = found["machine"], found["versions"]
    return (
        f" {here['name']}, {here['cores']} cores, {here['memory_gib']:.0f} GiB; Python {versions['python']}, "
        f"torch {versions['torch']}, PyAV {versions['av']} "
    )


def seams() -> str:
    """One sentence."""
    rows = {row["margin"]: row["seam_ratio"] for row in load("seams")["results"]["rows"]}
    return f" steps across patch edges over the clean clip's: {rows[0]:.2f} without margin, {rows[8]:.3f} with 8 px "


def goals() -> str:
    """What was wanted of speed and memory, and what was measured."""
    network, tax = results("network"), results("pipeline_tax")
    derain = next(row for row in network["rows"] if row["network"] == "published derain")
    best = next(row for row in derain["ours"] if row["stages"] == 3)
    in_process, ray = (one(tax["rows"], size="1080p", way=way) for way in ("in this process", "one Ray worker"))
    segments = one(results("scaling")["segments"], workers=32, ms_per_frame=100)
    limit = results("scaling")["driver_limit"]["1080p"]
    memory = one(results("memory")["rows"], workers=0, minutes=20)
    body = [
        [
            "CPU, derain widths, 640x360: frames/s over the plain fp32 run",
            "≥ 4x",
            f"{best['over_plain']:.2f}x ({derain['plain_fps']:.3f} → {best['fps']:.3f} frames/s)",
        ],
        [
            "stages 1 / 2 against 3, published derain widths",
            "≥ 6x / ≥ 3x faster",
            f"{derain['stages_1_over_3']:.2f}x / {derain['stages_2_over_3']:.2f}x",
        ],
        [
            "pipeline tax in-process / Ray: of ffmpeg's frames/s at 1080p, x264 veryfast, 2 cores",
            "≥ 0.90 / ≥ 0.75",
            f"{in_process['ratio_median']:.2f} / {ray['ratio_median']:.2f}",
        ],
        [
            "32 simulated GPUs of 100 ms, of ideal: segments / frames",
            "≥ 0.95 / until the driver's limit",
            f"{segments['of_ideal']:.3f} / {limit['fps']:.0f} frames/s of 1080p, "
            f"{limit['mb_per_second_each_way']:.0f} MB/s each way",
        ],
        ["peak memory of 20 minutes over 1 minute", "≤ 1.05", f"{memory['resident_over_first']:.3f}"],
        ["H200, end to end 1080p, derain / deblur", "≥ 40 / ≥ 8 frames/s", gpu("end_to_end_cuda")],
        ["H200, over the plain fp32 run", "≥ 8x", gpu("network_cuda")],
        ["H200, GPU busy", "≥ 95 %", gpu("end_to_end_cuda")],
    ]
    return f"\n{table(['what', 'goal', 'measured'], body)}\n"


def gpu(name: str) -> str:
    """What waits for a GPU."""
    return f"see {name}.json" if (RESULTS / f"{name}.json").exists() else NOT_YET


def results(name: str) -> Any:  # noqa: ANN401 - whatever the JSON holds
    """What a benchmark found."""
    return load(name)["results"]


def one(rows: Sequence[Any], **facts: object) -> Any:  # noqa: ANN401 - whatever the JSON holds
    """The row of which these are true."""
    return next(row for row in rows if all(row[name] == value for name, value in facts.items()))


def network() -> str:
    """A table of networks and stages."""
    found = results("network")
    head = ["network", "frame", "pixels computed", "plain fp32", "stages", "ours, bf16", "over plain", "of matrix rate"]
    body = [
        [
            row["network"],
            f"{row['size'][1]}x{row['size'][0]}",
            f"{row['pixels_computed']:.2f}",
            f"{row['plain_fps']:.3f} fps" if ours["stages"] == 3 else "",
            str(ours["stages"]),
            f"{ours['fps']:.3f} fps",
            f"{ours['over_plain']:.2f}x",
            f"{ours['share_of_matrix_rate']:.0%}",
        ]
        for row in found["rows"]
        for ours in row["ours"]
        if ours["precision"] == "bf16"
    ]
    rates = ", ".join(f"{rate:.2f} TFLOP/s in {name}" for name, rate in found["matrix_tflops"].items())
    return f"\n{table(head, body)}\n\nThe matrix product reached {rates}.\n"


def patching() -> str:
    """A table of patch sizes, margins and batches."""
    head = ["setting", "patch", "margin", "batch", "pixels computed", "ms a million pixels", "time over planned"]
    body = [
        [
            row["setting"],
            f"{row['patch'][1]}x{row['patch'][0]}",
            str(row["margin"]),
            str(row["batch"]),
            f"{row['pixels_computed']:.2f}",
            f"{row['ms_per_megapixel']:.0f}",
            f"{row['time_over_planned']:.2f}x",
        ]
        for row in results("patching")
    ]
    return f"\n{table(head, body)}\n"


def reuse() -> str:
    """A table of what repeats, and sentences on what reuse gains."""
    found = results("reuse")
    repeats = sorted(found["repeats"], key=lambda row: -row["share_repeated"]["0"])
    shown = [row for row in repeats if row["share_repeated"]["8"] >= 0.01]
    head = ["clip", "same bits", *(f"within {threshold}" for threshold in (1, 2, 4, 8))]
    body = [[row["clip"], *(f"{row['share_repeated'][t]:.1%}" for t in ("0", "1", "2", "4", "8"))] for row in shown]
    lines = []
    for row in found["compared"]:
        near = "; ".join(
            f"threshold {threshold}: {each['times_faster']:.2f}x, "
            + (
                "no difference"
                if each["psnr_to_exact"] is None
                else f"{each['psnr_to_exact']:.1f} dB to the exact result"
            )
            for threshold, each in row["threshold"].items()
        )
        same = "the same bytes" if row["same_bytes"] else "OTHER BYTES"
        lines.append(f"- {row['clip']}: {row['times_faster']:.2f}x as fast with reuse, {same}; {near}")
    rest = f"In the other {len(repeats) - len(shown)} clips less than 1 % repeats within 8 codes."
    return "\n" + table(head, body) + f"\n\n{rest}\n\n" + "\n".join(lines) + "\n"


def decibels(psnr: float | None) -> str:
    """A PSNR, or what there is instead of it where nothing differs."""
    return "no difference" if psnr is None else f"{psnr:.1f} dB"


def tax() -> str:
    """A table of the pipeline against ffmpeg."""
    head = ["frames", "way", "frames/s", "of ffmpeg's", "CPU a frame", "before", "joining and verifying after"]
    body = [
        [
            row["size"],
            row["way"],
            f"{row['fps_median']:.1f}",
            f"{row['ratio_median']:.2f} ({row['ratio_range'][0]:.2f} to {row['ratio_range'][1]:.2f})",
            f"{row['cpu_ms_per_frame_median']:.1f} ms",
            f"{row['seconds_before_median']:.1f} s",
            f"{row['seconds_after_median']:.1f} s",
        ]
        for row in results("pipeline_tax")["rows"]
    ]
    return f"\n{table(head, body)}\n"


def scaling() -> str:
    """A table of simulated GPUs."""
    found = results("scaling")
    head = ["work", "workers", "ms a frame", "frames/s", "of ideal", "MB/s each way"]
    body = [
        [
            f"frames of {row['size']}",
            str(row["workers"]),
            str(row["ms_per_frame"]),
            f"{row['fps']:.0f}",
            f"{row['of_ideal']:.2f}",
            f"{row['mb_per_second_each_way']:.0f}",
        ]
        for row in found["frames"]
    ]
    body += [
        [
            "segments",
            str(row["workers"]),
            str(row["ms_per_frame"]),
            f"{row['fps']:.0f}",
            f"{row['of_ideal']:.3f}",
            "",
        ]
        for row in found["segments"]
    ]
    return f"\n{table(head, body)}\n"


def memory() -> str:
    """A table of lengths and peaks."""
    head = ["minutes of video", "Ray workers", "peak memory of all processes", "over one minute", "object store"]
    body = [
        [
            str(row["minutes"]),
            str(row["workers"]),
            f"{row['resident_mib']:.0f} MiB",
            f"{row['resident_over_first']:.3f}",
            f"{row['store_mib']:.0f} MiB",
        ]
        for row in results("memory")["rows"]
    ]
    return f"\n{table(head, body)}\n"


def spinning() -> str:
    """One sentence."""
    ours, always, never = results("spinning")
    return (
        f" {ours['fps_median']:.2f} fps as the command sets it; always: {always['fps_ratio_median']:.2f}x, "
        f"never: {never['fps_ratio_median']:.2f}x "
    )


def startup() -> str:
    """A table of the way to the first frame."""
    head = ["way", "imports, weights", "planning", "waiting for workers", "first chunk", "until its frames are there"]
    names = ("imports_and_weights", "planning", "waiting_for_workers", "first_frames", "until_first_frames")
    body = [[row["way"], *(f"{row[name]:.1f} s" for name in names)] for row in results("startup")["rows"]]
    return f"\n{table(head, body)}\n"


def frame_way() -> str:
    """A table of one frame's way."""
    body = [[row["where"], row["what"], f"{row['ms']:.1f}"] for row in results("frame_way")["rows"]]
    return f"\n{table(['thread', 'step', 'ms'], body)}\n"


def live() -> str:
    """A table of what live streams hold."""
    found = results("live")
    clean, camera, worker = found["clean"], found["dead_camera"], found["dead_worker"]
    body = [
        [
            f"{clean['pictures'] / 25:.0f} s without trouble",
            "none lost, reordered, doubled; p95 ≤ 200 ms beyond camera, codec and viewer alone",
            f"{clean['lost']} / {clean['reordered']} / {clean['doubled']}; {clean['p95_beyond_own_ms']:.0f} ms "
            f"({clean['p95_ms']:.0f} of {clean['own_ms']:.0f} ms)",
        ]
    ]
    body += [
        [
            row["fault"],
            "noticed ≤ 2.5 s; fresh picture ≤ 1.5 s after; gap ≤ 0.6 s; 1 session",
            f"{row['noticed_seconds']:.2f} s; {row['fresh_after_seconds']:.2f} s; {row['largest_gap_seconds']:.2f} s; "
            f"{row['sessions']}",
        ]
        for row in found["source_faults"]
    ]
    body += [
        [
            row["fault"],
            "supervisor busy ≤ 250 ms; publishing ≤ 2 s after; nothing dropped at the source",
            f"{row['supervisor_busy_ms']:.0f} ms; {row['publishing_after_seconds']:.2f} s; {row['source_dropped']}",
        ]
        for row in found["output_faults"]
    ]
    body += [
        [
            f"workers at 0.6 of the need, {row['policy']}",
            "p95 ≤ 1000 ms, slope < 1 ms/s" + ("; 25 frames/s" if row["policy"] == "degrade" else ""),
            f"{row['p95_ms']:.0f} ms, {row['slope_ms_per_second']:.2f} ms/s; {row['fps']:.1f} frames/s",
        ]
        for row in found["overload"]
    ]
    body += [
        [
            "a worker killed at a frame",
            "order kept; gap ≤ 0.6 s; pool back",
            f"{worker['reordered']} reordered; {worker['largest_gap_seconds']:.2f} s; process back after "
            f"{worker['process_back_after_seconds']:.1f} s",
        ],
        [
            "one of four cameras dead",
            "the others within 5 %",
            f"{100 * (camera['least_ratio'] - 1):+.1f} % at worst",
        ],
    ]
    return f"\n{table(['what', 'goal', 'measured'], body)}\n"


def live_sizes() -> str:
    """A table of what the shipped weights hold live."""
    body = [
        [
            f"{row['width']}x{row['height']} at {row['fps']:g}",
            f"{row['shown_fps']:.1f}",
            f"{100 * row['restored_share']:.0f} %",
            ", ".join(f"{stages}: {100 * share:.0f} %" for stages, share in row["stages"].items() if share > 0.005),
            "" if row["p95_ms"] is None else f"{row['p95_ms']:.0f} ms",
        ]
        for row in results("live")["real"]
    ]
    return f"\n{table(['camera', 'frames/s shown', 'restored', 'by stages', 'p95, camera to viewer'], body)}\n"


def live_words() -> str:
    """What live streams hold, in one sentence."""
    found = results("live")
    clean, faults = found["clean"], found["source_faults"]
    noticed, fresh, gap = (
        max(row[name] for row in faults) for name in ("noticed_seconds", "fresh_after_seconds", "largest_gap_seconds")
    )
    return (
        f" With restorers that take 30 ms a frame: {clean['lost']} of {clean['pictures']} pictures lost, "
        f"p95 {clean['p95_beyond_own_ms']:.0f} ms beyond camera and codec; outages of the source are noticed "
        f"within {noticed:.1f} s, a fresh picture is there {fresh:.1f} s after their end, and the viewer's one session "
        f"never waits longer than {gap:.1f} s ([all figures](benchmarks/README.md)). "
    )


def archive() -> str:
    """A table of what archives hold."""
    found = results("archive")
    waiting, resume, nodes, faults = (found[name] for name in ("waiting", "resume", "nodes", "faults"))
    killed = ", ".join(f"{count} {name}s" for name, count in faults["killed"].items() if name != "nothing")
    body = [
        [
            f"{faults['runs']} runs in which {killed} were killed",
            "0 items lost, 0 doubled, all bit-identical",
            f"{faults['lost']} / {faults['doubled']}; {faults['identical']} of {faults['runs']}",
        ],
        [
            f"{waiting['workers']} workers of {waiting['segment_seconds']} s a segment, with plan, commit, assembly",
            "≥ 0.95 of ideal; driver ≤ 3 ms of processor time a segment",
            f"{waiting['of_ideal']:.3f}; {waiting['driver_cpu_ms_per_segment']:.1f} ms",
        ],
        [
            f"{resume['items']} clips that are all done: run again",
            "≤ 10 s",
            f"{resume['seconds']:.1f} s, {resume['bytes_per_item'] / 1000:.1f} kB of memory a clip",
        ],
        [
            "a machine killed / frozen, its work given to others",
            "≤ 10 s",
            f"{nodes['killed_seconds']:.1f} s / {nodes['frozen_seconds']:.1f} s",
        ],
    ]
    return f"\n{table(['what', 'goal', 'measured'], body)}\n"


def main() -> None:
    benchmarks, readme = ROOT / "benchmarks" / "README.md", ROOT / "README.md"
    fill(benchmarks, "quality", quality())
    fill(benchmarks, "choosing", choosing())
    fill(benchmarks, "seams", seams())
    fill(benchmarks, "machine", machine())
    for mark, text in (
        ("goals", goals()),
        ("network", network()),
        ("patching", patching()),
        ("reuse", reuse()),
        ("tax", tax()),
        ("scaling", scaling()),
        ("memory", memory()),
        ("startup", startup()),
        ("spinning", spinning()),
        ("live", live()),
        ("live_sizes", live_sizes()),
        ("archive", archive()),
    ):
        fill(benchmarks, mark, text)
    fill(ROOT / "docs" / "performance.md", "frame_way", frame_way())
    fill(readme, "live", live_sizes())
    fill(readme, "live_words", live_words())
    fill(readme, "figures", "\n" + quality_table() + "\n")


if __name__ == "__main__":
    main()
