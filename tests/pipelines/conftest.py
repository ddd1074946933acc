"""The command, started once for the tests of a module."""

from collections.abc import Iterator

import pytest

from tests.pipelines.driver import Driver, without_roots_rights


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    with Driver(tmp_path_factory.mktemp("driver") / "log", without_roots_rights()) as driver:
        yield driver
