from pathlib import Path

import pytest

from tests.apart import tell_story

PROJECT = Path(__file__).parents[3]


@pytest.mark.ray
@pytest.mark.timeout(200)
@pytest.mark.parametrize("story", ["die", "drain", "freeze", "gpus", "cores", "kinds"])
def test_machines_may_come_late_and_leave_and_die_and_freeze(story: str) -> None:
    tell_story("tests.workers.archive.machines", story, timeout=180)
