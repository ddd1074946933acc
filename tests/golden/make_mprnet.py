"""Write mprnet_small.safetensors: a tiny network's weights, an input, and its outputs.

    python -m tests.golden.make_mprnet

The file is the project's own record of what the network computes, for where the reference
vectors (tests/streamrestore/test_mprnet.py, ``test_agrees_with_reference``) are not at hand.
Only write it anew after those pass: it would otherwise make an error the norm.
"""

import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save_file

from streamrestore.mprnet import MPRNet, Widths

GOLDEN = Path(__file__).with_name("mprnet_small.safetensors")
WIDTHS = Widths(n_feat=8, scale_unetfeats=2, scale_orsnetfeats=4, num_cab=2)
CROP = 16
"""Small enough that every local-pooling window is smaller than what its block sees."""


def main() -> None:
    torch.manual_seed(2102)
    network = MPRNet(WIDTHS).eval()
    with torch.inference_mode():
        for name, weight in network.named_parameters():
            if "conv_du" in name:
                weight.mul_(8)  # else attention is near 0.5 whatever it sees, and pooling hardly shows
            weight.copy_(weight.half())  # half the file, and nothing lost
        image = torch.rand(1, 3, 32, 48) * torch.linspace(0.1, 1, 48)
        stages = network(image)
        network.use_local_pooling(CROP)
        local = network(image)[-1]
    tensors = {f"weights.{name}": weight.half() for name, weight in network.named_parameters()}
    tensors |= {f"stage{i}": stage for i, stage in enumerate(stages, 1)}
    tensors |= {"input": image, "stage3_local": local}
    save_file(tensors, GOLDEN, {"config": json.dumps(asdict(WIDTHS))})


if __name__ == "__main__":
    main()
