"""Read a result back and compare it with its receipt, and with its source if that is at hand."""

from pydantic import ValidationError

from pipelines.archive.outbox import receipt_of
from pipelines.archive.records import DoneRecord
from pipelines.archive.request import default_scratch
from pipelines.verifying import check_receipt, find_source
from streamrestore.checks import Verdict
from streamrestore.errors import StreamRestoreError
from streamrestore.locations import Location
from streamrestore.receipt import Receipt
from streamrestore.source_cache import SourceCache
from streamrestore.storage import storage_of

_CACHE_BYTES = 10 << 30


def find_problems(target: Location, record: DoneRecord) -> list[str]:
    """What is not as it must be, in words; nothing where all is well.

    Args:
        target: Where the result is.
        record: Its.
    """
    cache = SourceCache(default_scratch() / "results", _CACHE_BYTES)
    storage, place = storage_of(target), target.child(record.output)
    try:
        found = storage.find(place)
        if found is None:
            return ["it is gone"]
        receipt = Receipt.model_validate_json(storage.read(receipt_of(record.output, target)) or b"")
        if receipt.output.sha256 != record.sha256:
            return ["its receipt is of another output than its record"]
        with cache.fetch(place, found.hint, found.size) as output:
            source = find_source(receipt.source.file(output), receipt)
            return [str(each) for each in check_receipt(output, receipt, source) if each.verdict is Verdict.MISMATCH]
    except ValidationError:
        return ["its receipt is gone or damaged"]
    except StreamRestoreError as error:
        return [str(error)]
