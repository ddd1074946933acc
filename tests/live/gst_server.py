"""gst-rtsp-server's process, run by Debian's own Python: publish H.264 to /pub/NAME, play it from /NAME.

A server that others wrote, to find out whether we talk with those, too. Pictures only.
"""

import threading
from dataclasses import dataclass, field
from typing import Any

import gi  # type: ignore[import-not-found] # Debian's Python has it

from tests.live import parent

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # type: ignore[import-not-found] # noqa: E402

UNITS = "video/x-h264,stream-format=byte-stream,alignment=au"
RECORD = (
    f"( rtph264depay name=depay0 ! h264parse config-interval=-1 ! {UNITS} !"
    " appsink name=out emit-signals=true sync=false max-buffers=200 drop=true )"
)
PLAY = (
    "( appsrc name=src is-live=true do-timestamp=true format=time block=false max-bytes=4000000 leaky-type=2"
    f" caps={UNITS} ! h264parse config-interval=-1 ! rtph264pay name=pay0 pt=96 config-interval=-1 )"
)


@dataclass(eq=False)
class Outlet:
    """Where a player's pictures go in."""

    source: Any
    began: bool = False
    """Whether it had a key frame."""


@dataclass
class Hub:
    """Passes pictures of one name from its publisher to its players: one factory cannot do both."""

    outlets: list[Outlet] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def publisher_came(self, _: object, media: Any) -> None:  # noqa: ANN401 # gi has no types
        media.get_element().get_by_name("out").connect("new-sample", self.pass_on)

    def player_came(self, _: object, media: Any) -> None:  # noqa: ANN401
        outlet = Outlet(media.get_element().get_by_name("src"))
        with self.lock:
            self.outlets.append(outlet)
        media.connect("unprepared", lambda _: self.player_went(outlet))

    def player_went(self, outlet: Outlet) -> None:
        with self.lock:
            if outlet in self.outlets:
                self.outlets.remove(outlet)

    def pass_on(self, sink: Any) -> Any:  # noqa: ANN401
        buffer = sink.emit("pull-sample").get_buffer()
        is_key = not buffer.has_flags(Gst.BufferFlags.DELTA_UNIT)
        data = buffer.extract_dup(0, buffer.get_size())
        with self.lock:
            outlets = list(self.outlets)
        for outlet in outlets:
            outlet.began = outlet.began or is_key
            if outlet.began:
                outlet.source.emit("push-buffer", Gst.Buffer.new_wrapped(data))
        return Gst.FlowReturn.OK


def _main(names: list[str], port: int) -> None:
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(str(port))
    server.get_thread_pool().set_max_threads(-1)  # else a player that waits for a picture keeps out its publisher
    for name in names:
        hub = Hub()
        record, play = GstRtspServer.RTSPMediaFactory(), GstRtspServer.RTSPMediaFactory()
        record.set_transport_mode(GstRtspServer.RTSPTransportMode.RECORD)
        record.set_launch(RECORD)
        record.connect("media-configure", hub.publisher_came)
        play.set_shared(True)
        play.set_launch(PLAY)
        play.connect("media-configure", hub.player_came)
        for factory, path in ((record, f"/pub/{name}"), (play, f"/{name}")):
            factory.set_latency(0)
            server.get_mount_points().add_factory(path, factory)
    if not server.attach(None):
        raise OSError(f"gst-rtsp-server cannot listen on port {port}")

    def obey(command: str, arguments: dict[str, Any]) -> None:
        raise ValueError(command)

    parent.obey(obey)
    parent.say("answer", None, None)
    GLib.MainLoop().run()


if __name__ == "__main__":
    _main(**parent.settings())
