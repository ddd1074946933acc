"""What a process and all that descend from it use, as Linux counts it."""

import os
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")


def family(head: int | None = None) -> list[int]:
    """A process, this one if none is named, and its descendants: Ray's and all others."""
    children = defaultdict[int, list[int]](list)
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            children[int(_fields(entry)[1])].append(int(entry.parent.name))
    found = [head or os.getpid()]
    for pid in found:
        found.extend(children[pid])
    return found


def cpu_seconds() -> float:
    """Processor time of the family so far, without that of processes that have ended."""
    total = 0
    for pid in family():
        with suppress(OSError):
            fields = _fields(Path(f"/proc/{pid}/stat"))
            total += int(fields[11]) + int(fields[12])
    return total * _TICK_SECONDS


class Memory(NamedTuple):
    """What a family holds, in bytes."""

    resident: int
    """Sum of the resident sets: libraries and shared memory count once for each process that has them."""
    own: int
    """What was not read from files, such as libraries; what processes share counts once."""
    shared: int
    """Of that, shared memory: Ray's object store, where there is one."""


def memory(head: int) -> Memory:
    """What a family holds now."""
    found = Memory(0, 0, 0)
    for pid in family(head):
        with suppress(OSError):
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
            size = {name: int(rest.split()[0]) << 10 for name, rest in (line.split(":") for line in lines)}
            shared = size["Pss_Shmem"]
            found = Memory(found.resident + size["Rss"], found.own + size["Pss_Anon"] + shared, found.shared + shared)
    return found


def _fields(stat: Path) -> list[str]:
    """Those after the name, which may hold blanks and brackets."""
    return stat.read_text().rpartition(") ")[2].split()
