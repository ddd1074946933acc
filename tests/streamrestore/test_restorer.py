"""The restorer: identity, batches, seams, memory, precision."""

import weakref
from dataclasses import replace
from typing import cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from streamrestore.checkpoint import Model
from streamrestore.devices import Precision
from streamrestore.errors import DeviceLostError, DeviceMemoryError, RestoreError
from streamrestore.frame import ChromaLocation, Chunk, Matrix, PixelFormat, Planes, VideoFormat
from streamrestore.lanes import Lanes
from streamrestore.patches import PatchPlan, plan_patches
from streamrestore.restorer import Restorer, RestorerSettings, _Download, _Piece
from streamrestore.tasks import Stages, Task
from tests.networks import noise_planes, tiny_model

CPU = RestorerSettings("cpu", Precision.FP32, threads=2)


def video(
    height: int = 45,
    width: int = 70,
    pixels: PixelFormat = PixelFormat("yuv420p", "yuv", 8, (1, 1)),  # noqa: B008 - frozen
) -> VideoFormat:
    return VideoFormat(width, height, pixels, Matrix.BT709, False, ChromaLocation.LEFT)


def chunk(
    form: VideoFormat, frames: int = 3, *, seed: int = 0, batch: int = 2, patch: int | None = 40, margin: int = 8
) -> Chunk:
    planes = noise_planes(form.plane_shapes(), frames, depth=form.pixels.depth, seed=seed)
    size = form.picture.upright_size
    plan = plan_patches(size, crop=32, batch_pixels=1, frames=frames, patch=patch, margin=margin)
    plan = replace(plan, batch=batch)
    return Chunk(form, plan, cast("Planes", planes))


