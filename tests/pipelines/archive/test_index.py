"""This machine's copy of a target's records."""

import random
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from pipelines.archive.index import Index
from pipelines.archive.records import FailedRecord
from streamrestore.errors import SourceError
from tests.pipelines.archive.runs import ledger_of
from tests.pipelines.archive.scripted import Books, Script, ScriptedPool, make_item
from tests.pipelines.archive.test_every_order import run


@pytest.mark.parametrize("done_is_newer", [False, True])
def test_of_an_item_with_two_records_the_newer_one_counts_and_may_change(tmp_path: Path, done_is_newer: bool) -> None:
    item, ledger = make_item(0), ledger_of(tmp_path)
    books = Books({item.id: Script(errors={"plan": [SourceError("no video")]})})
    run([item], books, ScriptedPool(books, random.Random(0)))
    [failed], done = books.failed(), books.record(replace(item, hint="another content"))
    index = Index(ledger, tmp_path / "index.sqlite")
    ledger.keep_done(done)
    assert (index.refresh(), len(index.done()), len(index.failed())) == (1, 1, 0)
    later = done.ended + timedelta(seconds=-1 if done_is_newer else 1)
    ledger.keep_failed(FailedRecord.model_validate({**failed.model_dump(by_alias=True), "ended": later}))
    assert (index.refresh(), len(index.done()), len(index.failed())) == (1, int(done_is_newer), int(not done_is_newer))
    ledger.release(item.id)
    assert (index.refresh(), len(index.done()), len(index.failed())) == (0, 1, 0)
    assert index.rebuild() == 1
