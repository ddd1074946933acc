"""How much patches show in a picture."""

import numpy as np

from streamrestore.frame import Plane
from streamrestore.patches import PatchPlan

NEAR = 6
"""Rows or columns on either side that an edge is compared with, as they have the same content."""


def seam_ratio(plane: Plane, plan: PatchPlan) -> float:
    """Mean step across the edges between patch cores, over the mean step `NEAR` to them.

    Args:
        plane: ``[K, H, W]`` samples of frames cut by the plan.
        plan: Where the edges are.

    Returns:
        About 1 where nothing is to be seen; pictures themselves vary by some percent.
    """
    edges, others = list[float](), list[float]()
    for axis in (0, 1):
        steps = np.abs(np.diff(plane.astype(np.int32), axis=axis + 1)).mean(axis=(0, 2 - axis))
        for cut in {spans[axis].keep_start - 1 for spans in plan.spans() if spans[axis].keep_start}:
            edges.append(float(steps[cut]))
            others += [float(steps[cut + offset]) for offset in range(-NEAR, NEAR + 1) if offset]
    return float(np.mean(edges) / np.mean(others))
