"""Reports of streams as a run makes them, for tests."""

from streamrestore.live.report import Latency, OutputReport, StreamReport
from streamrestore.live.states import Cause, PublisherState, ReaderState

OUTPUT = OutputReport(
    name="rtsp://***@server/front",
    state=PublisherState.PUBLISHING,
    published=90,
    held=5,
    dropped={"full": 2, "unavailable": 3},
    in_flight=1,
    reconnects={Cause.ENDED: 1},
    respawns=1,
    age_seconds=0.04,
    pid=4712,
)

STREAM = StreamReport(
    name="front-door",
    source="rtsp://***@cam/stream",
    state=ReaderState.STREAMING,
    captured=100,
    restored={3: 60, 2: 20, 1: 10},
    passed=6,
    dropped={"overload": 2},
    in_flight=2,
    opening=7,
    pid=4711,
    level=2,
    fps=25.0,
    latency=Latency(0.1, 0.2, 0.3, 0.4),
    frame_age_seconds=0.03,
    reconnects={Cause.TIMEOUT: 3, Cause.NO_VIDEO: 1},
    respawns=4,
    outage_seconds=12.5,
    rebases=2,
    damaged=9,
    outputs=(OUTPUT,),
)
