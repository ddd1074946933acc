"""Planes in, restored planes out, on one device.

Frames of one or several chunks are cut into patches, and these share batches of fixed shape; the last batch is
filled up, so a patch's result never depends on what was beside it. So a patch that was restored before, bit for
bit the same, need not be restored again.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from streamrestore.checkpoint import Model, build_network
from streamrestore.color import add_residuals, to_pictures
from streamrestore.cutting import PatchCutter
from streamrestore.devices import Precision
from streamrestore.ensemble import SelfEnsemble
from streamrestore.errors import DeviceMemoryError, RestoreError
from streamrestore.frame import BatchKind, Chunk, Restored, VideoFormat
from streamrestore.graphs import GraphMaker
from streamrestore.lanes import Mark, open_lanes
from streamrestore.patches import PatchPlan
from streamrestore.reuse import find_repeats
from streamrestore.soundness import check_device, is_out_of_memory
from streamrestore.tasks import Stages, Task

PLANS_KEPT = 8
"""Plans and shapes of batches whose indices and CUDA graphs are kept: those of a few streams of one worker."""


@dataclass(frozen=True, slots=True)
class RestorerSettings:
    """How networks are run. The same on every worker of a job."""

    device: str
    """A torch device name: ``cpu``, ``cuda`` or ``mps``."""
    precision: Precision
    stages: Stages = 3
    local_pooling: bool = False
    strength: float = 1.0
    """Factor on what the networks changed, 0 to 1."""
    threads: int = 0
    """CPU threads; 0 leaves torch's own number, which is right on a GPU."""
    self_ensemble: bool = False
    """Ask each network several times, as `SelfEnsemble` does; those for rain without quarter turns."""
    reuse: bool = True
    """Whether a patch that shows what the same place of the frame before showed takes its result."""
    reuse_threshold: float = 0.0
    """By how many codes of 8 bits samples may differ and still show the same. With 0, reuse changes no byte. With
    more, results are only taken from frames of the same chunk, so that they do not depend on who restored what."""


