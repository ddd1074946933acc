"""Tests of the relay: each fault is seen by the viewers and publishers that it is meant for, and by no others."""

import re
import socket
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.live.camera import Camera
from tests.live.relay import Relay
from tests.live.scene import Scene, open_scene
from tests.live.viewer import (
    Picture,
    Viewer,
    duplicated,
    fresh,
    indices,
    largest_gap,
    latencies,
    lost,
    reordered,
)


@pytest.fixture(scope="module")
def relay() -> Iterator[Relay]:
    """One for all tests that leave it as it was."""
    with Relay() as relay:
        yield relay


@pytest.fixture(scope="module")
def two_scenes(relay: Relay) -> Iterator[tuple[Scene, Scene]]:
    with open_scene(relay, "harmed") as harmed, open_scene(relay, "spared") as spared:
        yield harmed, spared


@pytest.fixture
def harmed(two_scenes: tuple[Scene, Scene]) -> Iterator[Scene]:
    """A path to be harmed; it is well again afterwards, and another one beside it never knew."""
    harmed, spared = two_scenes
    harmed.viewer.wait_for_pictures()
    yield harmed
    harmed.viewer.wait_for_pictures(5)
    spared.viewer.wait_for_pictures()
    seen = indices(spared.viewer.pictures)
    assert seen == list(range(seen[0], seen[0] + len(seen)))
    assert spared.viewer.sessions == spared.camera.sessions == 1


def ask(relay: Relay, *lines: str) -> str:
    """What the relay answers to one request without a body."""
    with socket.create_connection(("127.0.0.1", relay.port), timeout=10) as connection:
        connection.sendall("\r\n".join([*lines, "CSeq: 1", "", ""]).encode())
        return connection.recv(65536).decode()


def steps(pictures: list[Picture]) -> list[float]:
    """From each picture's pts to the next one's."""
    times = [picture.pts for picture in pictures if picture.pts is not None]
    return [after - before for before, after in pairwise(times)]


def test_a_stall_loses_what_comes_meanwhile(relay: Relay, harmed: Scene) -> None:
    relay.stall(0.8, path=harmed.path)
    seen = [*harmed.viewer.pictures[-1:], *harmed.viewer.wait_for_pictures(10)]
    assert largest_gap(seen) > 0.5
    assert len(lost(indices(seen))) > 10
    assert harmed.viewer.ends == []


def test_a_freeze_delays_and_loses_nothing(relay: Relay, harmed: Scene) -> None:
    relay.freeze(0.8, path=harmed.path)
    seen = harmed.viewer.wait_for_pictures(30)
    assert max(latencies(seen)) > 0.5
    assert lost(indices(seen)) == []
    assert harmed.viewer.ends == []


@pytest.mark.parametrize("seconds", [10.0, -10.0, 1800.0])
def test_a_clock_that_jumps_is_seen_in_pts(relay: Relay, harmed: Scene, seconds: float) -> None:
    relay.jump(seconds, path=harmed.path)
    harmed.viewer.wait_for(lambda: any(abs(step - seconds) < 5 for step in steps(harmed.viewer.pictures)))
    assert harmed.viewer.ends == []


def test_lost_packets_are_counted_and_missed(relay: Relay, harmed: Scene) -> None:
    before = relay.stats().dropped
    seen = len(harmed.viewer.pictures)
    relay.drop(0.3, path=harmed.path)
    harmed.camera.wait_for_frames(20)
    relay.drop(0, path=harmed.path)
    count = relay.stats().dropped
    assert count > before
    harmed.viewer.wait_for_pictures(5)
    assert lost(indices(harmed.viewer.pictures[seen:])) != []
    assert relay.stats().dropped == count


def test_wrong_packets_are_counted_and_seen(relay: Relay, harmed: Scene) -> None:
    seen, damaged = len(harmed.viewer.pictures), harmed.viewer.damaged
    relay.corrupt(0.5, path=harmed.path)
    harmed.camera.wait_for_frames(20)
    relay.corrupt(0, path=harmed.path)
    count = relay.stats().corrupted
    assert count > 0
    harmed.camera.wait_for_frames(10)
    assert relay.stats().corrupted == count
    harmed.viewer.wait_for_pictures()
    codes = [picture.index for picture in harmed.viewer.pictures[seen:]]
    assert None in codes or lost(indices(harmed.viewer.pictures[seen:])) or harmed.viewer.damaged > damaged


