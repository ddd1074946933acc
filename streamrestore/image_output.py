"""Write restored frames as numbered images, read them back, and tell what they are.

Segments hold each image as one packet, exactly as its file will be; each decodes on its own.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from av.codec import CodecContext
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext

from streamrestore.assembly import FinishedSegment
from streamrestore.carry import CarryPlan
from streamrestore.checks import Check, Verdict, check
from streamrestore.encoder import writing_to
from streamrestore.encoding import Encoding
from streamrestore.errors import SinkError, VerificationError
from streamrestore.formats import ColourTags, video_format
from streamrestore.frame import Stamp, VideoFormat, planes_md5
from streamrestore.image_sequence import Pattern
from streamrestore.opening import files_sha256
from streamrestore.places import image_pattern
from streamrestore.planes import copy_planes
from streamrestore.probing import AV_ERRORS, SourceInfo, reason
from streamrestore.samples import sample_layout
from streamrestore.segment_file import segment_packets
from streamrestore.verification import Verification

FIRST_NUMBER = 1
"""Of images made of a video, as FFmpeg counts; those made of images keep their numbers."""


def image_numbers(info: SourceInfo, stamps: Iterable[Stamp]) -> list[int]:
    """The number of each frame's image.

    Args:
        info: The source.
        stamps: Of the frames that were written, in order.
    """
    images = info.opening.images
    if images is None:
        return [number for number, _ in enumerate(stamps, FIRST_NUMBER)]
    return [images.first + stamp.pts for stamp in stamps]


def assemble_images(path: Path, numbers: Sequence[int], segments: Sequence[FinishedSegment]) -> None:
    """Write each frame's image into a file of its own, synced.

    Args:
        path: A pattern, in a folder that is there.
        numbers: Of the images, one for each frame.
        segments: All of the job's, in order.

    Raises:
        OutputError: A file cannot be written.
        DiskFullError: There is no space left.
        SinkError: A segment cannot be read.
    """
    pattern = _pattern(path)
    places = iter(numbers)
    for segment in segments:
        if list(segment.order.ranks) != sorted(segment.order.ranks):
            raise SinkError(f"{segment.path}: its images are not in order")
        for packet in segment_packets(segment.path):
            file = pattern.file(next(places))
            with writing_to(file), file.open("wb") as image:
                image.write(bytes(packet))
                image.flush()
                os.fsync(image.fileno())


def verify_images(
    path: Path, info: SourceInfo, encoding: Encoding, plan: CarryPlan, stamps: Sequence[Stamp]
) -> Verification:
    """Make sure that finished images are all there and can be decoded.

    Args:
        path: Their pattern.
        info: The source.
        encoding: How they were written.
        plan: What is lost.
        stamps: Of the frames that were written, in order.

    Raises:
        VerificationError: One is not; the message says what.
    """
    found = compare_images(path, (info.video.height, info.video.width), encoding, stamps)
    numbers = check("numbers", _described(image_numbers(info, stamps)), _described(_numbers(_pattern(path))))
    losses = [Check(name, "there", was, Verdict.ANNOUNCED) for loss in plan.losses for name, was in loss.found]
    verification = Verification((*found.checks, numbers, *losses), found.frames)
    if verification.mismatches:
        raise VerificationError(
            f"{path} is not what {info.path} says it must be: {'; '.join(map(str, verification.mismatches))}"
        )
    return verification


def compare_images(path: Path, size: tuple[int, int], encoding: Encoding, stamps: Sequence[Stamp]) -> Verification:
    """Decode every image of a result.

    Args:
        path: Their pattern.
        size: (height, width) of each, in pixels.
        encoding: How they were written.
        stamps: Of the frames that were written, in order.
    """
    video = video_format(size[1], size[0], encoding.pixels.name, ColourTags(), encoding.codec)
    digests, trouble = list[str](), "all of them"
    for file in image_files(path):
        try:
            digests.append(_decoded_md5(file, video, encoding))
        except (*AV_ERRORS, SinkError) as error:
            trouble = f"{file.name}: {reason(error)}"
            break
    return Verification(
        (check("images that decode", "all of them", trouble), check("frames", len(stamps), len(digests))),
        tuple(digests),
    )


def image_files(path: Path) -> Iterator[Path]:
    """The files of a result in order: of images all that its pattern names, else the path itself.

    Raises:
        OSError: The folder cannot be read.
    """
    pattern = image_pattern(path)
    return iter([path]) if pattern is None else map(pattern.file, _numbers(pattern))


def result_bytes(path: Path) -> int:
    """Size of a result, all images together.

    Raises:
        OSError: It cannot be read.
    """
    return sum(file.stat().st_size for file in image_files(path))


def result_sha256(path: Path) -> str:
    """Of a result; of images all of them, one after the other.

    Raises:
        OSError: It cannot be read.
    """
    return files_sha256(image_files(path))


def _decoded_md5(file: Path, video: VideoFormat, encoding: Encoding) -> str:
    decoder = CodecContext.create(encoding.codec, "r")
    assert isinstance(decoder, VideoCodecContext)
    pictures = [*decoder.decode(Packet(file.read_bytes())), *decoder.decode(None)]
    if len(pictures) != 1:
        raise SinkError(f"{len(pictures)} pictures in one image")
    picture = pictures[0]
    layout = sample_layout(picture.format.name)
    if (picture.width, picture.height, layout.pixels) != (video.width, video.height, encoding.pixels):
        raise SinkError(f"it is {picture.width}x{picture.height} {picture.format.name}")
    return planes_md5(copy_planes(picture, layout, video))


def _pattern(path: Path) -> Pattern:
    pattern = image_pattern(path)
    assert pattern is not None
    return pattern


def _numbers(pattern: Pattern) -> list[int]:
    names = os.listdir(pattern.folder)
    return sorted(number for name in names if (number := pattern.number(name)) is not None)


def _described(numbers: Sequence[int]) -> str:
    """Such as ``1-48, 50-60``."""
    runs = list[list[int]]()
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(f"{first}-{last}" for first, last in runs) or "none"