@dataclass(frozen=True, slots=True)
class _Memory:
    """The last frame that was restored, on the device."""

    kind: tuple[VideoFormat, PatchPlan, tuple[Task, ...] | None, Stages | None]
    """Of its chunk: only one of the same kind may take its results."""
    patches: Tensor
    """``[P, 3, h, w]``"""
    restored: Tensor
    """Like ``patches``."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """One chunk on the device. Holds what its lanes use until they are done."""

    chunk: Chunk
    cutter: PatchCutter
    planes: tuple[Tensor, ...]
    patches: Tensor
    """``[F, P, 3, h, w]``: frames, and the patches of all pictures of a frame."""
    sources: Tensor
    """``[F, P]``: the frame whose result each patch takes, -1 for the one before the chunk."""
    computed: Tensor
    """``[N]``: those of the F x P patches whose results are computed."""
    before: _Memory | None


@dataclass(frozen=True, slots=True)
class _Download:
    """What comes back of one chunk; to be read once the mark is passed."""

    planes: tuple[Tensor, ...]
    finite: Tensor
    """Whether the networks gave numbers only."""
    restored: Tensor
    """What they were made of, which another lane computed: held until this one has read it."""


class Restorer:
    """Restores chunks with one network, or with a chain of them in order. Passive; one per thread."""

    def __init__(self, models: Sequence[Model], settings: RestorerSettings) -> None:
        """Build the networks on the device.

        Raises:
            ModelError: Weights and network do not fit.
            DeviceMemoryError: The weights alone do not fit the device.
        """
        if settings.threads:
            torch.set_num_threads(settings.threads)
        # By default float32 convolutions drop 13 bits on a GPU, and may differ from call to call.
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False
        self._settings = settings
        self._device = torch.device(settings.device)
        self._batches: dict[BatchKind, int] = {}
        """Patches of one forward pass: the plan's, or what memory left of it."""
        self._graphs = GraphMaker()
        self._calls: dict[tuple[BatchKind, int], Callable[[Tensor], Tensor]] = {}
        self._cutters: dict[PatchPlan, PatchCutter] = {}
        self._memory: _Memory | None = None
        self._remembers = settings.reuse and not settings.reuse_threshold
        self._tasks = tuple(model.task for model in models)
        self._networks = list[nn.Module]()
        for model in models:
            network = build_network(model)
            network.use_local_pooling(model.crop if settings.local_pooling else None)
            try:
                network.to(self._device, settings.precision.dtype())
            except RuntimeError as error:
                if is_out_of_memory(error):
                    raise DeviceMemoryError(f"the weights of {model.name} do not fit {settings.device}") from error
                raise
            # torch takes a memory format alone, but does not say so in its types.
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            turning = SelfEnsemble(network, quarter_turns=model.task != "derain")
            self._networks.append(turning if settings.self_ensemble else network)
        self._lanes = open_lanes(self._device)

    @property
    def overlaps(self) -> bool:
        """Whether the device works by itself once it has all to do."""
        return self._lanes.overlap

    def restore(self, chunk: Chunk) -> Restored:
        """Restore every frame of a chunk.

        When the device runs out of memory the batch is halved, from then on for all chunks of this
        kind, until one patch does not fit.

        Raises:
            DeviceMemoryError: One patch of the plan does not fit the device.
            DeviceLostError: The device does not work any more.
            RestoreError: The network's result is not finite, or the device failed.
        """
        (restored,) = self.begin([chunk])()
        return restored

    def begin(self, chunks: Sequence[Chunk]) -> Callable[[], tuple[Restored, ...]]:
        """Begin to restore some chunks, whose patches share batches.

        Where the device works by itself, it has all to do when this returns: begin the next chunks,
        and only then ask for the result. Elsewhere asking is what does the work.

        Args:
            chunks: At least one; all of one `Chunk.batch_kind`.

        Returns:
            Waits for the result, one for each chunk, and raises as `restore` does, whichever chunk
            is to blame; to be called once.

        Raises:
            DeviceMemoryError, DeviceLostError, RestoreError: As `restore`.
        """
        if self.overlaps:
            return self._launch(chunks)
        return lambda: self._launch(chunks)()

    def _launch(self, chunks: Sequence[Chunk]) -> Callable[[], tuple[Restored, ...]]:
        kind = chunks[0].batch_kind
        batch = self._batches.setdefault(kind, chunks[0].plan.batch)
        alone = self._memory is None and not self._calls
        while True:
            try:
                with self._device_errors(), torch.inference_mode():
                    pieces, downloads, mark = self._enqueue(chunks)
            except DeviceMemoryError as error:
                if alone and batch == 1:
                    height, width = chunks[0].plan.patch
                    raise DeviceMemoryError(
                        f"one patch of {width}x{height} px does not fit the memory of {self._settings.device}"
                    ) from error
            else:
                return lambda: self._collect(pieces, downloads, mark)
            # Only now: until here the error's traceback holds the tensors that were in the way.
            self._forget()
            # What is kept of other chunks makes way first: a batch must not depend on what came before.
            if alone:
                self._batches[kind] = batch = batch // 2
            alone = True

    def _forget(self) -> None:
        self._memory = None
        self._calls.clear()
        self._graphs = GraphMaker()

    @contextmanager
    def _device_errors(self) -> Iterator[None]:
        """Say in our words what torch says of the device."""
        try:
            yield
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise DeviceMemoryError(f"{self._settings.device} is out of memory") from error
            check_device(self._settings.device)
            raise RestoreError(f"{self._settings.device} failed: {error}") from error

    def _enqueue(self, chunks: Sequence[Chunk]) -> tuple[list[_Piece], list[_Download], Mark]:
        lanes = self._lanes
        with lanes.uploading():
            pieces = [self._cut(chunk, self._memory if chunk is chunks[0] else None) for chunk in chunks]
            last = pieces[-1].patches[-1].clone() if self._remembers else None
        with lanes.computing():
            active = [_active(piece) for piece in pieces]
            together = active[0] if len(active) == 1 else torch.cat(active)
            results = torch.split(self._compute(together, chunks[0]), [len(some) for some in active])
            restored = [_spread(result, piece) for result, piece in zip(results, pieces, strict=True)]
            if last is not None:
                self._memory = _Memory(_kind(chunks[-1]), last, restored[-1][-1].clone())
        with lanes.downloading():
            downloads = [self._finish(piece, result) for piece, result in zip(pieces, restored, strict=True)]
        return pieces, downloads, lanes.mark()

    def _collect(self, pieces: Sequence[_Piece], downloads: Sequence[_Download], mark: Mark) -> tuple[Restored, ...]:
        with self._device_errors():
            seconds = mark.wait()
        if not all(download.finite for download in downloads):
            raise RestoreError(
                f"the network's result is not finite in {self._settings.precision}: "
                "use --precision bf16 or fp32, and check the weights with: streamrestore weights verify"
            )
        frames = sum(len(piece.patches) for piece in pieces)
        return tuple(
            Restored(tuple(plane.numpy() for plane in download.planes), seconds * len(piece.patches) / frames)
            for piece, download in zip(pieces, downloads, strict=True)
        )

    def _cut(self, chunk: Chunk, before: _Memory | None) -> _Piece:
        cutter = self._cutter(chunk.plan)
        planes = tuple(self._lanes.upload(plane) for plane in chunk.planes)
        patches = _by_frame(cutter.cut(to_pictures(planes, chunk.format)), chunk.format.pictures_per_frame)
        frames, places = patches.shape[:2]
        sources = own = torch.arange(frames, device=self._device).view(-1, 1).expand(-1, places)
        computed = torch.arange(frames * places, device=self._device)
        if before is not None and before.kind != _kind(chunk):
            before = None
        if self._settings.reuse:
            earlier = None if before is None else before.patches
            sources = find_repeats(patches, earlier, self._settings.reuse_threshold / 255)
            # The one place where the device is waited for: how many there are decides what is launched.
            computed = computed[(sources == own).flatten()]
        return _Piece(chunk, cutter, planes, patches, sources, computed, before)

    def _cutter(self, plan: PatchPlan) -> PatchCutter:
        if plan not in self._cutters:
            _make_room(self._cutters)
            self._cutters[plan] = PatchCutter(plan, self._device)
        return self._cutters[plan]

    def _compute(self, patches: Tensor, chunk: Chunk) -> Tensor:
        """What the chain makes of ``[N, 3, h, w]`` patches, clamped to [0, 1]."""
        restored, count = torch.empty_like(patches), self._batches[chunk.batch_kind]
        # Always of one shape: with another one, sums may be added up in another order.
        batch = patches.new_zeros((count, *patches.shape[1:])).contiguous(memory_format=torch.channels_last)
        for first in range(0, len(patches), count):
            some = patches[first : first + count]
            batch[: len(some)] = some
            batch[len(some) :] = 0
            restored[first : first + len(some)] = self._call(chunk, batch)(batch)[: len(some)]
        return restored

    def _call(self, chunk: Chunk, batch: Tensor) -> Callable[[Tensor], Tensor]:
        """The chain of a chunk's tasks as a function of batches like this one."""
        key = (chunk.batch_kind, len(batch))
        if key not in self._calls:
            _make_room(self._calls)
            chain, stages = self._chain(chunk.tasks), chunk.stages or self._settings.stages
            self._calls[key] = self._graphs.launch_together(lambda image: self._restored(image, chain, stages), batch)
        return self._calls[key]

    def _chain(self, tasks: Sequence[Task] | None) -> list[nn.Module]:
        """The networks of these tasks, or all of them, in order."""
        networks = zip(self._tasks, self._networks, strict=True)
        return [network for task, network in networks if tasks is None or task in tasks]

    def _restored(self, image: Tensor, chain: Sequence[nn.Module], stages: Stages) -> Tensor:
        for network in chain:
            out = network(image, stages)[-1]
            # The clamp would hide an overflow to infinity behind a white pixel; not a number goes through.
            image = torch.where(out.isfinite(), out, torch.nan).clamp(0, 1)
        return image

    def _finish(self, piece: _Piece, restored: Tensor) -> _Download:
        """Put the change onto the planes, and send them down."""
        video = piece.chunk.format
        change = _by_picture(restored - piece.patches, video.pictures_per_frame)
        residual = piece.cutter.join(change)
        planes = add_residuals(piece.planes, residual, video, strength=self._settings.strength)
        download = self._lanes.download
        return _Download(tuple(download(plane) for plane in planes), download(residual.isfinite().all()), restored)


