"""Whatever happens to an output, it is published again, and neither the source nor another output notices."""

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from tests.live.camera import Camera
from tests.live.relay import Relay
from tests.live.restored import Restored
from tests.live.through import MOST_BUSY_SECONDS, MOST_GAP_SECONDS, Through, check_accounts, rate
from tests.live.viewer import Viewer, duplicated, indices, largest_gap, lost, reordered

SOON_SECONDS = 12.0
"""For what takes one or two where nobody else works."""

FEW_FRAMES = 12
"""What a moment without a turn on a busy machine may cost; an output that held up the rest would cost 25 a second."""


@dataclass(frozen=True)
class Outputs:
    """A run with two outputs."""

    through: Through
    """All the way to the output that has the faults."""
    beside: Viewer
    """Of the other one."""

    def output(self) -> dict[str, Any]:
        """What is known of the one that has the faults."""
        return dict(self.through.run.stream()["outputs"][0])

    def losses(self, *causes: str) -> int:
        """How often its connection was lost, or could not be made, so far."""
        reconnects = self.output()["reconnects"]
        return sum(count for cause, count in reconnects.items() if not causes or cause in causes)

    def await_losses(self, count: int, *causes: str, seconds: float = SOON_SECONDS) -> None:
        self.through.run.wait_for(lambda _: self.losses(*causes) >= count, seconds)


@pytest.fixture(scope="module")
def outputs() -> Iterator[Outputs]:
    """One run for all faults, each of which it must outlive, with so many bytes a second that buffers fill soon."""
    with ExitStack() as stack:
        source, target, other = (stack.enter_context(Relay()) for _ in range(3))
        camera = stack.enter_context(Camera(source.url("camera"), noise=True))
        camera.wait_for_session()
        to = [target.url("restored"), other.url("beside")]
        asked = {"source": source.url("camera"), "to": to, "crf": 9}
        run = stack.enter_context(Restored(asked, seconds=(0.002, 0.004, 0.008)))
        run.wait_for(lambda stream: all(output["state"] == "publishing" for output in stream["outputs"]))
        viewer, beside = (stack.enter_context(Viewer(url)) for url in to)
        for each in (viewer, beside):
            each.wait_for_pictures(25)
        run.wait_for(lambda stream: stream["counts"]["restored_3"] > 0)
        yield Outputs(Through(source, camera, run, target, viewer), beside)


@pytest.fixture(autouse=True)
def _goes_on(request: pytest.FixtureRequest) -> Iterator[None]:
    """After each fault on the shared run: it is published again, and nothing else has changed."""
    if "outputs" not in request.fixturenames:
        yield
        return
    outputs: Outputs = request.getfixturevalue("outputs")
    through = outputs.through
    before, begin, session = through.run.stream(), len(outputs.beside.pictures) - 1, through.viewer.sessions
    yield
    through.viewer.wait_for_session(session + 1)  # the relay sends players away with their publisher
    through.await_fresh(SOON_SECONDS)
    after = through.run.wait_for(lambda stream: stream["outputs"][0]["state"] == "publishing")
    check_accounts(after)
    check_source(before, after)
    check_beside(outputs, begin)
    assert through.busy_seconds() <= MOST_BUSY_SECONDS
    assert through.target.stats().paths["restored"].unkeyed == 0, "a publisher did not begin with a key frame"
    new = [picture for picture in through.viewer.pictures if picture.session > session]
    assert new[0].index is not None, "the first picture is no good one"
    assert through.viewer.damaged == 0


