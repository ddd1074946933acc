"""What the CPU is and can do, without loading torch."""

import os
from pathlib import Path


def cpu_info(*names: str) -> str:
    """What ``/proc/cpuinfo`` says of the first CPU under one of these names; empty off Linux."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(names)), "")


def cpu_flags() -> frozenset[str]:
    """What the CPU can do, such as ``avx512f``; empty off Linux."""
    return frozenset(cpu_info("flags", "Features").split())


def cpu_cores() -> int:
    """Cores that this process may use."""
    # Off Linux a process has no such mask.
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1