def test_players_and_publishers_are_thrown_out(relay: Relay, harmed: Scene) -> None:
    viewer, camera = harmed.viewer, harmed.camera
    sessions, published = viewer.sessions, camera.sessions
    relay.kick("play", path=harmed.path)
    viewer.wait_for_session(sessions + 1)
    assert camera.sessions == published
    relay.kick("pub", path=harmed.path)
    camera.wait_for_session(published + 1)
    viewer.wait_for_session(sessions + 2)
    assert relay.stats().paths[harmed.path].generation == published + 1
    assert reordered(indices(viewer.pictures)) == []


def test_a_mute_track_leaves_the_other(relay: Relay) -> None:
    with open_scene(relay, "mute", Camera(relay.url("mute"), audio=True)) as scene:
        viewer = scene.viewer
        viewer.wait_for(lambda: viewer.sounds)
        relay.mute(0, path="mute")
        scene.camera.wait_for_frames(5)  # what was on its way has arrived
        pictures, sounds = len(viewer.pictures), len(viewer.sounds)
        viewer.wait_for(lambda: len(viewer.sounds) >= sounds + 20)
        assert len(viewer.pictures) <= pictures + 1
        relay.unmute(path="mute")
        viewer.wait_for_pictures(5)
        assert viewer.ends == []


def test_a_slow_link_delays_more_and_more_and_then_loses(relay: Relay) -> None:
    with open_scene(relay, "slow", Camera(relay.url("slow"), noise=True)) as scene:
        relay.bandwidth(500_000, path="slow")
        scene.viewer.wait_for(lambda: latencies(scene.viewer.pictures)[-1] > 0.8)
        scene.viewer.wait_for(lambda: relay.stats().overflowed > 0)
        relay.bandwidth(None, path="slow")
        scene.viewer.wait_for(lambda: latencies(scene.viewer.pictures)[-1] < 0.5)


def test_a_publisher_that_is_not_read_comes_to_a_halt_alone(relay: Relay, two_scenes: tuple[Scene, Scene]) -> None:
    spared = two_scenes[1]
    with Camera(relay.url("unread"), noise=True) as camera:
        camera.wait_for_frames(5)
        relay.slow_publish_read(0, path="unread")
        sent, since = camera.frames, time.monotonic()
        deadline = since + 30
        while time.monotonic() < since + 0.7:
            assert time.monotonic() < deadline, "it goes on"
            if camera.frames > sent:
                sent, since = camera.frames, time.monotonic()
            time.sleep(0.02)
        spared.viewer.wait_for_pictures(5)
        assert camera.frames == sent
        assert camera.ends == []
        relay.slow_publish_read(None, path="unread")
        camera.wait_for_frames(5)
        assert relay.stats().paths["unread"].size / relay.stats().paths["unread"].frames > 40_000


def test_an_open_that_is_never_answered(relay: Relay, two_scenes: tuple[Scene, Scene]) -> None:
    relay.never_answer_open(60, path="harmed")
    with Viewer(relay.url("harmed"), timeout_seconds=0.5) as viewer:
        assert viewer.wait_for_end().reason == "InvalidDataError"
        relay.never_answer_open(0, path="harmed")
        viewer.wait_for_pictures()


def test_a_redirection_leads_to_another_path(relay: Relay, two_scenes: tuple[Scene, Scene]) -> None:
    relay.redirect("old", "spared")
    with Viewer(relay.url("old")) as viewer:
        viewer.wait_for_pictures()
    assert [one.path for one in relay.stats().requests if one.method == "DESCRIBE"][-2:] == ["old", "spared"]
    relay.redirect("old", None)
    assert ask(relay, f"DESCRIBE {relay.url('old')} RTSP/1.0").startswith("RTSP/1.0 404")


def test_without_parameter_sets_in_the_sdp_those_of_the_stream_do(
    relay: Relay, two_scenes: tuple[Scene, Scene]
) -> None:
    assert "sprop-parameter-sets" in ask(relay, f"DESCRIBE {relay.url('spared')} RTSP/1.0")
    relay.strip_sprop(path="spared")
    sdp = ask(relay, f"DESCRIBE {relay.url('spared')} RTSP/1.0")
    assert "m=video" in sdp
    assert "sprop" not in sdp
    with Viewer(relay.url("spared")) as viewer:
        viewer.wait_for_pictures()
    relay.strip_sprop(False, path="spared")


