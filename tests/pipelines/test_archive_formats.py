"""What archives and broadcasters keep: MXF and ProRes in, a preservation master out, sound and timecode along."""

from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import pytest
import typer

from pipelines.verify_cli import verify_command
from streamrestore.encoding import EncodingRequest
from streamrestore.frame import Defect, planes_md5
from streamrestore.receipt import read_receipt, receipt_path
from streamrestore.source import open_source
from tests.clips import Clip, make_clip
from tests.networks import offset_restorer
from tests.pipelines.runs import Notes, options, restore, sound, times
from workers.inline import InlinePool

MASTER = EncodingRequest(preservation=True)
PRORES = ("prores_ks", "yuv422p10le", {"profile": "3"})
DNX = ("dnxhd", "yuv422p", {"profile": "dnxhr_hq"})
MPEG2 = ("mpeg2video", "yuv422p", {"b": "5000000", "flags": "+ildct+ilme", "field_order": "tt"})


@pytest.fixture(scope="module")
def pool() -> InlinePool:
    return InlinePool(partial(offset_restorer, 0))


def clip(codec: str, pix_fmt: str, coding: dict[str, str]) -> Clip:
    return Clip(
        codec=codec,
        pix_fmt=pix_fmt,
        options=coding,
        size=(128, 256),
        time_base=Fraction(1, 30),
        pts=range(12),
        sound="pcm_s16le",
        tags={"timecode": "01:02:03:04"},
    )


def md5s(path: Path) -> list[str]:
    return [planes_md5(frame.planes) for frame in open_source(path).frames()]


def timecode(path: Path) -> str | None:
    """Of the file, or of its video."""
    with av.open(str(path)) as container:
        tags = container.metadata | container.streams.video[0].metadata
        return next((value for key, value in tags.items() if key.lower() == "timecode"), None)


@pytest.mark.parametrize("suffix", [".mxf", ".mov"])
@pytest.mark.parametrize("kind", [PRORES, DNX, MPEG2], ids=lambda kind: str(kind[0]))
def test_they_become_a_preservation_master(
    tmp_path: Path, pool: InlinePool, kind: tuple[str, str, dict[str, str]], suffix: str
) -> None:
    source, output, notes = make_clip(tmp_path / f"in{suffix}", clip(*kind)), tmp_path / "out.mkv", Notes()
    restore(source, output, pool, options(encoding=MASTER), notes=notes)
    assert (md5s(output), sound(output), timecode(output)) == (md5s(source), sound(source), "01:02:03:04")
    assert len(times(output)) == 12
    info = open_source(output).info
    assert (info.codec, info.pixel_format_name, str(info.other_streams[0])) == (
        *("ffv1", kind[1]),
        "audio stream #1 (pcm_s16le)",
    )
    assert not [note for note in notes.notes if "lost" in note]
    receipt = read_receipt(receipt_path(output))
    assert receipt.output_frames() == tuple(stamp.md5 for stamp in receipt.stamps())
    verify_command(output)


def test_prores_stays_prores_in_a_mov(tmp_path: Path, pool: InlinePool) -> None:
    source, output = make_clip(tmp_path / "in.mxf", clip(*PRORES)), tmp_path / "out.mov"
    restore(source, output, pool, options(encoding=EncodingRequest(codec="prores")))
    info = open_source(output).info
    assert (info.codec, info.pixel_format_name) == ("prores", "yuv422p10le")
    assert (times(output), timecode(output)) == (times(source), "01:02:03:04")
    assert b"".join(sound(output)) == b"".join(sound(source))  # PCM is cut into packets anew


def test_damage_in_a_master_is_seen(tmp_path: Path, pool: InlinePool) -> None:
    source, output = make_clip(tmp_path / "in.mov", clip(*PRORES)), tmp_path / "out.mkv"
    restore(source, output, pool, options(encoding=MASTER))
    with av.open(str(output)) as container:
        packet = [bytes(packet) for packet in container.demux(video=0) if packet.size][7]
    data = bytearray(output.read_bytes())
    data[data.index(packet) + len(packet) // 2] ^= 1
    output.write_bytes(data)
    assert [frame.index for frame in open_source(output).frames() if Defect.CONCEALED in frame.defects] == [7]
    with pytest.raises(typer.Exit):
        verify_command(output)
