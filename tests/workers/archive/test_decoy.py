"""Folders of the user's that are called like our packages are not imported by our workers."""

from pathlib import Path

import pytest

from tests.apart import PROJECT, run_beside_decoys

PROGRAM = """
from workers.archive import open_step_pool


class Context:
    kind = "machine"

    def check(self):
        pass


def step(context):
    import pipelines, streamrestore, workers
    return context.kind, *{module.__file__.rpartition("/")[0].rpartition("/")[0] for module in (pipelines, workers)}


pool = open_step_pool(Context, workers=1)
print(*pool.submit(step, "restore").result(120))
pool.close()
"""


@pytest.mark.ray
def test_a_working_directory_with_packages_of_our_names_changes_nothing(tmp_path: Path) -> None:
    assert run_beside_decoys(PROGRAM, tmp_path) == (f"machine {PROJECT}\n", "")
