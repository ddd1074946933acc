"""Times of carried packets, where a container's own ticks are too coarse for them."""

from fractions import Fraction

from av.packet import Packet
from hypothesis import given
from hypothesis import strategies as st

from streamrestore.carry import _move

bases = st.sampled_from([Fraction(1, 90000), Fraction(1, 1000), Fraction(24, 1000), Fraction(1152, 48000)])


@given(
    base=bases,
    ticks=st.integers(0, 10**6),
    shift=st.integers(-(10**6), 10**6),
    video=st.sampled_from([Fraction(1001, 30000), Fraction(1, 25), Fraction(1, 1000)]),
)
def test_a_shift_is_exact_whatever_the_packets_own_ticks(
    base: Fraction, ticks: int, shift: int, video: Fraction
) -> None:
    packet = Packet(b"sound")
    packet.time_base, packet.pts, packet.dts, packet.duration = base, ticks, ticks, 1
    _move(packet, shift * video)
    assert packet.pts is not None
    assert packet.pts * packet.time_base == ticks * base + shift * video
    assert packet.dts == packet.pts
    assert packet.duration is not None
    assert packet.duration * packet.time_base == base or shift == 0
