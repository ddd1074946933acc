"""Every command that the documents show is one that the program takes, with all its options and their values."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from pipelines.cli import app

PROJECT = Path(__file__).parents[1]

PAGES = sorted([PROJECT / "README.md", *(PROJECT / "docs").rglob("*.md"), *PROJECT.glob("benchmarks/*.md")])

PROGRAM = re.compile(r"(\S*/)?streamrestore")


def lines_of(page: Path) -> Iterator[str]:
    """What stands in blocks of code, in whole lines of a shell."""
    for block in re.findall(r"^```.*?\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL):
        yield from re.sub(r"\\\n", " ", block).splitlines()


def commands_of(line: str) -> Iterator[list[str]]:
    """The arguments of each call of the program in a line; none where it only shows what may be given."""
    if not re.search("streamrestore [a-z]", line) or "[options]" in line:
        return
    words = shlex.shlex(line, posix=True, punctuation_chars=";|&")
    words.whitespace_split = True
    command = list[str]()
    for word in (*words, ";"):
        if not set(word) <= set(";|&"):
            command.append(word)
            continue
        start = next((index for index, each in enumerate(command) if PROGRAM.fullmatch(each)), None)
        if start is not None and not re.match(r"[-#]", command[0]):
            yield command[start + 1 :]
        command = []


def find_command(arguments: list[str]) -> tuple[TyperCommand, list[str]]:
    """What a call names, and what it gives to that."""
    command = get_command(app)
    while isinstance(command, TyperGroup):
        assert arguments[0] in command.commands, arguments
        command, arguments = command.commands[arguments[0]], arguments[1:]
    assert isinstance(command, TyperCommand)
    return command, arguments


def check(arguments: list[str]) -> None:
    """Have the program read a call, as it would before it does anything; raises what is wrong with it."""
    command, rest = find_command(arguments)
    context = command.make_context(shlex.join(arguments), rest)
    if command.name == "submit":
        find_command(["archive", "run"])[0].make_context("run", list(context.params["arguments"]))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_what_a_page_shows_can_be_run(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://head:8265")  # as the first example of docs/cluster.md does
    for line in lines_of(page):
        for arguments in commands_of(line):
            check(arguments)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_commands_that_a_page_names_are_there_with_their_options(page: Path) -> None:
    for words in re.findall(r"`(?:streamrestore |(?=archive [a-z]+ ))([^`]*)`", page.read_text()):
        command, rest = find_command(shlex.split(words))
        known = {name for parameter in command.params for name in parameter.opts}
        if command.name == "submit":
            known |= {name for parameter in find_command(["archive", "run"])[0].params for name in parameter.opts}
        assert {word for word in rest if re.match(r"-+[a-z]", word)} <= known, words


def test_it_sees_what_is_wrong() -> None:
    shown = "a | streamrestore archive submit in out --worker 3 --address http://h:1 || x    # and why"
    [arguments] = commands_of(shown)
    assert arguments == ["archive", "submit", "in", "out", "--worker", "3", "--address", "http://h:1"]
    with pytest.raises(Exception, match="No such option: --worker"):
        check(arguments)
    assert sum(len(list(commands_of(line))) for page in PAGES for line in lines_of(page)) > 30
