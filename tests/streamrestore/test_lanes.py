"""Lanes: what comes up is computed and goes down in order, on one lane as on three."""

import numpy as np
import torch

from streamrestore.lanes import open_lanes


def test_a_chunk_comes_up_is_computed_and_goes_down_while_the_next_one_is_begun(device: str) -> None:
    lanes = open_lanes(torch.device(device))
    assert lanes.overlap == (device == "cuda")
    planes = [np.full((64, 512, 512), value, np.uint8) for value in range(8)]
    begun = []
    for plane in planes:
        with lanes.uploading():
            up = lanes.upload(plane)
        with lanes.computing():
            result = up
            for _ in range(50):
                result = result + 2
        with lanes.downloading():
            down = lanes.download(result)
        begun.append((up, result, down, lanes.mark()))
    for value, (_, _, down, mark) in enumerate(begun):
        assert mark.wait() >= 0
        assert down.device.type == "cpu"
        assert bool((down == value + 100).all())
