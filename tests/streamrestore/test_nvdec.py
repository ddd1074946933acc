"""A GPU's decoder gives what software gives, or is not used; damage is accounted for as in software."""

import random
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from streamrestore import nvdec
from streamrestore.errors import ConfigError
from streamrestore.formats import ColourTags, video_format
from streamrestore.frame import Defect, Frame, planes_md5
from streamrestore.nvdec import EXACT_CODECS, Nvdec, open_nvdec
from streamrestore.nvdec_trial import make_sample, try_nvdec
from streamrestore.planes import build_frame, copy_planes
from streamrestore.probing import SourceInfo, open_container, probe
from streamrestore.samples import sample_layout
from streamrestore.source import WHOLE, Source, Trim
from tests.clips import Clip, make_clip
from tests.nvdec import LAYOUTS, laid_out, refuse_software, stand_in

SMALL = Clip(pts=range(48), time_base=Fraction(1, 30), size=(96, 160), gop=12)
X264 = {"preset": "veryfast", "crf": "26"}
X265 = {"preset": "ultrafast", "x265-params": "keyint=12:min-keyint=12:pools=1:log-level=none"}
CLIPS = {
    "h264.mp4": replace(SMALL, options=X264, b_frames=3),
    "h264.mkv": replace(SMALL, options=X264 | {"x264-params": "open-gop=1:b-pyramid=strict"}, b_frames=3),
    "h264.ts": replace(SMALL, options=X264, b_frames=2),
    "full.mp4": replace(SMALL, options=X264, pix_fmt="yuvj420p"),
    "hevc.mp4": replace(SMALL, codec="libx265", options=X265),
    "hevc10.mkv": replace(SMALL, codec="libx265", options=X265, pix_fmt="yuv420p10le"),
    "vp9.webm": replace(SMALL, codec="libvpx-vp9", options={"cpu-used": "8", "auto-alt-ref": "1", "b": "300k"}),
    "av1.mkv": replace(SMALL, codec="libsvtav1", options={"preset": "12", "svtav1-params": "keyint=12:lp=1"}),
}
ON_GPU = pytest.mark.parametrize("device", [pytest.param("cuda", marks=pytest.mark.gpu)], indirect=True)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("clips")
    return {name: make_clip(folder / name, clip) for name, clip in CLIPS.items()}


