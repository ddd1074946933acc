"""How much faster do a GPU's video decoder and encoder (NVDEC, NVENC) carry 1080p than software does?

Decoding is reading frames as a job does: decoded, brought to memory, taken apart into the source's planes. Encoding
is writing those frames to a segment's file, each encoder at its defaults. Software and hardware take turns. Where a
GPU has no encoder, as those for data centres have not, that is said and recorded; where there is no GPU, nothing is.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from _clips import make_clip
from _record import record

from streamrestore.devices import find_devices
from streamrestore.encoding import AUTOMATIC, Encoding, plan_encoding
from streamrestore.errors import ConfigError
from streamrestore.frame import Frame
from streamrestore.nvdec import Nvdec
from streamrestore.nvdec_trial import try_nvdec
from streamrestore.nvenc import plan_nvenc
from streamrestore.probing import SourceInfo, probe
from streamrestore.segment_file import open_segment
from streamrestore.source import Source

FRAMES = 240
ENCODED_FRAMES = 96
ROUNDS = 3
CODECS = {
    "h264": ("libx264", "-preset", "veryfast", "-crf", "20"),
    "hevc": ("libx265", "-preset", "ultrafast", "-crf", "22", "-x265-params", "log-level=none"),
    "av1": ("libsvtav1", "-preset", "10", "-crf", "30"),
}


def take_turns(software: Callable[[], int], hardware: Callable[[], int]) -> dict[str, float]:
    """Frames a second of both, and the ratio: medians with their ranges."""
    runs = list[tuple[float, float]]()
    for _ in range(ROUNDS):
        rates = list[float]()
        for work in (software, hardware):
            began = time.perf_counter()
            frames = work()
            rates.append(frames / (time.perf_counter() - began))
        runs.append((rates[0], rates[1]))
    ratios = [fast / plain for plain, fast in runs]
    return {
        "software_fps": round(statistics.median(plain for plain, _ in runs), 1),
        "hardware_fps": round(statistics.median(fast for _, fast in runs), 1),
        "ratio": round(statistics.median(ratios), 2),
        "ratio_min": round(min(ratios), 2),
        "ratio_max": round(max(ratios), 2),
    }


def decode(info: SourceInfo, nvdec: Nvdec | None) -> int:
    """All frames; how many."""
    with Source(info, nvdec=nvdec) as source:
        return sum(1 for _ in source.frames())


def encode(info: SourceInfo, encoding: Encoding, frames: Sequence[Frame], path: Path) -> int:
    """All frames; how many."""
    with open_segment(path, info, encoding) as segment:
        for frame in frames:
            segment.write(frame.pts, frame.planes)
        segment.finish()
    return len(frames)


def decoding_row(info: SourceInfo, gpu: int) -> dict[str, object]:
    try:
        nvdec = try_nvdec(info, gpu)
    except ConfigError as error:
        return {"what": f"decode {info.codec}", "not_there": str(error)}
    return {"what": f"decode {info.codec}", **take_turns(lambda: decode(info, None), lambda: decode(info, nvdec))}


def encoding_row(info: SourceInfo, gpu_name: str, folder: Path) -> dict[str, object]:
    software = plan_encoding(info, AUTOMATIC, ".mkv")
    try:
        hardware = plan_nvenc(info, AUTOMATIC, software, gpu_name)
    except ConfigError as error:
        return {"what": f"encode {software.codec}", "not_there": str(error)}
    with Source(info) as source:
        frames = [frame for frame, _ in zip(source.frames(), range(ENCODED_FRAMES), strict=False)]
    slow, fast = folder / "software", folder / "hardware"
    figures = take_turns(lambda: encode(info, software, frames, slow), lambda: encode(info, hardware, frames, fast))
    sizes = {"software_bytes": slow.stat().st_size, "hardware_bytes": fast.stat().st_size}
    return {"what": f"encode {software.codec}: {software.encoder}, {hardware.encoder}", **figures, **sizes}


def main() -> None:
    device = find_devices()[0]
    if device.kind != "cuda":
        print("no NVIDIA GPU here: nothing is measured, and nothing recorded")
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        infos = list[SourceInfo]()
        for codec, options in CODECS.items():
            clip = folder / f"{codec}.mkv"
            make_clip(clip, (1080, 1920), FRAMES, (*options, "-an"))
            infos.append(probe(clip))
        rows = [decoding_row(info, device.index) for info in infos]
        rows.append(encoding_row(infos[0], device.name, folder))
    for row in rows:
        print(", ".join(f"{key} {value}" if key != "what" else str(value) for key, value in row.items()))
    record("hwaccel", rows)


if __name__ == "__main__":
    main()
