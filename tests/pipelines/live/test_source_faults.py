"""Whatever happens to a camera, the output goes on in one session, and fresh pictures come when it is back."""

import os
import signal
import time
from collections.abc import Iterator

import pytest

from tests.live.camera import Camera
from tests.live.relay import Relay
from tests.live.restored import Restored
from tests.live.through import MOST_BUSY_SECONDS, Through, check_accounts, open_through
from tests.live.viewer import fresh, largest_gap

SOON_SECONDS = 12.0
"""For what takes one or two where nobody else works."""


@pytest.fixture(scope="module")
def through() -> Iterator[Through]:
    """One run for all faults, each of which it must outlive."""
    with open_through(audio=True, jitter=0.3) as opened:
        yield opened


@pytest.fixture(autouse=True)
def _goes_on(request: pytest.FixtureRequest) -> Iterator[None]:
    """After each fault on the shared run: pictures are fresh, in order and in one session, and accounted for."""
    if "through" not in request.fixturenames:
        yield
        return
    through: Through = request.getfixturevalue("through")
    begin = len(through.viewer.pictures) - 1
    yield
    through.await_fresh(SOON_SECONDS)
    through.check_viewer(begin)
    through.check_accounts()
    assert through.busy_seconds() <= MOST_BUSY_SECONDS
    through.run.wait_for(lambda stream: stream["state"] == "streaming")


def lost(through: Through, cause: str) -> int:
    """Connections that a cause ended so far."""
    return int(through.run.stream()["reconnects"].get(cause, 0))


def await_loss(through: Through, cause: str, before: int, seconds: float = SOON_SECONDS) -> None:
    through.run.wait_for(lambda stream: stream["reconnects"].get(cause, 0) > before, seconds)


def test_a_publisher_that_goes_and_comes(through: Through) -> None:
    before = lost(through, "ended")
    through.source.kick("pub")
    await_loss(through, "ended", before)


@pytest.mark.parametrize("rst", [False, True], ids=["fin", "rst"])
def test_a_server_that_closes_and_listens_again(through: Through, rst: bool) -> None:
    before = lost(through, "ended")
    through.source.kill(rst=rst)
    await_loss(through, "ended", before)
    through.run.wait_for(lambda stream: stream["state"] == "backoff")
    through.source.relisten()


def test_a_server_that_is_killed_and_started_anew(through: Through) -> None:
    before = lost(through, "ended")
    through.source.crash()
    await_loss(through, "ended", before)
    through.source.restart()


@pytest.mark.parametrize("fault", ["stall", "freeze", "suspend"])
def test_a_source_that_falls_silent(through: Through, fault: str) -> None:
    before, began = lost(through, "timeout"), time.monotonic()
    if fault == "suspend":
        through.source.suspend()
    else:
        getattr(through.source, fault)(6)
    await_loss(through, "timeout", before)
    assert time.monotonic() - began >= 1.9, "it was not given time"
    if fault == "suspend":
        through.source.resume()


def test_pictures_that_stop_while_the_sound_goes_on(through: Through) -> None:
    before = lost(through, "no video")
    heard = len(through.viewer.sounds)
    through.source.mute(0)
    await_loss(through, "no video", before)
    through.viewer.wait_for(lambda: len(through.viewer.sounds) > heard + 20)
    through.source.unmute()


def test_an_outage_of_more_than_five_seconds_shows_the_card(through: Through) -> None:
    pictures = through.viewer.pictures
    bright = pictures[-1].luma
    through.source.kill()
    begin = len(pictures)

    def dimmed() -> bool:
        return any(picture.luma < 0.6 * bright for picture in through.viewer.pictures[begin:])

    through.viewer.wait_for(dimmed, 20)
    first = next(picture for picture in through.viewer.pictures[begin:] if picture.luma < 0.6 * bright)
    assert first.arrival - pictures[-1].arrival >= 4.5
    assert first.index is None, "the banner lies over the time code"
    assert (first.height, first.width) == (180, 320)
    through.source.relisten()


@pytest.mark.parametrize("seconds", [-10.0, 10.0, 1800.0])
def test_a_clock_that_jumps(through: Through, seconds: float) -> None:
    before = through.run.stream()["rebases"]
    through.source.jump(seconds)
    through.run.wait_for(lambda stream: stream["rebases"] > before)


def test_a_clock_that_wraps(through: Through) -> None:
    through.source.wrap(1.0)
    through.await_fresh(count=75)


@pytest.mark.parametrize(("fault", "share"), [("drop", 0.2), ("corrupt", 0.05)])
def test_packets_that_are_lost_or_damaged(through: Through, fault: str, share: float) -> None:
    before = through.run.stream()["damaged"]
    getattr(through.source, fault)(share)
    try:
        through.run.wait_for(lambda stream: stream["damaged"] > before, 30)
    finally:
        getattr(through.source, fault)(0.0)


def test_a_picture_that_changes_its_size(through: Through) -> None:
    begin = len(through.viewer.pictures)
    for size in ((360, 640), (90, 160), (270, 480), (180, 320)):
        through.camera.resize(size)
        through.await_fresh()
    assert {(picture.height, picture.width) for picture in through.viewer.pictures[begin:]} == {(180, 320)}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_reader_that_dies_or_hangs(through: Through, number: signal.Signals) -> None:
    before = through.run.stream()["respawns"]
    os.kill(through.run.stream()["pid"], number)
    through.run.wait_for(lambda stream: stream["respawns"] > before, SOON_SECONDS)


def test_latency_is_after_all_of_that_what_it_was(through: Through) -> None:
    pictures = fresh(through.await_fresh(count=50))
    late = sorted(picture.arrival - picture.time for picture in pictures if picture.time is not None)
    assert late[len(late) // 2] <= 1.0
    assert through.viewer.sounds, "the sound was copied through"


def test_a_source_that_is_not_there_yet_is_waited_for() -> None:
    with Relay() as relay, Restored({"source": relay.url("camera"), "to": [relay.url("restored")]}) as run:
        run.wait_for(lambda stream: stream["reconnects"].get("not found", 0) >= 2)
        assert run.stream()["outputs"][0]["state"] == "waiting"
        with Camera(relay.url("camera")):
            run.wait_for(lambda stream: stream["outputs"][0]["counts"]["published"] >= 25)
            check_accounts(run.stream())


def test_a_source_that_never_answers_is_given_up_and_tried_again() -> None:
    with Relay() as source, Relay() as target, Camera(source.url("camera")) as camera:
        camera.wait_for_session()
        source.never_answer_open(8)
        with Restored({"source": source.url("camera"), "to": [target.url("restored")]}) as run:
            run.wait_for(lambda stream: stream["reconnects"].get("timeout", 0) >= 1)
            run.wait_for(lambda stream: stream["state"] == "streaming", 30)


def test_what_a_connection_begins_with_is_left_out_where_it_is_old(through: Through) -> None:
    """Every first picture after a reconnection was as fresh as any."""
    begin = len(through.viewer.pictures)
    through.source.kick("play")
    through.await_fresh()
    new = fresh(through.viewer.pictures[begin:])
    assert max(picture.arrival - picture.time for picture in new if picture.time is not None) <= 2.0
    assert largest_gap(through.viewer.pictures[begin:]) <= 2.0