def test_a_short_session_is_kept_alive(relay: Relay) -> None:
    relay.session(2, path="short")
    with open_scene(relay, "short") as scene:
        kept_alive = ("GET_PARAMETER", "short")
        scene.viewer.wait_for(lambda: kept_alive in [(one.method, one.path) for one in relay.stats().requests])


def test_a_clock_that_wraps_is_not_seen_in_pts(relay: Relay) -> None:
    with Camera(relay.url("wrap")) as camera:
        camera.wait_for_session()
        relay.wrap(1.5, path="wrap")
        camera.wait_for_frames()
        with Viewer(relay.url("wrap")) as viewer:
            start = time.monotonic()
            viewer.wait_for(lambda: time.monotonic() > start + 2.0)
            seen = viewer.wait_for_pictures()
            assert seen
            assert all(0 < step < 1 for step in steps(viewer.pictures))


def test_play_by_udp(relay: Relay, two_scenes: tuple[Scene, Scene]) -> None:
    with Viewer(relay.url("spared"), transport="udp") as viewer:
        seen = viewer.wait_for_pictures(10)
        assert reordered(indices(seen)) == duplicated(indices(seen)) == []
        assert relay.stats().paths["spared"].players == 2


@pytest.mark.parametrize("rst", [False, True], ids=["FIN", "RST"])
def test_both_ends_come_back_after_a_kill(rst: bool) -> None:
    with Relay() as relay, open_scene(relay, "live") as scene:
        relay.kill(rst=rst)
        scene.viewer.wait_for(lambda: "ConnectionRefusedError" in [end.reason for end in scene.viewer.ends])
        relay.relisten()
        scene.viewer.wait_for_session(2)
        scene.viewer.wait_for_pictures(5)
        assert scene.camera.sessions == 2
        seen = indices(scene.viewer.pictures)
        assert reordered(seen) == duplicated(seen) == []
        relay.kill(rst=rst, listen=True)
        scene.camera.wait_for_session(3)


def test_a_process_that_stops_and_one_that_dies() -> None:
    with Relay() as relay, open_scene(relay, "live") as scene:
        relay.suspend()
        time.sleep(0.8)
        relay.resume()
        seen = scene.viewer.wait_for_pictures(20)
        assert max(latencies(seen)) > 0.5
        assert scene.viewer.ends == []
        port = relay.port
        relay.crash()
        scene.viewer.wait_for_end()
        relay.restart()
        assert relay.port == port
        scene.viewer.wait_for_session(2)
        scene.viewer.wait_for_pictures()
        assert duplicated(indices(fresh(scene.viewer.pictures))) == []


@pytest.mark.parametrize("digest", [True, False], ids=["digest", "basic"])
def test_who_may_come_in(digest: bool) -> None:
    with Relay(user="anna", password="s3cret", digest=digest) as relay, open_scene(relay, "live") as scene:
        for url in (relay.url(auth=False), relay.url().replace("s3cret", "wrong")):
            with Viewer(url) as viewer:
                assert viewer.wait_for_end().reason == "HTTPUnauthorizedError"
        with Camera(relay.url("other", auth=False)) as camera:
            camera.wait_for_end()
            assert camera.ends[0].reason == "HTTPUnauthorizedError"
        refused = [one for one in relay.stats().requests if one.path == "other" and one.method == "ANNOUNCE"]
        assert refused
        assert abs(refused[0].time - camera.ends[0].time) < 5
        for pid in (scene.camera.pid, scene.viewer.pid):
            assert b"s3cret" not in Path(f"/proc/{pid}/cmdline").read_bytes()


def test_nothing_is_found_where_nobody_publishes(relay: Relay) -> None:
    with Viewer(relay.url("nobody")) as viewer:
        assert viewer.wait_for_end().reason == "HTTPNotFoundError"
    answer = ask(relay, f"OPTIONS {relay.url('nobody')} RTSP/1.0")
    assert re.search(r"^Public: .*ANNOUNCE", answer, re.MULTILINE)