def same(a: Planes, b: Planes) -> bool:
    return all(np.array_equal(x, y) and x.dtype == y.dtype for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("precision", list(Precision))
@pytest.mark.parametrize(
    "pixels",
    [
        PixelFormat("yuv420p", "yuv", 8, (1, 1)),
        PixelFormat("yuv422p10le", "yuv", 10, (0, 1)),
        PixelFormat("yuv444p12le", "yuv", 12, (0, 0)),
        PixelFormat("gbrp", "rgb", 8),
        PixelFormat("gray", "grey", 8),
    ],
    ids=lambda pixels: pixels.name,
)
def test_an_identity_network_returns_the_source_bit_for_bit(
    pixels: PixelFormat, precision: Precision, device: str
) -> None:
    restorer = Restorer([tiny_model(scale=0)], replace(CPU, device=device, precision=precision))
    given = chunk(video(pixels=pixels))
    assert same(restorer.restore(given).planes, given.planes)


def test_strength_zero_keeps_the_source_and_one_changes_it() -> None:
    given = chunk(video())
    nothing = Restorer([tiny_model()], replace(CPU, strength=0.0)).restore(given)
    assert same(nothing.planes, given.planes)
    assert not same(Restorer([tiny_model()], CPU).restore(given).planes, given.planes)


@pytest.mark.parametrize("precision", [Precision.FP32, Precision.BF16])
def test_a_frame_does_not_depend_on_what_shares_its_batch(precision: Precision, device: str) -> None:
    restorer = Restorer([tiny_model()], replace(CPU, device=device, precision=precision))
    form = video()
    together = chunk(form, frames=5, batch=4)
    alone = [tuple(plane[i : i + 1] for plane in together.planes) for i in range(5)]
    result = restorer.restore(together).planes
    for index, planes in enumerate(alone):
        single = restorer.restore(replace(together, planes=planes)).planes
        assert same(single, tuple(plane[index : index + 1] for plane in result))


def test_a_chunk_may_ask_for_some_tasks_of_the_chain() -> None:
    tasks: tuple[Task, ...] = ("denoise", "derain", "deblur")
    models = [replace(tiny_model(seed), task=task) for seed, task in enumerate(tasks)]
    together, given = Restorer(models, CPU), chunk(video())
    for some in (tasks, ("derain",), ("denoise", "deblur")):
        alone = Restorer([model for model in models if model.task in some], CPU)
        assert same(together.restore(replace(given, tasks=some)).planes, alone.restore(given).planes)
    assert same(together.restore(given).planes, together.restore(replace(given, tasks=tasks)).planes)
    assert same(together.restore(replace(given, tasks=())).planes, given.planes)


def test_a_chunk_may_ask_for_fewer_stages_and_none_is_taken_for_another() -> None:
    still = chunk(video(), frames=1)
    asked: tuple[Stages, ...] = (3, 1, 2, 1, 3)
    restorer = Restorer([tiny_model()], CPU)
    found = [restorer.restore(replace(still, stages=stages)).planes for stages in asked]
    for stages, planes in zip(asked, found, strict=True):
        alone = Restorer([tiny_model()], replace(CPU, stages=stages))
        assert same(planes, alone.restore(still).planes), "what a still picture gave with other stages is no repeat"
    assert not same(found[0], found[1])
    assert replace(still, stages=1).batch_kind != replace(still, stages=3).batch_kind


@pytest.mark.parametrize("stages", [1, 2, 3])
def test_a_patch_as_large_as_the_frame_is_the_network_itself(stages: Stages) -> None:
    model = tiny_model()
    form = VideoFormat(48, 40, PixelFormat("gbrp", "rgb", 8), Matrix.BT709, True, ChromaLocation.LEFT)
    given = chunk(form, frames=1, patch=64)
    result = Restorer([model], replace(CPU, stages=stages)).restore(given).planes
    network = _network(model)
    green, blue, red = (torch.from_numpy(plane).float() / 255 for plane in given.planes)
    with torch.inference_mode():
        wanted = network(torch.stack((red, green, blue), 1), stages)[-1].clamp(0, 1)
    for plane, channel in zip(result, (1, 2, 0), strict=True):
        assert np.abs(plane.astype(float) - wanted[:, channel].numpy() * 255).max() <= 0.5 + 1e-3


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_a_turned_video_is_restored_upright(turns: int) -> None:
    """The same as to turn the pictures, restore them, and turn them back."""
    upright = VideoFormat(70, 45, PixelFormat("gbrp", "rgb", 8), Matrix.BT709, True, ChromaLocation.LEFT)
    given = chunk(upright, frames=2)
    stored = tuple(np.ascontiguousarray(np.rot90(plane, -turns, (1, 2))) for plane in given.planes)
    height, width = stored[0].shape[1:]
    turned = replace(upright, height=height, width=width, quarter_turns=turns)
    assert turned.upright_size == (45, 70)
    restorer = Restorer([tiny_model()], CPU)
    result = restorer.restore(replace(given, format=turned, planes=cast("Planes", stored))).planes
    wanted = restorer.restore(given).planes
    assert all(np.array_equal(np.rot90(a, turns, (1, 2)), b) for a, b in zip(result, wanted, strict=True))


@pytest.mark.parametrize("precision", list(Precision))
@pytest.mark.parametrize(
    "pixels",
    [
        PixelFormat("yuv420p", "yuv", 8, (1, 1)),
        PixelFormat("yuv422p10le", "yuv", 10, (0, 1)),
        PixelFormat("gbrp", "rgb", 8),
        PixelFormat("gray", "grey", 8),
    ],
    ids=lambda pixels: pixels.name,
)
def test_fields_come_back_bit_for_bit_from_an_identity_network(
    pixels: PixelFormat, precision: Precision, device: str
) -> None:
    restorer = Restorer([tiny_model(scale=0)], replace(CPU, device=device, precision=precision))
    given = chunk(replace(video(44, pixels=pixels), fields=True))
    assert same(restorer.restore(given).planes, given.planes)


@pytest.mark.parametrize("turns", [0, 1])
@pytest.mark.parametrize("sampling", [(1, 1), (0, 1)], ids=["420", "422"])
def test_a_field_does_not_depend_on_the_other(sampling: tuple[int, int], turns: int) -> None:
    form = replace(video(44, pixels=PixelFormat("yuv", "yuv", 8, sampling)), fields=True, quarter_turns=turns)
    given, other = chunk(form, seed=1), chunk(form, seed=2)
    restorer = Restorer([tiny_model()], CPU)
    wanted = restorer.restore(given).planes
    for kept, changed in ((0, 1), (1, 0)):
        mixed = tuple(plane.copy() for plane in given.planes)
        for plane, noise in zip(mixed, other.planes, strict=True):
            plane[:, changed::2] = noise[:, changed::2]
        result = restorer.restore(replace(given, planes=mixed)).planes
        assert same(tuple(plane[:, kept::2] for plane in result), tuple(plane[:, kept::2] for plane in wanted))
        assert not np.array_equal(result[0][:, changed::2], wanted[0][:, changed::2])


def test_a_field_is_restored_as_a_picture_of_half_the_height() -> None:
    """Where no chroma is shared between rows, exactly as if it had come alone."""
    form = VideoFormat(70, 44, PixelFormat("gbrp", "rgb", 8), Matrix.BT709, True, ChromaLocation.LEFT, fields=True)
    assert form.picture == replace(form, height=22, fields=False)
    given = chunk(form, frames=2)
    restorer = Restorer([tiny_model()], CPU)
    result = restorer.restore(given).planes
    for parity in (0, 1):
        field = tuple(np.ascontiguousarray(plane[:, parity::2]) for plane in given.planes)
        alone = restorer.restore(replace(given, format=form.picture, planes=cast("Planes", field))).planes
        assert same(alone, tuple(plane[:, parity::2] for plane in result))


def test_a_chain_is_one_residual_of_the_last_output() -> None:
    models = [tiny_model(1), tiny_model(2)]
    form = VideoFormat(48, 40, PixelFormat("gbrp", "rgb", 8), Matrix.BT709, True, ChromaLocation.LEFT)
    given = chunk(form, frames=1, patch=64)
    result = Restorer(models, CPU).restore(given).planes
    green, blue, red = (torch.from_numpy(plane).float() / 255 for plane in given.planes)
    image = torch.stack((red, green, blue), 1)
    with torch.inference_mode():
        for model in models:
            image = _network(model)(image)[-1].clamp(0, 1)
    assert np.abs(result[0].astype(float) - image[:, 1].numpy() * 255).max() <= 0.5 + 1e-3


class _Blur(nn.Module):
    """A 9x9 mean: what it sees of a pixel is well inside the margin."""

    def forward(self, image: Tensor, stages: int) -> tuple[Tensor, ...]:
        return (torch.nn.functional.avg_pool2d(image, 9, stride=1, padding=4, count_include_pad=False),)


def test_patches_of_a_local_network_merge_to_the_whole_frame() -> None:
    form = video(77, 99)
    cut = chunk(form, patch=48, frames=2)
    whole = replace(cut, plan=plan_patches((77, 99), crop=32, batch_pixels=1, frames=2, whole_pixels=1 << 20))
    assert len(cut.plan.spans()) > 1
    restorer = Restorer([tiny_model()], CPU)
    restorer._networks = [_Blur()]
    a, b = restorer.restore(cut).planes, restorer.restore(whole).planes
    # Padding differs below and right of the frame, where a whole frame needs more of it.
    for x, y, edge in zip(a, b, (8, 4, 4), strict=True):
        assert np.array_equal(x[:, :-edge, :-edge], y[:, :-edge, :-edge])


def test_devices_agree(device: str) -> None:
    """To a code value: float32 sums in another order, rounded once."""
    given = chunk(video())
    on_cpu = Restorer([tiny_model()], CPU).restore(given).planes
    there = Restorer([tiny_model()], replace(CPU, device=device)).restore(given).planes
    assert max(np.abs(a.astype(int) - b.astype(int)).max() for a, b in zip(on_cpu, there, strict=True)) <= 1


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (7, 9), (8, 8), (33, 50)])
def test_tiny_and_odd_frames_are_restored(size: tuple[int, int]) -> None:
    given = chunk(video(*size), frames=2)
    result = Restorer([tiny_model()], CPU).restore(given).planes
    assert [plane.shape for plane in result] == [plane.shape for plane in given.planes]


