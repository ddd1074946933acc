"""Which patches need not be computed: against the definition, frame by frame and patch by patch."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from streamrestore.reuse import find_repeats


def wanted_sources(values: list[list[float]], before: list[float] | None, threshold: float) -> list[list[int]]:
    """By the words of the definition, for patches that are one value each."""
    sources = list[list[int]]()
    for frame, places in enumerate(values):
        sources.append([])
        for place, value in enumerate(places):
            source = sources[frame - 1][place] if frame else -1
            if source >= 0:
                earlier = values[source][place]
            elif before is not None:
                earlier = before[place]
            else:
                sources[frame].append(frame)
                continue
            sources[frame].append(source if abs(value - earlier) <= threshold else frame)
    return sources


clips = st.integers(1, 4).flatmap(
    lambda places: st.lists(
        st.lists(st.integers(0, 3).map(float), min_size=places, max_size=places), min_size=1, max_size=6
    )
)


@settings(deadline=None)
@given(values=clips, known=st.booleans(), threshold=st.sampled_from([0.0, 1.0, 2.0]))
def test_a_patch_takes_the_result_of_what_it_repeats(values: list[list[float]], known: bool, threshold: float) -> None:
    before = values.pop(0) if known and len(values) > 1 and not threshold else None
    patches = torch.tensor(values)[..., None, None, None].expand(-1, -1, 3, 2, 2).clone()
    earlier = None if before is None else torch.tensor(before)[:, None, None, None].expand(-1, 3, 2, 2)
    found = find_repeats(patches, earlier, threshold)
    assert found.tolist() == wanted_sources(values, before, threshold)


def test_one_sample_that_differs_makes_a_patch_another() -> None:
    patches = torch.rand(1, 3, 3, 8, 8).repeat(2, 1, 1, 1, 1)
    patches[1, 1, 2, 7, 7] += 1e-6
    assert find_repeats(patches).tolist() == [[0, 0, 0], [0, 1, 0]]


@pytest.mark.parametrize("codes", [1, 2, 4, 8])
def test_a_difference_of_just_the_threshold_is_within_it_wherever_it_is(codes: int) -> None:
    """Also where two roundings to float32 make it larger; one code of 16 bits more is not within."""
    first = torch.arange(256 - codes) * 257.0
    for more, wanted in ((0.0, 0), (1.0, 1)):
        patches = (torch.stack((first, first + codes * 257 + more)) / 65535)[..., None, None, None]
        assert find_repeats(patches[:, :-1], threshold=codes / 255)[1].eq(wanted).all()


def test_small_changes_do_not_add_up() -> None:
    """Each patch is compared with the one whose result it would take, not with its neighbour in time."""
    rising = (torch.arange(6.0) * 0.4).view(6, 1, 1, 1, 1)
    assert find_repeats(rising, threshold=1.0).squeeze(1).tolist() == [0, 0, 0, 3, 3, 3]