def check_source(before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """The source lost nothing, and its frames were restored."""
    grown = {fate: count - before["counts"].get(fate, 0) for fate, count in after["counts"].items()}
    assert grown["restored_3"] > 20, grown
    assert grown["passed"] <= FEW_FRAMES, grown
    assert sum(count for fate, count in grown.items() if fate.startswith("dropped_")) == 0, grown
    assert after["reconnects"] == before["reconnects"]
    assert after["state"] == "streaming"


def check_beside(outputs: Outputs, begin: int) -> None:
    """The other output went on in one session, at the full rate, without a gap."""
    pictures, log = outputs.beside.pictures[begin:], outputs.through.run.log
    assert outputs.beside.sessions == 1, log
    assert largest_gap(pictures) <= MOST_GAP_SECONDS, log
    assert reordered(indices(pictures)) == []
    assert len(lost(indices(pictures))) <= FEW_FRAMES, log
    assert len(duplicated(indices(pictures))) <= FEW_FRAMES, "there was no need to repeat pictures"
    assert rate(pictures) > 20, log


def test_a_publisher_that_is_kicked(outputs: Outputs) -> None:
    before = outputs.losses("ended")
    outputs.through.target.kick("pub")
    outputs.await_losses(before + 1, "ended")


@pytest.mark.parametrize("rst", [False, True], ids=["fin", "rst"])
def test_a_server_that_closes_and_listens_again(outputs: Outputs, rst: bool) -> None:
    ended, refused = outputs.losses("ended"), outputs.losses("refused")
    outputs.through.target.kill(rst=rst)
    outputs.await_losses(ended + 1, "ended")
    outputs.await_losses(refused + 2, "refused")
    outputs.through.target.relisten()


def test_a_server_that_crashes_and_is_started_anew(outputs: Outputs) -> None:
    ended, refused = outputs.losses("ended"), outputs.losses("refused")
    outputs.through.target.crash()
    outputs.await_losses(ended + 1, "ended")
    outputs.await_losses(refused + 1, "refused")
    outputs.through.target.restart()


def test_a_server_that_does_not_answer_who_wants_to_publish(outputs: Outputs) -> None:
    before = outputs.losses("hung", "timeout")
    outputs.through.target.never_answer_open(4)
    outputs.through.target.kick("pub")
    outputs.await_losses(before + 1, "hung", "timeout")


@pytest.mark.parametrize("fault", ["freeze", "slow_publish_read", "suspend"])
def test_a_server_that_stops_reading(outputs: Outputs, fault: str) -> None:
    """But for the second one, it does not answer the next publisher either."""
    before, respawns = outputs.losses("hung"), outputs.output()["respawns"]
    target = outputs.through.target
    match fault:
        case "freeze":
            target.freeze(6)
        case "slow_publish_read":
            target.slow_publish_read(0)
        case _:
            target.suspend()
    outputs.await_losses(before + 1, "hung")
    assert outputs.output()["respawns"] > respawns
    if fault == "slow_publish_read":
        target.slow_publish_read(None)
    elif fault == "suspend":
        target.resume()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_publisher_process_that_dies_or_hangs(outputs: Outputs, number: signal.Signals) -> None:
    output = outputs.output()
    os.kill(output["pid"], number)
    outputs.await_losses(outputs.losses() + 1)
    assert outputs.output()["respawns"] == output["respawns"] + 1
    assert outputs.output()["pid"] != output["pid"]


def test_outputs_that_refuse_at_the_start_hold_up_nothing() -> None:
    """One where nobody listens yet, and one that does not like the password."""
    with ExitStack() as stack:
        source, late, other = (stack.enter_context(Relay()) for _ in range(3))
        strict = stack.enter_context(Relay(user="who", password="right-one"))
        camera = stack.enter_context(Camera(source.url("camera")))
        camera.wait_for_session()
        late.kill()
        wrong = f"rtsp://who:wrong-one@127.0.0.1:{strict.port}/restored"
        to = [late.url("restored"), other.url("restored"), wrong]
        run = stack.enter_context(Restored({"source": source.url("camera"), "to": to}))
        run.wait_for(lambda stream: stream["outputs"][1]["counts"]["published"] >= 50)
        stream = run.wait_for(lambda stream: stream["outputs"][2]["reconnects"].get("unauthorized"))
        assert stream["outputs"][0]["reconnects"].get("refused", 0) >= 2
        assert stream["outputs"][0]["counts"]["published"] == 0
        assert [output["state"] for output in stream["outputs"]] == ["backoff", "publishing", "backoff"]
        late.relisten()
        run.wait_for(lambda stream: stream["outputs"][0]["counts"]["published"] >= 25, SOON_SECONDS)
        stream = run.stream()
        check_accounts(stream)
        assert not [fate for fate in stream["counts"] if fate.startswith("dropped_")]
        # One attempt is asked for its password, and answers wrong.
        asked = [request for request in strict.stats().requests if request.method == "ANNOUNCE"]
        assert len(asked) <= 2, asked
        assert stream["outputs"][2]["reconnects"] == {"unauthorized": 1}
        assert "wrong-one" not in run.log
