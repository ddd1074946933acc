"""A camera, a relay, the live pipeline, another relay and a viewer in a row, up and running."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from tests.live.camera import Camera
from tests.live.pictures import Picture
from tests.live.relay import Relay
from tests.live.restored import Restored
from tests.live.viewer import Viewer, fresh, indices, largest_gap, reordered

MOST_GAP_SECONDS = 2.0
"""What catches a stall on a machine where others work too; benchmarks hold the true bound."""

MOST_BUSY_SECONDS = 1.0
"""The same for the supervisor's longest turn."""


@dataclass(frozen=True)
class Through:
    """All of it; the source and the outputs have relays of their own, so that faults of one are not the other's."""

    source: Relay
    camera: Camera
    run: Restored
    target: Relay
    viewer: Viewer

    def await_fresh(self, seconds: float = 20.0, count: int = 25) -> list[Picture]:
        """Wait for so many pictures that were not seen before; gives all since."""
        return self.viewer.wait_for_pictures(count, seconds)

    def busy_seconds(self) -> float:
        """The supervisor's longest turn."""
        _, page = self.run.page("/metrics")
        found = re.search(r"^streamrestore_supervisor_gap_seconds (\S+)$", page, re.MULTILINE)
        assert found is not None, page
        return float(found[1])

    def check_accounts(self) -> None:
        """Every frame has one fate."""
        check_accounts(self.run.stream())

    def check_viewer(self, since: int = 0) -> None:
        """One session, without a stall, in order, with times that rise."""
        pictures = self.viewer.pictures[since:]
        assert self.viewer.sessions == 1, self.run.log
        assert largest_gap(pictures) <= MOST_GAP_SECONDS, self.run.log
        assert reordered(indices(pictures)) == []
        times = [picture.pts for picture in pictures if picture.pts is not None]
        assert all(before < after for before, after in pairwise(times))
        assert max(after - before for before, after in pairwise(times)) <= MOST_GAP_SECONDS


def check_accounts(stream: Mapping[str, Any]) -> None:
    """Every captured frame was restored, passed on, dropped, or is on its way; also at the outputs."""
    counts = stream["counts"]
    fates = sum(
        count for fate, count in counts.items() if fate.startswith(("restored_", "dropped_")) or fate == "passed"
    )
    assert counts["captured"] == fates + stream["in_flight"], stream
    out = counts["captured"] - stream["in_flight"]
    out -= sum(count for fate, count in counts.items() if fate.startswith("dropped_"))
    for output in stream["outputs"]:
        taken = output["counts"]
        dropped = sum(count for fate, count in taken.items() if fate.startswith("dropped_"))
        assert out == taken["published"] + dropped + output["in_flight"], stream


@contextmanager
def open_through(
    *,
    audio: bool = False,
    noise: bool = False,
    codec: Literal["h264", "hevc"] = "h264",
    stream: Mapping[str, object] | None = None,
    **run: Any,  # noqa: ANN401 - as `Restored` takes them
) -> Iterator[Through]:
    """Have pictures go all the way.

    Args:
        audio: Whether the camera has a sound.
        noise: Whether its pictures are large.
        codec: Of the camera.
        stream: Further options of the stream.
        run: Further arguments of `Restored`.
    """
    with (
        Relay() as source,
        Relay() as target,
        Camera(source.url("camera"), audio=audio, noise=noise, codec="hevc" if codec == "hevc" else "h264") as camera,
    ):
        camera.wait_for_session()
        asked = {"source": source.url("camera"), "to": [target.url("restored")], **(stream or {})}
        with Restored(asked, **run) as restored:
            restored.wait_for(lambda found: found["outputs"][0]["state"] == "publishing")
            with Viewer(target.url("restored")) as viewer:
                viewer.wait_for_pictures(25)
                yield Through(source, camera, restored, target, viewer)


def rate(pictures: list[Picture]) -> float:
    """Fresh pictures a second."""
    seen = fresh(pictures)
    return (len(seen) - 1) / (seen[-1].arrival - seen[0].arrival)
