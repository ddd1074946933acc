"""How much arithmetic a network takes."""

from functools import cache

import torch
from torch.utils.flop_counter import FlopCounterMode

from streamrestore.mprnet import MPRNet, Stages, Widths

_SIDE = 64
"""Of the image it is counted on, in pixels: all of it grows with the area."""


@cache
def flops_per_pixel(widths: Widths, stages: Stages) -> float:
    """Floating-point operations for one pixel of input; a multiplication and an addition count two.

    Counted on torch's ``meta`` device, where nothing is computed.
    """
    with torch.device("meta"):
        network = MPRNet(widths)
        image = torch.empty(1, 3, _SIDE, _SIDE)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(image, stages)
    return float(counter.get_total_flops()) / _SIDE**2
