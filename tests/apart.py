"""Programs that are run apart from this process: with a Ray of their own, or where our packages' names are taken."""

import os
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[1]


def without_ray() -> dict[str, str]:
    """The environment, without what it says of Ray."""
    return {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}


def tell_story(module: str, *arguments: str | Path, timeout: float) -> None:
    """Run a module of the tests, as a program with a Ray of its own, which must end well."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=PROJECT,
        env=without_ray(),
        start_new_session=True,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def run_beside_decoys(program: str, folder: Path) -> tuple[str, str]:
    """Run a program in a folder that has packages of our names, which must not be imported; gives what it said."""
    file = folder / "bin" / "program.py"
    file.parent.mkdir()
    file.write_text(program)
    here = folder / "here"
    for package in ("workers", "streamrestore", "pipelines"):
        (here / package).mkdir(parents=True)
        (here / package / "__init__.py").write_text(f"open({str(folder / 'imported')!r}, 'a').write(__name__)\n")
    done = subprocess.run(
        [sys.executable, file],
        cwd=here,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert not (folder / "imported").exists(), (folder / "imported").read_text()
    return done.stdout, done.stderr
