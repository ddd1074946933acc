"""A camera, the relay and a viewer in a row, up and running, for tests that go on from there."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.live.camera import Camera
from tests.live.relay import Relay
from tests.live.viewer import Viewer


@dataclass(frozen=True)
class Scene:
    """One path of a relay with both its ends."""

    path: str
    camera: Camera
    viewer: Viewer


@contextmanager
def open_scene(relay: Relay, path: str, camera: Camera | None = None, viewer: Viewer | None = None) -> Iterator[Scene]:
    """Have a path published and played; its first pictures have arrived.

    Args:
        relay: Not harmed yet, as far as the path goes.
        path: Its name.
        camera: One that publishes there and was not entered; by default, the usual one.
        viewer: One that plays it and was not entered; by default, the usual one.
    """
    with camera or Camera(relay.url(path)) as publishing:
        publishing.wait_for_session()
        with viewer or Viewer(relay.url(path)) as playing:
            playing.wait_for_pictures()
            yield Scene(path, publishing, playing)
