import pytest
import torch

from streamrestore.device_memory import free_bytes, keep_to_share

GPU = torch.device("cuda", 0)


@pytest.fixture
def fractions(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What a GPU that is not there was told."""
    told = list[float]()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", told.append)
    return told


def test_processes_that_share_a_gpu_leave_memory_to_each_other_and_to_cuda(fractions: list[float]) -> None:
    keep_to_share(0.25)
    assert 4 * fractions[0] < 1
    keep_to_share(1.0)
    assert len(fractions) == 1, "who has a GPU to itself may fill it"


def test_without_a_gpu_there_is_nothing_to_share(fractions: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    keep_to_share(0.5)
    assert fractions == []


@pytest.mark.parametrize(("free", "expected"), [(70, 20), (10, 10)])
def test_what_is_free_ends_with_the_share(free: int, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 100))
    monkeypatch.setattr(torch.cuda, "get_per_process_memory_fraction", lambda device: 0.5)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 30)
    assert free_bytes(GPU) == expected


@pytest.mark.parametrize("device", [pytest.param("cuda", marks=pytest.mark.gpu)], indirect=True)
def test_more_than_a_share_is_out_of_memory(device: str) -> None:
    before, total = torch.cuda.get_per_process_memory_fraction(GPU), torch.cuda.mem_get_info(GPU)[1]
    try:
        keep_to_share(0.01)
        with pytest.raises(torch.OutOfMemoryError):
            torch.empty(total // 50, dtype=torch.uint8, device=device)
        assert free_bytes(GPU) <= total // 100
    finally:
        torch.cuda.set_per_process_memory_fraction(before, GPU)
