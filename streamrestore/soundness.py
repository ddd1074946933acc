"""Whether a device still computes: one that broke fails with everything, until the process that uses it has ended."""

from functools import partial

import torch
from torch.nn.functional import conv2d

from streamrestore.errors import DeviceLostError
from streamrestore.passing_threads import in_passing_thread

_SIDE = 8


def check_device(label: str) -> None:
    """Compute a little on a device. One that is merely full passes.

    Args:
        label: As torch names it.

    Raises:
        DeviceLostError: It fails, or the result is wrong.
    """
    try:
        result = in_passing_thread(partial(_compute, label))
    except RuntimeError as error:
        if is_out_of_memory(error):
            return
        raise DeviceLostError(f"{label} fails with whatever it is given: {_first_line(error)}") from error
    if result != float(_SIDE * _SIDE):
        raise DeviceLostError(f"{label} computes what is wrong: {result:g} where it is {_SIDE * _SIDE}")


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether torch ran out of memory; only its allocator for GPUs has a class of its own for that."""
    words = ("DefaultCPUAllocator", "CUDA error: out of memory")
    return isinstance(error, torch.OutOfMemoryError) or any(each in str(error) for each in words)


def _compute(label: str) -> float:
    """A sum of ones that went through a convolution, as it has a library of its own, which fails by itself, too."""
    with torch.inference_mode():
        picture = torch.ones((1, 1, _SIDE, _SIDE), device=label)
        return float(conv2d(picture, torch.ones((1, 1, 1, 1), device=label)).sum())


def _first_line(error: RuntimeError) -> str:
    return str(error).partition("\n")[0]