def damage(path: Path, damaged: Path, seed: int) -> Path:
    """A copy in which the second half of some packets is noise; with seed 0 all of them."""
    random_numbers = random.Random(seed)
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size and packet.pos]
    for start, size in random_numbers.sample(packets[5:], 3):
        first = start + (0 if seed == 0 else size // 2)
        data[first : start + size] = random_numbers.randbytes(start + size - first)
    damaged.write_bytes(data)
    return damaged


def see(source: Path | SourceInfo, decoder: Nvdec | None = None, trim: Trim = WHOLE) -> list[tuple[object, ...]]:
    """What matters of each frame."""

    def seen(frame: Frame) -> tuple[object, ...]:
        return frame.pts, frame.duration, planes_md5(frame.planes), frame.defects, frame.lost

    info = probe(source) if isinstance(source, Path) else source
    with Source(info, nvdec=decoder) as opened:
        return [seen(frame) for frame in opened.frames(trim)]


@pytest.mark.parametrize(("name", "layout"), [("yuv420p", "nv12"), ("yuv420p10le", "p010le")])
@pytest.mark.parametrize("size", [(96, 160), (34, 50)])
def test_what_comes_down_are_the_samples_of_the_source(name: str, layout: str, size: tuple[int, int]) -> None:
    video = video_format(size[1], size[0], name, ColourTags(), "h264")
    random = np.random.default_rng(1)
    kind = np.uint8 if video.pixels.depth == 8 else np.uint16
    planes = tuple(random.integers(0, 2**video.pixels.depth, shape, kind) for shape in video.plane_shapes())
    image = laid_out(build_frame(planes, video))
    assert image.format.name == layout
    assert sample_layout(layout).pixels == video.pixels
    for given, found in zip(planes, copy_planes(image, sample_layout(layout), video), strict=True):
        assert np.array_equal(given, found)


@pytest.mark.parametrize("name", CLIPS)
def test_frames_are_those_of_software(clips: dict[str, Path], monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    path = clips[name]
    wanted = see(path)
    stand_in(monkeypatch)
    decoder = try_nvdec(probe(path), 0)
    assert decoder == Nvdec(0, LAYOUTS[CLIPS[name].pix_fmt])
    refuse_software(monkeypatch)
    info = probe(path)
    assert len(wanted) == len(SMALL.pts)
    assert see(info, decoder) == wanted
    start, stop = wanted[30], wanted[40]
    assert isinstance(start[0], int)
    assert isinstance(stop[0], int)
    assert see(info, decoder, Trim(start[0], stop[0])) == wanted[30:40]


@pytest.mark.parametrize("name", CLIPS)
@pytest.mark.parametrize("seed", range(4))
def test_damage_that_is_seen_is_accounted_for_as_in_software(
    clips: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, seed: int
) -> None:
    wanted = see(path := damage(clips[name], tmp_path / name, seed))
    # Damaged packets of this one still come; where the decoder happens to notice nothing, damage is done elsewhere.
    while name == "h264.mp4" and not any(defects or lost for _, _, _, defects, lost in wanted):
        seed += 4
        wanted = see(path := damage(clips[name], tmp_path / name, seed))
    assert wanted != see(clips[name])
    stand_in(monkeypatch)
    decoder = Nvdec(0, LAYOUTS[CLIPS[name].pix_fmt])
    assert see(path, decoder) == wanted
    later = wanted[len(wanted) // 2][0]
    assert isinstance(later, int)
    assert see(path, decoder, Trim(later, None)) == wanted[len(wanted) // 2 :]


def test_pictures_of_another_size_are_left_to_software(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "two.ts"
    parts = [replace(CLIPS["h264.ts"], pts=range(0, 12)), replace(CLIPS["h264.ts"], pts=range(12, 24), size=(64, 96))]
    for number, part in enumerate(parts):
        with path.open("ab") as file:
            file.write(make_clip(tmp_path / f"{number}.ts", part).read_bytes())
    wanted = see(path)
    assert any(Defect.RESCALED in frame[3] for frame in wanted if isinstance(frame[3], tuple))
    stand_in(monkeypatch)
    assert see(path, Nvdec(0, "nv12")) == wanted


def test_a_gpu_that_is_gone_costs_no_frame(clips: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = see(clips["h264.mp4"])

    def gone(codec: str, gpu: int) -> VideoCodecContext:
        raise ConfigError("no such device")

    monkeypatch.setattr(nvdec, "_on_gpu", gone)
    assert see(clips["h264.mp4"], Nvdec(0, "nv12")) == wanted


def test_a_gpu_that_fails_on_the_way_costs_no_frame(clips: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = see(clips["h264.mp4"])
    given = 0

    def fail(image: VideoFrame) -> VideoFrame:
        nonlocal given
        given += 1
        if given > 20:
            raise av.error.ExternalError(0, "the decoder was lost")
        return laid_out(image)

    stand_in(monkeypatch, fail)
    assert see(clips["h264.mp4"], Nvdec(0, "nv12")) == wanted
    assert given > 20


def test_other_pictures_than_softwares_are_refused(clips: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def one_bit_off(image: VideoFrame) -> VideoFrame:
        image = laid_out(image)
        samples = np.frombuffer(memoryview(image.planes[1]), np.uint8)
        samples[70] ^= 1
        return image

    stand_in(monkeypatch, one_bit_off)
    with pytest.raises(ConfigError, match=r"other pictures of h264 in yuv420p at 160x96 than software"):
        try_nvdec(probe(clips["h264.mp4"]), 0)


def test_twelve_bits_that_come_down_as_sixteen_are_refused(
    clips: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(monkeypatch, lambda image: image.reformat(format="p016le", threads=1))
    with pytest.raises(ConfigError, match="other pictures"):
        try_nvdec(probe(clips["hevc10.mkv"]), 0)


def test_a_stream_that_a_gpu_does_not_take(clips: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(image: VideoFrame) -> VideoFrame:
        raise av.error.InvalidDataError(0, "no hardware configuration")

    stand_in(monkeypatch, refuse)
    with pytest.raises(ConfigError, match=r"NVDEC on cuda:0 does not take vp9 in yuv420p at 160x96"):
        try_nvdec(probe(clips["vp9.webm"]), 0)


def test_codecs_that_leave_bits_open_are_not_tried(tmp_path: Path) -> None:
    path = make_clip(
        tmp_path / "clip.ts", Clip(pts=range(12), time_base=Fraction(1, 30), codec="mpeg2video", options={})
    )
    with pytest.raises(ConfigError, match=r"only of h264, hevc, vp9, av1 .* this is mpeg2video"):
        try_nvdec(probe(path), 0)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a driver")
@pytest.mark.parametrize("codec", EXACT_CODECS)
def test_without_a_driver_it_is_said_at_once(tmp_path: Path, codec: str) -> None:
    with pytest.raises(ConfigError, match=r"FFmpeg cannot use cuda:0 \("):
        try_nvdec(make_sample(tmp_path, codec), 0)


def test_codecs_that_no_gpu_decodes_do_not_become_software(tmp_path: Path) -> None:
    with (
        open_container(make_clip(tmp_path / "clip.mkv", Clip(codec="ffv1", options={}))) as container,
        pytest.raises(ConfigError, match="no ffv1 on NVDEC"),
    ):
        open_nvdec(container.streams.video[0], 0)


@ON_GPU
@pytest.mark.parametrize("name", CLIPS)
def test_a_gpu_gives_what_software_gives(
    clips: dict[str, Path], monkeypatch: pytest.MonkeyPatch, device: str, name: str
) -> None:
    path = clips[name]
    wanted = see(path)
    try:
        decoder = try_nvdec(probe(path), 0)
    except ConfigError as error:
        pytest.skip(str(error))  # older GPUs have no AV1, containers may lack the driver's video part
    info = probe(path)
    refuse_software(monkeypatch)
    assert see(info, decoder) == wanted
    start = wanted[30][0]
    assert isinstance(start, int)
    assert see(info, decoder, Trim(start, None)) == wanted[30:]


@ON_GPU
@pytest.mark.parametrize("name", CLIPS)
def test_a_gpu_loses_no_frame_of_a_damaged_file(clips: dict[str, Path], tmp_path: Path, device: str, name: str) -> None:
    """What is wrong within a picture it may show otherwise, unmarked, and where software shows none."""
    try:
        decoder = try_nvdec(probe(clips[name]), 0)
    except ConfigError as error:
        pytest.skip(str(error))
    path = damage(clips[name], tmp_path / name, 1)
    assert {frame[0] for frame in see(path)} <= {frame[0] for frame in see(path, decoder)}
