"""A restorer that takes its time and changes nothing, so that time codes stay readable."""

import random
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from streamrestore.frame import Chunk, Restored


class Sleeper:
    """Sleeps as long as a device would compute."""

    def __init__(self, seconds: Mapping[str, float] | Sequence[float], jitter: float, slowness: Path) -> None:
        """Be as fast as is said.

        Args:
            seconds: A frame with one, two and three stages.
            jitter: By which part that varies.
            slowness: A file with a factor on all of it, read each time.
        """
        self._seconds = list(seconds.values() if isinstance(seconds, Mapping) else seconds)
        self._jitter = jitter
        self._slowness = slowness
        self._random = random.Random(0)

    def restore(self, chunk: Chunk) -> Restored:
        """Give the frames back after a while."""
        seconds = self._seconds[(chunk.stages or 3) - 1] * self._random.uniform(1 - self._jitter, 1 + self._jitter)
        with suppress(OSError, ValueError):
            seconds *= float(self._slowness.read_text())
        began = time.monotonic()
        time.sleep(seconds * len(chunk.planes[0]))
        return Restored(chunk.planes, time.monotonic() - began)
