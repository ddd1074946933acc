"""A better answer from the same network: the mean over a picture's flips and turns.

Geometric self-ensemble (Lim et al., "Enhanced Deep Residual Networks for Single Image
Super-Resolution", CVPRW 2017, arXiv:1707.02921, section 3.3). It costs eight times as much; or
four times where only half turns are asked for, as of networks that know rain: it falls, and
what lies across a picture they take for its content.
"""

import torch
from torch import Tensor, nn

from streamrestore.tasks import Stages


class SelfEnsemble(nn.Module):
    """Asks a network several times. Takes its place: called alike, with the last stage's image alone."""

    def __init__(self, network: nn.Module, *, quarter_turns: bool = True) -> None:
        """Ask ``network`` eight times; without ``quarter_turns`` four times: upright, upside down, both mirrored."""
        super().__init__()
        self.network = network
        self._turns = range(0, 4, 1 if quarter_turns else 2)

    def forward(self, image: Tensor, stages: Stages = 3) -> tuple[Tensor]:
        """The mean of what the network makes of each flip and turn, flipped and turned back.

        Args:
            image: ``[N, 3, H, W]`` as the network takes it.
            stages: How many stages to run.

        Returns:
            One ``[N, 3, H, W]`` image, as the network's last: neither clamped nor rounded.
        """
        total = torch.zeros_like(image)
        for seen in (image, image.flip(-1)):
            for turns in self._turns:
                turned = torch.rot90(seen, turns, (-2, -1)).contiguous(memory_format=torch.channels_last)
                back = torch.rot90(self.network(turned, stages)[-1], -turns, (-2, -1))
                total += back if seen is image else back.flip(-1)
        return (total / (2 * len(self._turns)),)
