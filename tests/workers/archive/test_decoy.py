"""Folders of the user's that are called like our packages are not imported by our workers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[3]

PROGRAM = """
from workers.archive import open_step_pool


class Context:
    kind = "machine"


def step(context):
    import pipelines, streamrestore, workers
    return context.kind, *{module.__file__.rpartition("/")[0].rpartition("/")[0] for module in (pipelines, workers)}


pool = open_step_pool(Context, workers=1)
print(*pool.submit(step, "restore").result(120))
pool.close()
"""


@pytest.mark.ray
def test_a_working_directory_with_packages_of_our_names_changes_nothing(tmp_path: Path) -> None:
    program = tmp_path / "bin" / "program.py"
    program.parent.mkdir()
    program.write_text(PROGRAM)
    here = tmp_path / "here"
    for package in ("workers", "streamrestore", "pipelines"):
        (here / package).mkdir(parents=True)
        (here / package / "__init__.py").write_text(f"open({str(tmp_path / 'imported')!r}, 'a').write(__name__)\n")
    done = subprocess.run(
        [sys.executable, program],
        cwd=here,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert (done.stdout, done.stderr) == (f"machine {PROJECT}\n", "")
    assert not (tmp_path / "imported").exists(), (tmp_path / "imported").read_text()
