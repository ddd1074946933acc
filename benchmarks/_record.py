"""Where a benchmark ran and what it found, as JSON beside the scripts."""

import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import av
import torch

from streamrestore.cpu import cpu_cores
from streamrestore.devices import find_devices

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"


def data_folder() -> Path | None:
    """The reference data, which is not part of the project."""
    folder = Path(os.environ.get("STREAMRESTORE_DATA", ROOT.parent / "shared" / "data"))
    return folder if folder.is_dir() else None


def commit() -> str:
    """Of the checkout, and whether something in it was changed."""
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return described.stdout.strip() or "unknown"


def record(name: str, results: object) -> None:
    """Write ``results/NAME.json`` with machine, versions and commit."""
    devices = find_devices()
    device = devices[0]
    document = {
        "benchmark": name,
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit(),
        "machine": {
            "device": device.label(),
            "name": device.name,
            "cores": cpu_cores(),
            "memory_gib": round(devices[-1].memory_bytes / 2**30, 1),
            "system": platform.platform(),
        },
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "av": av.__version__},
        "results": results,
    }
    path = RESULTS / f"{name}.json"
    RESULTS.mkdir(exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n")
    print(f"written: {path.relative_to(ROOT)}")