def _kind(chunk: Chunk) -> tuple[VideoFormat, PatchPlan, tuple[Task, ...] | None, Stages | None]:
    return chunk.format, chunk.plan, chunk.tasks, chunk.stages


def _make_room(kept: dict[Any, Any]) -> None:
    """Forget the oldest of what is kept, if one more would be too many."""
    if len(kept) >= PLANS_KEPT:
        del kept[next(iter(kept))]


def _by_frame(patches: Tensor, parts: int) -> Tensor:
    """``[parts x F, P, ...]``, all first pictures before all second ones, to ``[F, parts x P, ...]``."""
    return patches.reshape(parts, -1, *patches.shape[1:]).transpose(0, 1).flatten(1, 2)


def _by_picture(patches: Tensor, parts: int) -> Tensor:
    """The inverse of `_by_frame`."""
    return patches.reshape(len(patches), parts, -1, *patches.shape[2:]).transpose(0, 1).flatten(0, 1)


def _active(piece: _Piece) -> Tensor:
    """``[N, 3, h, w]``: the patches of a piece whose results are computed."""
    patches = piece.patches.flatten(0, 1)
    return patches if len(piece.computed) == len(patches) else patches[piece.computed]


def _spread(results: Tensor, piece: _Piece) -> Tensor:
    """Give each patch of a piece its result: ``[N, 3, h, w]`` to ``[F, P, 3, h, w]``."""
    frames, places = piece.sources.shape
    if len(results) == frames * places:
        return results.reshape(piece.patches.shape)
    restored = torch.empty_like(piece.patches)
    restored.flatten(0, 1)[piece.computed] = results
    known = restored if piece.before is None else torch.cat((piece.before.restored[None], restored))
    place = torch.arange(places, device=results.device)
    return known[piece.sources + (len(known) - frames), place]
