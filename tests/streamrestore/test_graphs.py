"""CUDA graphs give what the same calls give one by one; elsewhere there are none."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest
import torch
from torch import Tensor

from streamrestore.graphs import GraphedCall, GraphMaker
from streamrestore.mprnet import MPRNet
from tests.networks import TINY

ON_GPU = pytest.mark.parametrize("device", [pytest.param("cuda", marks=pytest.mark.gpu)], indirect=True)


def test_on_a_cpu_a_call_is_left_as_it_is() -> None:
    def call(image: Tensor) -> Tensor:
        return image + 1

    assert GraphMaker().launch_together(call, torch.zeros(1)) is call


@ON_GPU
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_graph_gives_the_same_bytes_as_its_call(device: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    network = MPRNet(TINY).to(device, dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def call(image: Tensor) -> Tensor:
        out: Tensor = network(image)[-1]
        return out

    batches = torch.rand(3, 4, 3, 48, 64, device=device)
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call] # torch's, without types
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.inference_mode(), torch.cuda.stream(stream):
        graphed = GraphMaker().launch_together(call, batches[0].contiguous(memory_format=torch.channels_last))
        assert isinstance(graphed, GraphedCall)
        for batch in batches:
            batch = batch.contiguous(memory_format=torch.channels_last)
            assert torch.equal(graphed(batch), call(batch))
    stream.synchronize()


def _call_what_cannot_be_captured(device: str) -> tuple[bool, list[float]]:
    def call(image: Tensor) -> Tensor:
        return image + float(image.sum())

    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call] # torch's, without types
    with torch.cuda.stream(stream):
        called = GraphMaker().launch_together(call, torch.ones(2, device=device))
        return isinstance(called, GraphedCall), called(torch.ones(2, device=device)).tolist()


@ON_GPU
def test_what_cannot_be_captured_is_called_as_it_is(device: str) -> None:
    # In a process of its own: in torch 2.11, one in which a capture failed can never capture again (pytorch#180395).
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as processes:
        assert processes.submit(_call_what_cannot_be_captured, device).result() == (False, [3.0, 3.0])
