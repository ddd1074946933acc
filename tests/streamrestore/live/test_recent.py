import pytest

from streamrestore.live.recent import RecentMost


def test_what_was_large_is_told_for_as_long_as_it_is_recent() -> None:
    recent = RecentMost(60.0)
    assert recent.value == 0.0
    for tenth in range(2000):
        now = tenth / 10
        recent.add(now, 5.0 if tenth == 100 else 3.0 if tenth == 500 else 0.01)
        expected = 0.01
        if 50.0 <= now < 110.0:
            expected = 3.0
        if 10.0 <= now < 70.0:
            expected = 5.0
        assert recent.value == pytest.approx(expected), now


def test_however_many_fall_little_is_kept() -> None:
    recent = RecentMost(60.0)
    for number in range(100_000):
        recent.add(number / 1000, 1000.0 - number / 1000)
    assert len(recent._largest) <= 61
    assert recent.value == pytest.approx(1000.0 - 40.0, abs=1.1)
