"""Which items belong to one of several runs that share an archive between them."""

import re
from dataclasses import dataclass

from streamrestore.errors import ConfigError

_SHARD = re.compile(r"(?P<index>\d{1,6})/(?P<count>\d{1,6})")


@dataclass(frozen=True, slots=True)
class Shard:
    """One of several equal parts; each item is in exactly one, whatever else there is."""

    index: int
    """From 1."""
    count: int

    def holds(self, item_id: str) -> bool:
        """Whether an item is in this part.

        Args:
            item_id: Hexadecimal digits, evenly spread.
        """
        return int(item_id, 16) % self.count == self.index - 1


def parse_shard(text: str | None) -> Shard | None:
    """``3/8`` to the third of eight parts.

    Raises:
        ConfigError: It is no part.
    """
    if text is None:
        return None
    match = _SHARD.fullmatch(text.strip())
    if match is None or not 1 <= int(match["index"]) <= int(match["count"]):
        raise ConfigError(f"--shard {text!r} is no part: give I/N with I from 1 to N, such as 3/8")
    return Shard(int(match["index"]), int(match["count"]))
