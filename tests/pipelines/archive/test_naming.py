"""Names of results, from those of their sources."""

import random
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.archive.items import item_id
from pipelines.archive.naming import folded, plan_stems, safe_name, split_suffix
from pipelines.archive.shards import Shard, parse_shard
from streamrestore.errors import ConfigError

PARTS = st.text(st.sampled_from("abAB.éE\u0301\u0131\u017f ß'\"\n"), min_size=1, max_size=4).filter(
    lambda part: part not in ("..", ".")
)
SUFFIXES = st.sampled_from([".mp4", ".MP4", ".mkv", ".avi", ""])
TREES = st.sets(
    st.builds(lambda parts, suffix: "/".join(parts) + suffix, st.lists(PARTS, min_size=1, max_size=3), SUFFIXES),
    min_size=1,
    max_size=12,
)


def stems(*names: str, taken: tuple[str, ...] = ()) -> dict[str, str]:
    """Stems by name."""
    ids = {item_id(name): name for name in names}
    return {ids[each]: stem for each, stem in plan_stems(ids, taken).items()}


def test_a_name_that_nobody_else_has_loses_its_suffix() -> None:
    assert stems("a.mp4", "tapes/b c'\"\n.mov", "no suffix", ".mp4") == {
        "a.mp4": "a",
        "tapes/b c'\"\n.mov": "tapes/b c'\"\n",
        "no suffix": "no suffix",
        ".mp4": ".mp4",
    }


@pytest.mark.parametrize(
    ("one", "other"),
    [("x/a.avi", "x/a.mkv"), ("Café.avi", "cafe\u0301.mkv"), ("a.avi", "A.mov"), ("Straße.avi", "STRASSE.mov")],
)
def test_names_that_would_meet_keep_their_suffixes(one: str, other: str) -> None:
    assert stems(one, other, "b.avi") == {one: one, other: other, "b.avi": "b"}


def test_names_that_differ_in_case_alone_are_told_apart() -> None:
    found = stems("a.mp4", "A.mp4", "A/x.mp4", "a/x.mp4")
    assert len({folded(stem) for stem in found.values()}) == 4
    for name, stem in found.items():
        assert stem == f"{name}.{item_id(name)[:8]}"


def test_a_name_that_is_anothers_with_its_suffix_keeps_its_own() -> None:
    found = stems("a.avi", "a.mov", "a.avi.mkv")
    assert found == {"a.avi": f"a.avi.{item_id('a.avi')[:8]}", "a.mov": "a.mov", "a.avi.mkv": "a.avi.mkv"}


def test_a_folder_is_in_the_way_of_a_file_of_its_name() -> None:
    assert stems("tape.mkv/one.mp4", "tape.avi", "2024.05/two.mp4", "2024.mp4") == {
        "tape.mkv/one.mp4": "tape.mkv/one",
        "tape.avi": "tape.avi",
        "2024.05/two.mp4": "2024.05/two",
        "2024.mp4": "2024",
    }


def test_what_is_given_away_already_is_not_given_twice() -> None:
    assert stems("a.avi", taken=("A",)) == {"a.avi": "a.avi"}


@given(TREES, st.randoms(use_true_random=False))
def test_results_never_meet_whatever_their_suffixes(names: set[str], order: random.Random) -> None:
    listed = sorted(names)
    order.shuffle(listed)
    found = stems(*listed)
    assert len({folded(stem) for stem in found.values()}) == len(names)
    results = {folded(f"{stem}{suffix}") for stem in found.values() for suffix in (".mkv", ".mp4", ".avi")}
    assert len(results) == 3 * len(names)
    assert found == stems(*sorted(names))
    for name, stem in found.items():
        assert stem in (name, split_suffix(name)[0]) or stem.startswith(f"{name}.{item_id(name)[:8]}")


@given(TREES)
def test_names_are_equal_as_the_strictest_file_systems_take_them(names: set[str]) -> None:
    for name in names:
        forms = [unicodedata.normalize("NFC", name), unicodedata.normalize("NFD", name)]
        forms += [change(form) for form in forms for change in (str.upper, str.lower, str.casefold)]
        assert {folded(form) for form in forms} == {folded(name)}


def test_safe_names_stay_where_they_are_and_can_be_kept() -> None:
    assert safe_name("../a//./b\0.mp4") == "_/a/_/_/b_.mp4"
    assert safe_name(b"caf\xe9.mp4".decode("utf-8", "surrogateescape")) == "caf\\xe9.mp4"


@given(st.sets(st.text(min_size=1, max_size=8), max_size=60), st.integers(1, 9))
def test_each_item_is_in_one_shard(names: set[str], count: int) -> None:
    shards = [Shard(index, count) for index in range(1, count + 1)]
    for name in names:
        each = item_id(name)
        assert sum(shard.holds(each) for shard in shards) == 1


def test_shards_are_about_equal() -> None:
    ids = [item_id(f"{number}.mp4") for number in range(4000)]
    for index in range(1, 9):
        assert 400 < sum(map(Shard(index, 8).holds, ids)) < 600


def test_a_shard_is_given_as_a_part_of_all() -> None:
    assert parse_shard(None) is None
    assert parse_shard(" 3/8 ") == Shard(3, 8)
    for text in ("", "3", "0/8", "9/8", "1/0", "-1/3", "a/b", "1/2/3"):
        with pytest.raises(ConfigError, match="give I/N with I from 1 to N, such as 3/8"):
            parse_shard(text)