class _MemoryLimit(nn.Module):
    """Runs out of memory above a batch size, as a GPU does."""

    def __init__(self, largest: int) -> None:
        super().__init__()
        self.largest = largest
        self.tried = list[int]()

    def forward(self, image: Tensor, stages: int) -> tuple[Tensor, ...]:
        self.tried.append(image.shape[0])
        if image.shape[0] > self.largest:
            raise torch.OutOfMemoryError("out of memory")
        return (image + 0.1,)


def test_out_of_memory_halves_the_batch_and_loses_no_frame() -> None:
    restorer = Restorer([tiny_model()], CPU)
    given = chunk(video(), frames=3, batch=8)
    limit = _MemoryLimit(2)
    restorer._networks = [limit]
    result = restorer.restore(given).planes
    assert limit.tried[:3] == [8, 4, 2]
    unlimited = Restorer([tiny_model()], CPU)
    unlimited._networks = [_MemoryLimit(8)]
    assert same(result, unlimited.restore(given).planes)
    limit.tried.clear()
    restorer.restore(given)
    assert set(limit.tried) == {2}
    limit.tried.clear()
    restorer.restore(chunk(video(), frames=3, batch=4))
    assert limit.tried[0] == 4, "another plan begins with its own batch, whatever came before"


class _Crowded(nn.Module):
    """Runs out of memory while the restorer keeps anything of other chunks."""

    def __init__(self, restorer: Restorer) -> None:
        super().__init__()
        self.restorer = restorer
        self.tried = list[int]()

    def forward(self, image: Tensor, stages: int) -> tuple[Tensor, ...]:
        self.tried.append(len(image))
        if self.restorer._memory is not None:
            raise torch.OutOfMemoryError("out of memory")
        return (image + 0.1,)


