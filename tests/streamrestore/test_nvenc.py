"""NVENC takes the place of software where it would write the same, and is there; else it is said why not."""

from dataclasses import replace

import pytest
import torch

from streamrestore.encoding import EncodingRequest, plan_encoding
from streamrestore.errors import ConfigError
from streamrestore.formats import ColourTags, video_format
from streamrestore.frame import ChromaLocation, FieldOrder
from streamrestore.hdr import ContentLight
from streamrestore.nvenc import NVENC_CODECS, plan_nvenc
from tests.clips import INFO

HD = replace(INFO, video=video_format(320, 180, "yuv420p", ColourTags(), "h264"))
RTX, H100 = "NVIDIA GeForce RTX 4090", "NVIDIA H100 80GB HBM3"
WITHOUT_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="there may be an NVENC")


@pytest.fixture
def opens(monkeypatch: pytest.MonkeyPatch) -> None:
    """NVENC takes whatever it is given."""
    monkeypatch.setattr("streamrestore.nvenc.check_encoder", lambda info, encoding: None)


@pytest.mark.usefixtures("opens")
@pytest.mark.parametrize("codec", NVENC_CODECS)
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_the_twin_writes_the_same_codec_to_the_same_container(codec: str, suffix: str) -> None:
    software = plan_encoding(HD, EncodingRequest(codec=codec), suffix)
    twin = plan_nvenc(HD, EncodingRequest(), software, RTX)
    assert twin.encoder == f"{codec}_nvenc"
    assert twin == replace(software, encoder=twin.encoder, options=twin.options, frame_format=twin.frame_format)
    assert dict(twin.options)["cq"]


@pytest.mark.usefixtures("opens")
def test_a_pipe_is_encoded_by_it_too() -> None:
    software = plan_encoding(HD, pipe="matroska")
    assert plan_nvenc(HD, EncodingRequest(), software, RTX, pipe="matroska").encoder == "h264_nvenc"


@pytest.mark.usefixtures("opens")
@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (EncodingRequest(crf=20), "in the terms of libx264"),
        (EncodingRequest(preset="fast"), "in the terms of libx264"),
        (EncodingRequest(options=(("tune", "film"),)), "-c:v h264_nvenc has its own"),
        (EncodingRequest(preservation=True), "NVENC does not write ffv1"),
    ],
)
def test_what_was_asked_of_software_stays_in_software(request_: EncodingRequest, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        plan_nvenc(HD, request_, plan_encoding(HD, request_), RTX)


@pytest.mark.usefixtures("opens")
def test_what_nvenc_cannot_say_or_take_stays_in_software() -> None:
    hdr = replace(HD, content_light=ContentLight(1000, 400))
    with pytest.raises(ConfigError, match="HDR10 metadata"):
        plan_nvenc(hdr, EncodingRequest(), plan_encoding(hdr), RTX)
    centred = replace(HD, video=replace(HD.video, chroma_location=ChromaLocation.CENTER))
    with pytest.raises(ConfigError, match="chroma sits at center"):
        plan_nvenc(centred, EncodingRequest(), plan_encoding(centred), RTX)
    with pytest.raises(ConfigError, match="cannot mark frames as interlaced"):
        plan_nvenc(HD, EncodingRequest(), plan_encoding(HD, field_order=FieldOrder.TOP), RTX)


@WITHOUT_GPU
@pytest.mark.parametrize(("name", "message"), [(RTX, "needs an NVIDIA GPU with an encoder"), (H100, "has no NVENC")])
def test_where_it_is_not_the_reason_is_said(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        plan_nvenc(HD, EncodingRequest(), plan_encoding(HD), name)


@pytest.mark.parametrize("device", [pytest.param("cuda", marks=pytest.mark.gpu)], indirect=True)
@pytest.mark.parametrize("codec", NVENC_CODECS)
def test_a_gpu_opens_it_or_it_is_said(device: str, codec: str) -> None:
    software = plan_encoding(HD, EncodingRequest(codec=codec), ".mkv")
    try:
        twin = plan_nvenc(HD, EncodingRequest(), software, torch.cuda.get_device_name(0))
    except ConfigError as error:
        pytest.skip(str(error))  # most GPUs for data centres have none, older ones no AV1
    assert twin.encoder == f"{codec}_nvenc"
