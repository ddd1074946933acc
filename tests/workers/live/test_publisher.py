"""What publishers leave in a folder, in a process of their own that ends in order or is killed."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from streamrestore.encoding import EncodingRequest
from streamrestore.live.addresses import parse_address
from streamrestore.live.encoding import live_info, plan_live_encoding, plan_target
from streamrestore.live.recordings import free_name, remove_without_picture
from tests.clips import INFO
from workers.live.child import Child
from workers.live.messages import Closed, Finish, Publish, Repeat, Show, Taken, Up
from workers.live.ring import FrameRing

PATIENCE_SECONDS = 30.0

FRAME = 3_600
"""From one picture to the next, on the output's clock."""


class Publisher:
    """One output; encoding and writing take no longer than they do."""

    def __init__(self, output: str) -> None:
        target, info = plan_target(parse_address(output)), live_info(INFO)
        encoding = plan_live_encoding(info, EncodingRequest(), target.muxer)
        self._child = Child()
        self._child.send(Publish(target.url, output, target.options, info, encoding, None))
        self._ring = FrameRing.create(1, INFO.video.frame_bytes())
        self._ring.fill(0, tuple(np.full(shape, 128, np.uint8) for shape in INFO.video.plane_shapes()))
        self._child.give(self._ring)
        self._await(Up)

    def show(self, seconds: int, begin: int) -> None:
        """Publish some, on the output's clock."""
        for index in range(25 * seconds):
            pts = begin * 25 * FRAME + index * FRAME
            self._child.send(Repeat(pts, card=False) if index else Show(0, pts, None))
            self._await(Taken)

    def finish(self) -> None:
        """End it in order."""
        self._child.send(Finish())
        self._await(Closed)

    def kill(self) -> None:
        """End it at once."""
        self._child.kill()
        assert self._child.wait(PATIENCE_SECONDS)
        self._ring.close()

    def _await(self, kind: type) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (said := [*self._child.receive()]):
            assert time.monotonic() < deadline
            self._child.connection.poll(0.1)
        assert [type(message) for message in said] == [kind], said


@contextmanager
def publishing(output: str) -> Iterator[Publisher]:
    """One that is killed, if it has not ended before."""
    publisher = Publisher(output)
    try:
        yield publisher
    finally:
        publisher.kill()


def named(playlist: Path) -> list[str]:
    """The segments of a playlist."""
    return [line for line in playlist.read_text().splitlines() if line and not line.startswith("#")]


def test_segments_that_killed_publishers_leave_do_not_pile_up(tmp_path: Path) -> None:
    others = {"index-1.m4s", "index-00000000.mp4", "other-00000000.m4s", "index-00000000.m4s.old", "my-index.m3u8"}
    for name in others:
        (tmp_path / name).write_text("of somebody else")
    playlist = tmp_path / "index.m3u8"
    for begin in (0, 100, 200, 300, 400):
        with publishing(f"{tmp_path}/") as publisher:
            publisher.show(9, begin)
        assert len(named(playlist)) >= 5
        found = {path.name for path in tmp_path.iterdir()}
        assert set(named(playlist)) <= found
        assert others <= found
        left = found - others - {*named(playlist), "index.m3u8", "index-init.mp4"}
        assert len(left) <= 3, "one that this publisher keeps for slow players, and what the one before had left"
    (tmp_path / "index-00000000.m4s").write_text("from before, and nothing else is left of it")
    playlist.unlink()
    with publishing(f"{tmp_path}/") as publisher:
        assert not [*tmp_path.glob("index-????????.m4s")]
        publisher.show(3, 500)
    assert named(playlist)[0] == "index-00000000.m4s"


def test_a_playlist_says_that_the_stream_has_ended_until_it_goes_on(tmp_path: Path) -> None:
    playlist = tmp_path / "index.m3u8"
    with publishing(f"{tmp_path}/") as publisher:
        publisher.show(3, 0)
        assert "#EXT-X-ENDLIST" not in playlist.read_text()
        publisher.finish()
    assert playlist.read_text().splitlines()[-1] == "#EXT-X-ENDLIST"
    before = named(playlist)
    assert len(before) == 3
    with publishing(f"{tmp_path}/") as publisher:
        publisher.show(3, 100)
    assert "#EXT-X-ENDLIST" not in playlist.read_text(), "it was killed, and another one goes on"
    assert named(playlist)[:3] == before
    assert named(playlist)[3] == "index-00000003.m4s"
    assert not [*tmp_path.glob("*.tmp")]


def test_of_files_only_those_without_a_picture_are_deleted(tmp_path: Path) -> None:
    for suffix in (".mp4", ".mkv", ".ts"):
        path = tmp_path / f"out{suffix}"
        assert free_name(path) == path
        with publishing(str(path)) as publisher:
            publisher.show(1, 0)
        remove_without_picture(path)
        assert path.stat().st_size > 0
        assert free_name(path) == tmp_path / f"out.1{suffix}"
        with publishing(str(tmp_path / f"none{suffix}")):
            pass
        for size in (0, 20, 200):
            header = tmp_path / f"header{suffix}"
            header.write_bytes((tmp_path / f"none{suffix}").read_bytes()[:size])
            remove_without_picture(header)
            assert not header.exists()
    (tmp_path / "out.1.mp4").touch()
    assert free_name(tmp_path / "out.mp4") == tmp_path / "out.1.mp4", "nothing is lost with an empty one"
    (tmp_path / "out.1.mp4").write_text("precious")
    assert free_name(tmp_path / "out.mp4") == tmp_path / "out.2.mp4"
    (tmp_path / "link.mp4").symlink_to("nowhere.mp4")
    remove_without_picture(tmp_path / "link.mp4")
    assert (tmp_path / "link.mp4").is_symlink()