def test_what_is_kept_of_other_chunks_makes_way_before_the_batch_is_halved() -> None:
    restorer = Restorer([tiny_model()], CPU)
    crowded = _Crowded(restorer)
    restorer._networks = [crowded]
    restorer.restore(chunk(video(), batch=4))
    for batch in (4, 1):
        crowded.tried.clear()
        restorer.restore(chunk(video(), batch=batch, seed=1))
        assert set(crowded.tried) == {batch}


def test_memory_that_runs_out_beside_the_network_counts_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(*_: object, **__: object) -> Tensor:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr("streamrestore.restorer.to_pictures", no_room)
    with pytest.raises(DeviceMemoryError):
        Restorer([tiny_model()], CPU).restore(chunk(video(), batch=1))


def test_a_device_that_fails_is_said_in_our_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object, **__: object) -> Tensor:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr("streamrestore.restorer.to_pictures", failing)
    with pytest.raises(RestoreError, match="cpu failed: CUDA error"):
        Restorer([tiny_model()], CPU).restore(chunk(video()))


def test_a_device_that_fails_with_everything_is_told_from_one_that_failed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object, **__: object) -> Tensor:
        raise RuntimeError("CUDA error: device-side assert triggered")

    monkeypatch.setattr("streamrestore.restorer.to_pictures", failing)
    restorer = Restorer([tiny_model()], CPU)
    restorer._settings = replace(CPU, device="meta")  # which fails with everything
    with pytest.raises(DeviceLostError, match="meta fails with whatever it is given"):
        restorer.restore(chunk(video()))


def test_one_patch_too_large_is_said_with_its_size() -> None:
    restorer = Restorer([tiny_model()], CPU)
    restorer._networks = [_MemoryLimit(0)]
    with pytest.raises(DeviceMemoryError, match="one patch of 40x32 px"):
        restorer.restore(chunk(video()))


def test_a_result_that_is_not_finite_is_refused() -> None:
    model = tiny_model()
    broken = replace(model, tensors={**model.tensors, "tail.weight": model.tensors["tail.weight"] * 1e39})
    with pytest.raises(RestoreError, match="not finite"):
        Restorer([broken], CPU).restore(chunk(video()))


def test_local_pooling_changes_nothing_within_its_windows() -> None:
    given = chunk(video(48, 48), patch=48)
    plain = Restorer([tiny_model(crop=32)], CPU).restore(given).planes
    assert same(Restorer([tiny_model(crop=32)], replace(CPU, local_pooling=True)).restore(given).planes, plain)
    larger = replace(given, plan=PatchPlan((48, 48), (48, 48), (48, 48), 8, 2))
    narrow = Restorer([tiny_model(crop=8)], replace(CPU, local_pooling=True)).restore(larger).planes
    assert not same(narrow, plain)


