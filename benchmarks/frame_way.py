"""Where do the milliseconds of one frame of 1080p go, from the decoder to the verified result?

Each step of a job is timed by itself, on frames of the demo scene, with the compact deraining weights and x264 at its
defaults; in a job the rows of different threads overlap. The network's share is split by torch's profiler.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "30000")

import numpy as np
import torch
from _clips import make_clip
from _record import record
from torch.profiler import ProfilerActivity, profile

from streamrestore.checkpoint import build_network
from streamrestore.color import add_residuals, to_pictures
from streamrestore.cutting import PatchCutter
from streamrestore.devices import CPU_THREADS, batch_pixels
from streamrestore.encoding import AUTOMATIC, plan_encoding
from streamrestore.frame import planes_md5
from streamrestore.host_memory import keep_freed_memory
from streamrestore.patches import plan_patches
from streamrestore.pictures import read_pictures
from streamrestore.planes import copy_planes
from streamrestore.probing import probe
from streamrestore.reuse import find_repeats
from streamrestore.samples import sample_layout
from streamrestore.segment_file import open_segment
from streamrestore.weights import find_weights

FRAMES = 48
CHUNK = 4
REPEATS = 3


def milliseconds(work: Callable[[], object], frames: int, repeats: int = REPEATS) -> float:
    """Of one frame, the median of some repetitions."""
    taken = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        taken.append((time.perf_counter() - began) * 1000 / frames)
    return statistics.median(taken)


def main() -> None:
    keep_freed_memory()
    torch.set_num_threads(CPU_THREADS)
    rows = list[tuple[str, str, float]]()

    def step(where: str, what: str, work: Callable[[], object], frames: int = CHUNK, repeats: int = REPEATS) -> None:
        rows.append((where, what, round(milliseconds(work, frames, repeats), 2)))
        print(f"{where}: {what}: {rows[-1][2]} ms", flush=True)

    with tempfile.TemporaryDirectory() as name, torch.inference_mode():
        clip = Path(name) / "clip.mp4"
        make_clip(clip, (1080, 1920), FRAMES)
        info = probe(clip)
        video = info.video
        step("read", "demux and decode", lambda: list(read_pictures(info)), FRAMES)
        shown = list(islice(read_pictures(info), CHUNK))
        layout = sample_layout(shown[0].image.format.name)
        frames = [copy_planes(each.image, layout, video) for each in shown]
        step("read", "copy the planes", lambda: [copy_planes(each.image, layout, video) for each in shown])
        step("read", "MD5 of the samples", lambda: [planes_md5(planes) for planes in frames])
        stacked = tuple(np.stack(same) for same in zip(*frames, strict=True))
        step("read", "stack a chunk", lambda: tuple(np.stack(same) for same in zip(*frames, strict=True)))

        model = find_weights("derain")
        plan = plan_patches(video.picture.upright_size, crop=model.crop, batch_pixels=batch_pixels("cpu"), frames=CHUNK)
        cutter = PatchCutter(plan, torch.device("cpu"))
        planes = tuple(torch.from_numpy(plane) for plane in stacked)
        step("restore", "planes to RGB", lambda: to_pictures(planes, video))
        pictures = to_pictures(planes, video)
        step("restore", "cut into patches", lambda: cutter.cut(pictures))
        patches = cutter.cut(pictures)
        step("restore", "look for repeats", lambda: find_repeats(patches))
        network = build_network(model).to(torch.bfloat16)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # torch's types lack it
        batch = patches.flatten(0, 1)[: plan.batch].contiguous(memory_format=torch.channels_last)
        batches = -(-plan.patches * CHUNK // plan.batch) / CHUNK
        network(batch)
        with profile(activities=[ProfilerActivity.CPU]) as measured:
            for _ in range(REPEATS):
                network(batch)
        kinds = {"convolutions": 0.0, "channel means": 0.0, "resampling": 0.0, "all else, mostly memory": 0.0}
        for event in measured.key_averages():
            kind = "all else, mostly memory"
            if "conv" in event.key:
                kind = "convolutions"
            elif "pool" in event.key or event.key == "aten::mean":
                kind = "channel means"
            elif "upsample" in event.key:
                kind = "resampling"
            kinds[kind] += event.self_cpu_time_total / 1000 / REPEATS * batches
        rows += [("restore", f"network: {kind}", round(spent, 2)) for kind, spent in kinds.items()]
        print(*rows[-4:], sep="\n", flush=True)
        step("restore", "join the cores", lambda: cutter.join(patches))
        residual = cutter.join(patches) * 0.01
        step("restore", "residual onto the planes", lambda: add_residuals(planes, residual, video))

        encoding = plan_encoding(info, AUTOMATIC)
        every = [(each.pts, copy_planes(each.image, layout, video)) for each in read_pictures(info)]

        def encode() -> None:
            with open_segment(Path(name) / "segment.part", info, encoding) as writer:
                for pts, planes in every:
                    writer.write(pts, planes)
                writer.finish()

        step("write", f"encode, {encoding.encoder} {dict(encoding.options)['preset']}", encode, FRAMES, 1)

        def read_back() -> None:
            for each in read_pictures(info):
                planes_md5(copy_planes(each.image, layout, video))

        step("verify", "decode the result, copy, MD5", read_back, FRAMES, 1)
    record(
        "frame_way",
        {
            "size": [video.height, video.width],
            "patch": list(plan.patch),
            "batch": plan.batch,
            "rows": [{"where": where, "what": what, "ms": spent} for where, what, spent in rows],
        },
    )


if __name__ == "__main__":
    main()
