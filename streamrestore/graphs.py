"""CUDA graphs: a network's hundreds of kernels launched as one, for batches of one shape.

MPRNet's kernels are many and, on small batches, shorter than the time to launch them. A graph holds a call with all
its memory; it is captured the first time a shape comes, and replayed from then on. The kernels are the same, and so
is the result, bit for bit.
"""

import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from streamrestore.device_memory import free_bytes

log = logging.getLogger(__name__)

WARM_UP_CALLS = 2
"""Before a capture: libraries choose kernels and take their workspaces on the first call."""

MEMORY_SLACK = 1.2
"""A graph's memory over what the call itself took: it is cut into blocks of its own."""


class GraphedCall:
    """A function of one batch, of fixed shape, whose kernels are launched together. For one thread and one stream."""

    def __init__(self, graph: torch.cuda.CUDAGraph, given: Tensor, result: Tensor) -> None:
        """Wrap a graph; see `GraphMaker`.

        Args:
            graph: What was captured.
            given: The batch that it reads.
            result: Where it puts the result.
        """
        self._graph = graph
        self._given = given
        self._result = result

    def __call__(self, batch: Tensor) -> Tensor:
        """The result; valid until the next call of any function of the same maker."""
        self._given.copy_(batch)
        self._graph.replay()
        return self._result


class GraphMaker:
    """Makes graphs that share their memory, as only one is replayed at a time. For one thread and one stream."""

    def __init__(self) -> None:
        """Take no memory yet."""
        self._pool: Any = None  # torch keeps the type to itself

    def launch_together(self, call: Callable[[Tensor], Tensor], example: Tensor) -> Callable[[Tensor], Tensor]:
        """A call as a graph where that can be, or else the call itself.

        Args:
            call: Touches nothing but its argument and tensors that stay where they are.
            example: ``[N, 3, H, W]``; every batch has its shape and layout. On anything but a GPU the call is
                given back.

        Raises:
            torch.OutOfMemoryError: Not even the call itself fits the GPU.
        """
        if example.device.type != "cuda":
            return call
        given = example.clone(memory_format=torch.preserve_format)
        held = torch.cuda.memory_allocated(example.device)
        torch.cuda.reset_peak_memory_stats(example.device)
        for _ in range(WARM_UP_CALLS):
            call(given)
        needed = torch.cuda.max_memory_allocated(example.device) - held
        torch.cuda.empty_cache()
        # Asked before and not tried: a capture that runs out of memory leaves torch's allocator unusable.
        if needed * MEMORY_SLACK > free_bytes(example.device):
            log.warning("the network's kernels are launched one by one, which is slower: no memory for a CUDA graph")
            return call
        try:
            return self._capture(call, given)
        except RuntimeError as error:
            log.warning("the network's kernels are launched one by one, which is slower: no CUDA graph: %s", error)
            return call

    def _capture(self, call: Callable[[Tensor], Tensor], given: Tensor) -> GraphedCall:
        stream, graph = torch.cuda.current_stream(given.device), torch.cuda.CUDAGraph()
        # Other threads of the process may use the GPU meanwhile: only what this one does is captured.
        with torch.cuda.graph(graph, pool=self._pool, stream=stream, capture_error_mode="thread_local"):
            result = call(given)
        self._pool = graph.pool()
        return GraphedCall(graph, given, result)
