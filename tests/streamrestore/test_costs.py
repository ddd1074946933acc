"""What a network costs: arithmetic as the field counts it, memory as it was measured."""

import pytest

from streamrestore.costs import flops_per_pixel, whole_pixels
from streamrestore.devices import Device
from streamrestore.mprnet import Widths

DERAIN, DEBLUR, DENOISE = Widths(40, 20, 16, 8), Widths(96, 48, 32, 8), Widths(80, 48, 32, 8)


@pytest.mark.parametrize(("widths", "gigaflops"), [(DERAIN, 282), (DEBLUR, 1519), (DENOISE, 1146)])
def test_the_published_networks_take_what_is_known_of_them(widths: Widths, gigaflops: float) -> None:
    assert flops_per_pixel(widths, 3) * 256**2 / 1e9 == pytest.approx(gigaflops, rel=0.01)


def test_a_frame_is_restored_whole_where_a_quarter_of_the_memory_holds_it() -> None:
    """Full HD with the deraining network takes 7.4 GB: it fits a GPU of 32 GiB, and not one of 24 GiB."""

    def gpu(gib: int) -> Device:
        return Device("cuda", 0, "a GPU", gib << 30, bf16=True)

    full_hd = 1080 * 1920
    assert whole_pixels([DERAIN], gpu(32)) > full_hd > whole_pixels([DERAIN], gpu(24))
    assert whole_pixels([DEBLUR], gpu(32)) < full_hd


def test_workers_of_a_cpu_share_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = Device("cpu", 0, "a CPU", 64 << 30, bf16=True)
    monkeypatch.setattr("streamrestore.devices.cpu_cores", lambda: 2)
    alone = whole_pixels([DERAIN], cpu)
    monkeypatch.setattr("streamrestore.devices.cpu_cores", lambda: 16)
    assert whole_pixels([DERAIN], cpu) == alone // 8
