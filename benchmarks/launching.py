"""What launches a network's kernels fastest on a GPU: one by one, as a CUDA graph, or compiled by torch?

One batch as it is planned for 1080p, in bfloat16, with each published network; the three take turns. What is compiled
is also timed until its first result, which every worker would wait for, and compared with what is not, bit for bit.
Without a GPU nothing is measured, and nothing recorded.
"""

import statistics
import time
from collections.abc import Callable

import torch
from _networks import PUBLISHED, noise_chunk, untrained
from _record import record
from torch import Tensor

from streamrestore.checkpoint import build_network
from streamrestore.devices import find_devices
from streamrestore.graphs import GraphMaker

ROUNDS = 5
FULL_HD = (1080, 1920)


def milliseconds(call: Callable[[Tensor], Tensor], batch: Tensor) -> float:
    torch.cuda.synchronize()
    began = time.perf_counter()
    call(batch)
    torch.cuda.synchronize()
    return (time.perf_counter() - began) * 1000


def main() -> None:
    device = find_devices()[0]
    if device.kind != "cuda":
        print("skipped: no CUDA device")
        return
    torch.backends.cudnn.deterministic = True
    rows = []
    for task, (widths, crop) in PUBLISHED.items():
        plan = noise_chunk(FULL_HD, 4, crop, device).plan
        network = build_network(untrained(widths, crop)).to(device.label(), torch.bfloat16)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # torch's types lack it
        batch = torch.rand(plan.batch, 3, *plan.patch, device=device.label())
        batch = batch.contiguous(memory_format=torch.channels_last)

        def plain(image: Tensor, network: torch.nn.Module = network) -> Tensor:
            out: Tensor = network(image)[-1]
            return out

        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call] # torch's, without types
        with torch.inference_mode(), torch.cuda.stream(stream):
            calls: dict[str, Callable[[Tensor], Tensor]] = {
                "one by one": plain,
                "graph": GraphMaker().launch_together(plain, batch),
                "compiled": torch.compile(plain),
            }
            first_seconds = milliseconds(calls["compiled"], batch) / 1000
            same = {name: torch.equal(call(batch), plain(batch)) for name, call in calls.items()}
            taken: dict[str, list[float]] = {name: [] for name in calls}
            for _ in range(ROUNDS):
                for name, call in calls.items():
                    taken[name].append(milliseconds(call, batch))
        row = {
            "task": task,
            "batch": plan.batch,
            "milliseconds": {name: round(statistics.median(each), 2) for name, each in taken.items()},
            "same_bytes_as_one_by_one": same,
            "seconds_to_compile": round(first_seconds, 1),
        }
        rows.append(row)
        print(row, flush=True)
    record("launching_cuda", rows)


if __name__ == "__main__":
    main()
