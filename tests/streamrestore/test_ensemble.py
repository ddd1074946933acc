"""The self-ensemble: every flip and turn once, each turned back before the mean."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from streamrestore.checkpoint import build_network
from streamrestore.devices import Precision
from streamrestore.ensemble import SelfEnsemble
from streamrestore.frame import ChromaLocation, Chunk, Matrix, PixelFormat, VideoFormat
from streamrestore.patches import plan_patches
from streamrestore.restorer import Restorer, RestorerSettings
from streamrestore.tasks import Stages, Task
from tests.networks import noise_planes, tiny_model


class Corner(nn.Module):
    """Adds one to the top left pixel of what it sees, and remembers all it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = list[Tensor]()

    def forward(self, image: Tensor, stages: Stages = 3) -> tuple[Tensor, ...]:
        self.seen.append(image)
        out = image.clone()
        out[..., 0, 0] += 1
        return (image, out)


def test_each_of_the_eight_is_asked_once_and_turned_back() -> None:
    image = torch.rand(2, 3, 16, 8, generator=torch.Generator().manual_seed(0))
    network = Corner()
    (result,) = SelfEnsemble(network)(image)
    added = torch.zeros_like(image)
    added[..., ::15, ::7] = 2 / 8  # every corner is the top left one of two of them
    torch.testing.assert_close(result, image + added)
    different = {tuple(seen.shape) + tuple(seen.flatten().tolist()) for seen in network.seen}
    assert (len(network.seen), len(different)) == (8, 8)


def test_without_quarter_turns_nothing_lies_down() -> None:
    """A picture that falls from row to row does so, up or down, in all four that are asked."""
    network = Corner()
    SelfEnsemble(network, quarter_turns=False)(torch.arange(16.0).reshape(1, 1, 16, 1).expand(1, 3, 16, 16))
    assert len(network.seen) == 4
    assert all((seen.diff(dim=3) == 0).all() for seen in network.seen)


@pytest.mark.parametrize("task", ["derain", "deblur"])
@pytest.mark.parametrize("stages", [1, 3])
def test_the_restorer_asks_its_networks_so(stages: Stages, task: Task, device: str) -> None:
    model = replace(tiny_model(), task=task)
    planes = noise_planes(((16, 24),) * 3, 1)
    video = VideoFormat(24, 16, PixelFormat("gbrp", "rgb", 8), Matrix.BT709, True, ChromaLocation.LEFT)
    plan = plan_patches((16, 24), crop=16, batch_pixels=1, frames=1)
    assert len(plan.spans()) == 1
    settings = RestorerSettings(device, Precision.FP32, stages, self_ensemble=True)
    result = Restorer([model], settings).restore(Chunk(video, plan, planes)).planes
    green, blue, red = (torch.from_numpy(plane).float() / 255 for plane in planes)
    with torch.inference_mode():
        wanted = SelfEnsemble(build_network(model), quarter_turns=task == "deblur")(
            torch.stack((red, green, blue), 1), stages
        )[0].clamp(0, 1)
    for plane, channel in zip(result, (1, 2, 0), strict=True):
        assert np.abs(plane.astype(float) - wanted[:, channel].numpy() * 255).max() <= 0.5 + 1e-2
    alone = Restorer([model], replace(settings, self_ensemble=False)).restore(Chunk(video, plan, planes)).planes
    assert any(not np.array_equal(one, other) for one, other in zip(result, alone, strict=True))
