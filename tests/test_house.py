"""What holds for the project as a whole: layers, imports, pins and the Makefile's own help."""

import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from importlib import import_module
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).parents[1]
PACKAGES = ("streamrestore", "workers", "pipelines")


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Check the contracts of the project in ``folder``, with the packages that lie there."""
    command = Path(sysconfig.get_path("scripts")) / "lint-imports"
    return subprocess.run([command, "--no-cache"], cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the project's packages and settings."""
    for package in PACKAGES:
        shutil.copytree(PROJECT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_layers_hold() -> None:
    done = lint_imports(PROJECT)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("module", "planted", "contract"),
    [
        ("streamrestore/frame.py", "import workers.contract", "pipelines > workers > streamrestore"),
        ("streamrestore/frame.py", "import ray", "only workers knows Ray"),
        ("workers/contract.py", "import pipelines", "pipelines > workers > streamrestore"),
        ("workers/contract.py", "import typer", "only pipelines knows the command line"),
    ],
)
def test_a_planted_import_is_caught(copy: Path, module: str, planted: str, contract: str) -> None:
    with (copy / module).open("a") as source:
        source.write(f"\n{planted}\n")
    done = lint_imports(copy)
    assert done.returncode == 1, done.stdout
    assert re.search(rf"^{re.escape(contract)} BROKEN$", done.stdout, re.MULTILINE), done.stdout


def test_the_library_brings_in_neither_ray_nor_the_command_line() -> None:
    program = """
import pkgutil, sys
import streamrestore
for module in pkgutil.walk_packages(streamrestore.__path__, "streamrestore."):
    __import__(module.name)
print(*sorted({"ray", "typer", "rich", "workers", "pipelines"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("package", PACKAGES)
def test_what_a_package_offers_is_there(package: str) -> None:
    module = import_module(package)
    offered: list[str] = getattr(module, "__all__", [])
    assert len(offered) == len(set(offered))
    assert [name for name in offered if not hasattr(module, name)] == []


def test_every_folder_of_tests_is_a_package() -> None:
    """Without ``tests/__init__.py``, ``import workers`` in a test would find ``tests/workers``."""
    folders = {path.parent for path in (PROJECT / "tests").rglob("*.py")}
    assert [folder for folder in sorted(folders) if not (folder / "__init__.py").exists()] == []


def test_every_direct_dependency_is_pinned_to_a_version_it_accepts() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    wanted = [
        *project["dependencies"],
        *(line for extra in project["optional-dependencies"].values() for line in extra),
    ]
    pins = dict(
        line.split("==") for line in (PROJECT / "constraints.txt").read_text().splitlines() if not line.startswith("#")
    )
    requirements = [requirement for requirement in map(Requirement, wanted) if requirement.name != project["name"]]
    assert requirements
    for requirement in requirements:
        pin = pins.get(canonicalize_name(requirement.name))
        assert pin is not None, f"constraints.txt lacks {requirement.name}"
        assert requirement.specifier.contains(pin), f"{requirement} does not accept {pin}"


def test_make_help_lists_every_target() -> None:
    makefile = (PROJECT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)
    assert phony is not None
    done = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert [line.split()[0] for line in done.stdout.splitlines()] == phony[1].split()
