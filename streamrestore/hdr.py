"""HDR's static metadata: the display and the room a film was graded in, its brightest light; how encoders are told."""

import struct
from dataclasses import dataclass
from fractions import Fraction

from streamrestore.messages import Message, MessageKind

Chromaticity = tuple[Fraction, Fraction]
"""CIE 1931 (x, y)."""

# The units of the SEI messages of H.264 and HEVC, to which every other form is rounded for comparison.
_CHROMATICITY_UNIT = Fraction(1, 50_000)
_LUMINANCE_UNIT = Fraction(1, 10_000)

_MASTERING_LAYOUT = struct.Struct("=22i")
"""FFmpeg's AVMasteringDisplayMetadata: ten rationals, then whether primaries and luminance were given."""
_LIGHT_LAYOUT = struct.Struct("=2I")
"""FFmpeg's AVContentLightMetadata."""
_AMBIENT_LAYOUT = struct.Struct("=6i")
"""FFmpeg's AVAmbientViewingEnvironment: illuminance in lux, then x and y of the light."""


@dataclass(frozen=True, slots=True)
class MasteringDisplay:
    """The display a video was graded on, SMPTE ST 2086; zeros where it was not said."""

    red: Chromaticity
    green: Chromaticity
    blue: Chromaticity
    white: Chromaticity
    least: Fraction
    """Luminance of black in cd/m²."""
    greatest: Fraction
    """Luminance of white in cd/m²."""

    def sei_units(self) -> tuple[int, ...]:
        """As H.264 and HEVC count: x and y of red, green, blue, white; least and greatest luminance.

        Two displays are the same if these are: AV1 and the containers round in other places.
        """
        points = (*self.red, *self.green, *self.blue, *self.white)
        return (
            *(round(value / _CHROMATICITY_UNIT) for value in points),
            *(round(value / _LUMINANCE_UNIT) for value in (self.least, self.greatest)),
        )


@dataclass(frozen=True, slots=True)
class ContentLight:
    """How bright a video gets, CTA-861.3, in cd/m²; 0 where it was not said."""

    brightest_pixel: int
    """MaxCLL."""
    brightest_frame: int
    """MaxFALL: the greatest average over a frame."""


def parse_mastering_display(data: bytes) -> MasteringDisplay:
    """Read FFmpeg's side data of a frame.

    Args:
        data: Of the kind MASTERING_DISPLAY_METADATA.
    """
    *numbers, has_primaries, has_luminance = _MASTERING_LAYOUT.unpack_from(data)
    given = [has_primaries] * 8 + [has_luminance] * 2
    red_x, red_y, green_x, green_y, blue_x, blue_y, white_x, white_y, least, greatest = (
        Fraction(numerator, denominator) if known and denominator else Fraction(0)
        for known, numerator, denominator in zip(given, numbers[::2], numbers[1::2], strict=True)
    )
    return MasteringDisplay((red_x, red_y), (green_x, green_y), (blue_x, blue_y), (white_x, white_y), least, greatest)


def parse_content_light(data: bytes) -> ContentLight | None:
    """Read FFmpeg's side data of a frame.

    Args:
        data: Of the kind CONTENT_LIGHT_LEVEL.

    Returns:
        None where it says nothing: x265 writes zeros for light levels it was not told.
    """
    light = ContentLight(*_LIGHT_LAYOUT.unpack_from(data))
    return None if light == ContentLight(0, 0) else light


def ambient_message(data: bytes) -> Message:
    """Say in H.264's and HEVC's words in which room a video was graded.

    Args:
        data: FFmpeg's side data of the kind AMBIENT_VIEWING_ENVIRONMENT.
    """
    numbers = _AMBIENT_LAYOUT.unpack_from(data)
    illuminance, x, y = (Fraction(*pair) for pair in zip(numbers[::2], numbers[1::2], strict=True))
    units = (illuminance / _LUMINANCE_UNIT, x / _CHROMATICITY_UNIT, y / _CHROMATICITY_UNIT)
    return Message(MessageKind.AMBIENT, struct.pack(">IHH", *map(round, units)))


@dataclass(frozen=True, slots=True)
class _Dialect:
    """The names an encoder has for it."""

    option: str
    display: str
    light: str
    decimal: bool = False
    """Whether it is told numbers, not SEI units."""


_DIALECTS = {
    "libx264": _Dialect("x264-params", "mastering-display", "cll"),
    "libx265": _Dialect("x265-params", "master-display", "max-cll"),
    "libsvtav1": _Dialect("svtav1-params", "mastering-display", "content-light", decimal=True),
}


def writes_static_hdr(encoder: str) -> bool:
    """Whether an encoder can be told of HDR10's static metadata; others take it from frames, where PyAV cannot put it.

    Args:
        encoder: FFmpeg's name.
    """
    return encoder in _DIALECTS


def static_hdr_options(encoder: str, display: MasteringDisplay | None, light: ContentLight | None) -> dict[str, str]:
    """Options that have an encoder write HDR10's static metadata.

    Args:
        encoder: FFmpeg's name; one that `writes_static_hdr`.
        display: None where there is none to write.
        light: None where there is none to write.

    Returns:
        At most one option, a list such as ``x265-params`` that others may be joined to by a colon.
    """
    dialect = _DIALECTS[encoder]
    parameters = []
    if display is not None:
        parameters.append(f"{dialect.display}={_display_text(display, decimal=dialect.decimal)}")
    if light is not None:
        parameters.append(f"{dialect.light}={light.brightest_pixel},{light.brightest_frame}")
    return {dialect.option: ":".join(parameters)} if parameters else {}


def _display_text(display: MasteringDisplay, *, decimal: bool) -> str:
    if decimal:
        # AV1 counts chromaticity by 1/65536 and black by 1/16384: this many digits round to the same numbers.
        points = (*display.red, *display.green, *display.blue, *display.white, display.least, display.greatest)
        words = [f"{float(value):.7f}" for value in points]
    else:
        words = [str(value) for value in display.sei_units()]
    red, green, blue, white = (f"({words[at]},{words[at + 1]})" for at in range(0, 8, 2))
    return f"G{green}B{blue}R{red}WP{white}L({words[9]},{words[8]})"
