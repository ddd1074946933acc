"""One thread leads all streams: what should not be in one of them is not the others' trouble."""

from collections.abc import Callable
from typing import cast

from pipelines.live.flow import FrameFlow
from pipelines.live.restorers import Restorers
from pipelines.live.session import StreamSession
from pipelines.live.supervisor import Supervisor
from streamrestore.live.ladder import QualityLadder
from streamrestore.live.report import StreamReport
from streamrestore.live.states import ReaderState
from tests.live.camera import Camera
from tests.live.relay import Relay
from tests.live.restored import Restored
from tests.live.through import open_through
from tests.workers.fakes import Script
from workers import open_pool
from workers.live.child import Nursery


class Scripted:
    """A session that fails when it is told to."""

    outputs: tuple[()] = ()

    class reader:  # noqa: N801 - stands for the attribute
        connection = None

    def __init__(self, name: str, fails: bool) -> None:
        self.name, self.fails = name, fails
        self.ticks = 0
        self.recovered = list[str]()
        self.flow = FrameFlow("degrade", 1.0)

    def receive(self, now: float) -> None:
        if self.fails:
            raise AssertionError("this should not be")

    def tick(self, now: float) -> None:
        self.ticks += 1

    def recover(self, now: float, words: str) -> None:
        self.recovered.append(words)

    def due(self, now: float) -> float:
        return now

    def fps(self, now: float) -> float:
        return 0.0

    def report(self, now: float) -> StreamReport:
        return StreamReport(self.name, "rtsp://cam", ReaderState.STREAMING)

    def stop_reading(self, now: float) -> None: ...
    def flush(self, now: float) -> None: ...
    def finish(self, now: float) -> None: ...
    def close(self) -> None: ...


class After:
    """Stops a run when something is so."""

    def __init__(self, condition: Callable[[], bool]) -> None:
        self.is_set = condition


def test_a_stream_in_which_something_is_wrong_begins_anew_and_the_others_go_on() -> None:
    bad, good = Scripted("bad", fails=True), Scripted("good", fails=False)
    restorers = Restorers(lambda: open_pool(Script(), workers=0))
    sessions = cast("list[StreamSession]", [bad, good])
    ladder = QualityLadder(3, {1: 1.0, 2: 2.0, 3: 3.0})
    supervisor = Supervisor(sessions, restorers, ladder, Nursery(spares=0), most=3)
    supervisor.run(After(lambda: good.ticks >= 5))
    restorers.close()
    assert good.ticks >= 5
    assert good.recovered == []
    assert bad.recovered[0] == "AssertionError: this should not be"


def test_an_output_that_comes_back_while_the_camera_is_away_shows_the_last_picture() -> None:
    with open_through() as through:
        through.source.kill()
        through.run.wait_for(lambda stream: stream["state"] == "backoff")
        through.target.crash()
        through.run.wait_for(lambda stream: stream["outputs"][0]["state"] == "backoff")
        through.target.restart()
        begin = len(through.viewer.pictures)
        through.viewer.wait_for(lambda: len(through.viewer.pictures) > begin + 5, 30)
        through.run.wait_for(lambda stream: stream["outputs"][0]["age_seconds"] < 2)
        through.source.relisten()
        through.await_fresh(30)
        through.check_accounts()


def test_a_source_slower_than_the_patience_for_stalls_is_no_outage() -> None:
    with Relay() as relay, Camera(relay.url("camera"), fps=0.4) as camera:
        camera.wait_for_session()
        with Restored({"source": relay.url("camera"), "to": [relay.url("restored")]}) as run:
            run.wait_for(lambda stream: stream["counts"]["captured"] >= 4, 40)
            assert run.stream()["reconnects"] == {}
