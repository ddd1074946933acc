"""An assessor whose findings can be foretold."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from streamrestore.assessor import Assessment

DARK = 0.25
"""Mean of a picture below which it counts as dark."""


@dataclass
class DarkIsNoisy:
    """Finds noise in dark shots, blur in dark ones that are nearly black, and nothing elsewhere."""

    sha256: str = "d" * 64
    seen: list[Sequence[Tensor]] = field(default_factory=list)
    """The pictures of each shot."""

    def assess(self, pictures: Sequence[Tensor]) -> Assessment:
        self.seen.append(pictures)
        mean = sum(float(picture.mean()) for picture in pictures) / len(pictures)
        return Assessment(rain=0.125, noise=0.875 if mean < DARK else 0.25, blur=0.75 if mean < DARK / 4 else 0.0)
