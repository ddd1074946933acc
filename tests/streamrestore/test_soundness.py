"""A device is sound if it computes."""

import pytest
import torch

from streamrestore.errors import DeviceLostError
from streamrestore.soundness import check_device


def test_a_device_that_computes_is_sound(device: str) -> None:
    check_device(device)


def test_one_that_does_not_is_lost_and_the_first_line_says_why() -> None:
    with pytest.raises(DeviceLostError, match=r"^meta fails with whatever it is given: .*meta tensors$") as raised:
        check_device("meta")
    assert isinstance(raised.value.__cause__, RuntimeError)


def test_one_that_is_full_is_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(*_: object) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("streamrestore.soundness.conv2d", no_room)
    check_device("cpu")


def test_one_that_computes_what_is_wrong_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamrestore.soundness.conv2d", lambda picture, _: picture * torch.nan)
    with pytest.raises(DeviceLostError, match="computes what is wrong: nan where it is 64"):
        check_device("cpu")