def _network(model: Model) -> nn.Module:
    restorer = Restorer([model], CPU)
    return restorer._networks[0]


class _Counting(nn.Module):
    """Counts the patches it is given that are not filling."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.patches = 0
        self.batches = list[int]()

    def forward(self, image: Tensor, stages: Stages) -> tuple[Tensor, ...]:
        self.patches += int(image.flatten(1).any(1).sum())
        self.batches.append(len(image))
        images: tuple[Tensor, ...] = self.network(image, stages)
        return images


def _counted(**settings: object) -> tuple[Restorer, _Counting]:
    restorer = Restorer([tiny_model()], replace(CPU, **settings))  # type: ignore[arg-type] # any of its fields
    counting = _Counting(restorer._networks[0])
    restorer._networks = [counting]
    return restorer, counting


def still(frames: int, *, moving: int = 0, fields: bool = False, seed: int = 0) -> Chunk:
    """Frames of one picture, but for one corner of the last ``moving`` ones."""
    form = video(44, pixels=PixelFormat("gray", "grey", 8))
    given = chunk(replace(form, fields=fields), frames=frames, seed=seed, margin=4)
    (plane,) = given.planes
    plane[1:] = plane[0]
    for frame in range(frames - moving, frames):
        plane[frame, :2, :2] += np.uint8(frame)
    return given


@pytest.mark.parametrize("fields", [False, True])
@pytest.mark.parametrize("precision", [Precision.FP32, Precision.BF16])
def test_what_repeats_is_not_computed_again_and_no_byte_differs(precision: Precision, fields: bool) -> None:
    given = still(4, moving=2, fields=fields)
    reusing, counting = _counted(precision=precision)
    plain, all_counted = _counted(precision=precision, reuse=False)
    assert same(reusing.restore(given).planes, plain.restore(given).planes)
    pictures = 2 if fields else 1
    patches = given.plan.patches * pictures
    assert all_counted.patches == 4 * patches
    assert counting.patches == patches + 2 * pictures, "the whole of the first frame, and one corner of the last two"


def test_the_last_frame_of_a_chunk_serves_the_next_chunk() -> None:
    reusing, counting = _counted()
    plain, _ = _counted(reuse=False)
    first, second = still(2), still(3, moving=1)
    assert same(reusing.restore(first).planes, plain.restore(first).planes)
    before = counting.patches
    assert same(reusing.restore(second).planes, plain.restore(second).planes)
    assert counting.patches - before == 1
    other = replace(second, format=replace(second.format, full_range=True))
    assert same(reusing.restore(other).planes, plain.restore(other).planes)
    moved = still(2, seed=9)
    assert same(reusing.restore(moved).planes, plain.restore(moved).planes)


def test_a_clip_that_stands_still_costs_nothing_from_the_second_chunk_on() -> None:
    reusing, counting = _counted()
    wanted = reusing.restore(still(3)).planes
    counting.patches = 0
    assert same(reusing.restore(still(3)).planes, wanted)
    assert counting.patches == 0


def test_with_a_threshold_a_chunk_does_not_depend_on_the_one_before() -> None:
    noisy = still(4)
    noise = np.random.default_rng(3).integers(-1, 2, noisy.planes[0].shape)
    noisy = replace(noisy, planes=((noisy.planes[0] // 2 + 60 + noise).astype(np.uint8),))
    reusing, counting = _counted(reuse_threshold=2.4)
    first = reusing.restore(noisy).planes
    # Limited range is stretched: one code of luma is 1.16 of RGB, and there are two at most between two frames.
    assert counting.patches == noisy.plan.patches
    assert not np.array_equal(first[0][0], noisy.planes[0][0])
    assert all(np.array_equal(frame, first[0][0]) for frame in first[0]), "all frames have the first one's result"
    reusing.restore(still(4, seed=5))
    assert same(reusing.restore(noisy).planes, first)
    exact, all_counted = _counted()
    exact.restore(noisy)
    assert all_counted.patches == 4 * noisy.plan.patches


@pytest.mark.parametrize("precision", [Precision.FP32, Precision.BF16])
def test_chunks_of_other_sizes_share_batches_and_no_byte_differs(precision: Precision, device: str) -> None:
    """As streams on one worker do: patches and batches of one shape, frames of several."""
    given = [chunk(video(45, 70), frames=1, batch=4), chunk(video(70, 45), frames=2, batch=4, seed=1)]
    given[1] = replace(given[1], plan=replace(given[1].plan, patch=given[0].plan.patch, padded=(70, 45)))
    assert given[0].batch_kind == given[1].batch_kind
    restorer = Restorer([tiny_model()], replace(CPU, precision=precision, device=device, reuse=False))
    alone = [restorer.restore(each).planes for each in given]
    together = restorer.begin(given)()
    assert all(same(a, b.planes) for a, b in zip(alone, together, strict=True))


def test_chunks_that_share_batches_leave_none_half_empty() -> None:
    given = [chunk(video(), frames=frames, batch=4, seed=frames) for frames in (1, 2)]
    restorer, counting = _counted()
    restorer.begin(given)()
    assert counting.batches == [4] * -(-sum(each.patches for each in given) // 4)


@pytest.mark.parametrize("precision", [Precision.FP32, Precision.BF16])
def test_no_byte_depends_on_reuse_or_on_how_many_chunks_are_begun_at_once(precision: Precision, device: str) -> None:
    """Where the device works by itself, chunks are on their way at once: up, in the network, and down."""
    given = [still(4, moving=moving, seed=seed) for seed in (0, 1) for moving in (0, 2, 3)]
    restorer = Restorer([tiny_model()], replace(CPU, precision=precision, device=device))
    results = [restorer.begin([each]) for each in given]
    plain = Restorer([tiny_model()], replace(CPU, precision=precision, device=device, reuse=False))
    for each, result in zip(given, results, strict=True):
        (restored,) = result()
        assert same(restored.planes, plain.restore(each).planes)


class _Overlapping(Lanes):
    overlap = True


def test_what_another_lane_reads_lives_until_the_result_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream's memory that is given back is written to at once, whether others still read it or not."""
    restorer = Restorer([tiny_model()], CPU)
    restorer._lanes = _Overlapping(torch.device("cpu"))
    read = list[weakref.ref[object]]()
    finish = restorer._finish

    def watched(piece: _Piece, restored: Tensor) -> _Download:
        read.extend(map(weakref.ref, (restored, piece.patches, *piece.planes, *restorer._cutters.values())))
        return finish(piece, restored)

    monkeypatch.setattr(restorer, "_finish", watched)
    results = restorer.begin([chunk(video())])
    restorer._cutters.clear()
    assert len(read) == 6
    assert all(each() is not None for each in read)
    results()
    del results
    assert all(each() is None for each in read)


