"""How much arithmetic and memory a network takes."""

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from streamrestore.devices import Device, DeviceChoice, default_workers
from streamrestore.mprnet import MPRNet, Widths
from streamrestore.passing_threads import in_passing_thread
from streamrestore.tasks import Stages

_SIDE = 64
"""Of the image it is counted on, in pixels: all of it grows with the area."""

LOCAL_POOLING_BYTES = 64
"""Memory that local pooling takes for each channel of stage 3 and pixel, whatever the precision: its running sums are
float32. Measured on a CPU: 60 to 64."""

MEMORY_SHARE = 4
"""A picture restored in one piece may take one part in so many of a worker's memory: there is what was, and what
libraries set aside."""


class _Counter(TorchFunctionMode):
    """Counts what convolutions take, in place of making them.

    torch's own counter needs its ``meta`` device, which imports a compiler and an algebra system: seconds and 75 MB at
    the start of every run.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - whatever the function gives
        if function is not torch.conv2d:
            return function(*args, **(kwargs or {}))
        image, weight, bias, *rest = args
        one_channel: Tensor = function(image[:, :1], weight[:1, :1], bias, *rest)
        result = one_channel.repeat(1, len(weight), 1, 1)
        self.operations += 2 * result.numel() * weight[0].numel()
        return result


@cache
def flops_per_pixel(widths: Widths, stages: Stages) -> float:
    """Floating-point operations of the convolutions for one pixel of input; a multiplication and an addition count two.

    They are counted, not made: a moment, whatever the widths.
    """
    return in_passing_thread(lambda: _count(widths, stages)) / _SIDE**2


def _count(widths: Widths, stages: Stages) -> int:
    counter = _Counter()
    with torch.random.fork_rng(devices=[]), counter, torch.no_grad():
        MPRNet(widths)(torch.zeros(1, 3, _SIDE, _SIDE), stages)
    return counter.operations


def whole_pixels(networks: Iterable[Widths], device: Device) -> int:
    """Pixels of the largest picture that is restored in one piece, with local pooling.

    Args:
        networks: One after the other.
        device: Whose memory each must fit; that of a CPU is shared by as many workers as there are by default, however
            many there are, so that a job's plan does not depend on it.
    """
    workers = default_workers(DeviceChoice((device,), ""))
    channels = max(widths.n_feat + widths.scale_orsnetfeats for widths in networks)
    return device.memory_bytes // workers // MEMORY_SHARE // (LOCAL_POOLING_BYTES * channels)
