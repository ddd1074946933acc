import os
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[3]


@pytest.mark.ray
@pytest.mark.timeout(200)
@pytest.mark.parametrize("story", ["die", "freeze"])
def test_machines_may_come_late_and_die_and_freeze(story: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.workers.archive.machines", story],
        cwd=PROJECT,
        env={name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
        start_new_session=True,
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