def test_one_chunk_that_is_not_finite_is_said_for_all_that_shared_its_batch() -> None:
    model = tiny_model()
    broken = replace(model, tensors={**model.tensors, "tail.weight": model.tensors["tail.weight"] * 1e39})
    results = Restorer([broken], CPU).begin([chunk(video()), chunk(video(), seed=1)])
    with pytest.raises(RestoreError, match="not finite"):
        results()


def test_local_pooling_gives_the_same_bytes_each_time(device: str) -> None:
    given = chunk(video(72, 96), patch=96)
    settings = replace(CPU, device=device, local_pooling=True)
    results = [Restorer([tiny_model(crop=16)], settings).restore(given).planes for _ in range(3)]
    assert same(results[0], results[1])
    assert same(results[0], results[2])


def test_what_memory_left_of_a_batch_is_kept_for_its_kind_alone() -> None:
    restorer = Restorer([tiny_model()], CPU)
    limit = _MemoryLimit(2)
    restorer._networks = [limit]
    one, other = chunk(video(), batch=8), chunk(video(96, 96), batch=2, seed=2)
    for given in (one, other):
        restorer.restore(given)
    limit.tried.clear()
    for given in (one, other, one):
        restorer.restore(replace(given, planes=tuple(plane[::-1].copy() for plane in given.planes)))
    assert set(limit.tried) == {2}
