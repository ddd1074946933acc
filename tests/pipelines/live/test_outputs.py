"""What is published, and what is written, is what came: pictures, sound and times, however the run ends."""

import os
import re
import resource
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
import pytest
from av.container import InputContainer

from streamrestore.encoding import EncodingRequest
from streamrestore.live.addresses import parse_address
from streamrestore.live.encoding import live_info, plan_live_encoding, plan_target
from tests.clips import INFO
from tests.live.camera import Camera
from tests.live.relay import Relay
from tests.live.restored import Restored, is_alive
from tests.live.timecode import TimeCode, paint, plane_of, read
from tests.live.viewer import Viewer, fresh, indices, lost, reordered
from workers.live.child import Line
from workers.live.messages import Closed, Finish, Play, Publish, Repeat, Show
from workers.live.publisher import publish
from workers.live.reader import sound_template
from workers.live.ring import FrameRing

SOON_SECONDS = 20.0
"""For what takes one or two where nobody else works."""

FAST = (0.002, 0.004, 0.008)
"""So that there is time for every frame, on a busy machine, too."""

PLAY = {"rtsp_transport": "tcp", "timeout": "10000000", "analyzeduration": "0", "probesize": "32"}


@dataclass
class Tape:
    """What one stream, or file, holds."""

    sounds: list[tuple[float, bytes]] = field(default_factory=list)
    """When each packet is to be heard, and its payload."""
    pictures: dict[int, float] = field(default_factory=dict)
    """By index, when it is to be seen."""
    times: list[float] = field(default_factory=list)
    """Of all pictures, with a code or not."""
    codecs: list[str] = field(default_factory=list)
    packets: int = 0
    """Of pictures."""


def tape(source: str | Path, seconds: float | None = None) -> Tape:
    """Play a file to its end, or a stream for a while."""
    tape, end = Tape(), None if seconds is None else time.monotonic() + seconds
    options = PLAY if seconds is not None else {}
    with av.open(str(source), options=options) as container:
        assert isinstance(container, InputContainer)
        tape.codecs = [stream.codec_context.name for stream in container.streams if stream.codec_context]
        for stream in container.streams.video:
            stream.thread_type = "SLICE"
        for packet in container.demux(*container.streams.video, *container.streams.audio):
            if end is not None and time.monotonic() > end:
                break
            if packet.stream.type == "audio":
                if packet.size and packet.pts is not None:
                    tape.sounds.append((float(packet.pts * packet.time_base), bytes(packet)))
                continue
            tape.packets += packet.size > 0
            for frame in packet.decode():
                assert isinstance(frame, av.VideoFrame)
                if frame.pts is None or frame.time_base is None:
                    continue  # the first one of a stream
                tape.times.append(float(frame.pts * frame.time_base))
                if (code := read(plane_of(frame))) is not None:
                    tape.pictures.setdefault(code.index, tape.times[-1])
    return tape


def boxes(path: Path) -> list[str]:
    """An MP4's, from outside."""
    data, place, found = path.read_bytes(), 0, list[str]()
    while place + 8 <= len(data):
        size = int.from_bytes(data[place : place + 4])
        found.append(data[place + 4 : place + 8].decode("latin-1"))
        place += int.from_bytes(data[place + 8 : place + 16]) if size == 1 else size or len(data)
    return found


def shift(source: Sequence[bytes], copy: Sequence[bytes]) -> int:
    """By how many places the copy's packets lie before the source's; where both have them, all are equal."""
    found = dict[int, int]()
    for offset in range(1 - len(copy), len(source)):
        common = range(max(0, -offset), min(len(copy), len(source) - offset))
        if len(common) >= 100 and all(copy[place] == source[place + offset] for place in common):
            found[offset] = len(common)
    assert found, f"{len(copy)} packets of sound are no copy of {len(source)}"
    return max(found, key=lambda offset: found[offset])


def check_sound(source: Tape, copy: Tape, header: int = 0) -> None:
    """It is the source's, bit for bit, and as far from the pictures as there."""
    offset = shift([data for _, data in source.sounds], [data[header:] for _, data in copy.sounds])
    # At first, RTSP tells no player how sound and pictures belong together.
    known = source.sounds[len(source.sounds) // 2 :]
    index = min(set(source.pictures) & set(copy.pictures), key=lambda index: abs(source.pictures[index] - known[0][0]))
    place = len(source.sounds) // 2
    assert 0 <= place - offset < len(copy.sounds)
    there = known[0][0] - source.pictures[index]
    assert abs(there) < 0.5
    assert copy.sounds[place - offset][0] - copy.pictures[index] == pytest.approx(there, abs=0.1)


def check_pictures(tape: Tape, at_least: float) -> None:
    """All of them can be decoded, in order, at times that rise."""
    assert len(tape.times) == tape.packets >= at_least, tape.codecs
    assert [(before, after) for before, after in pairwise(tape.times) if before >= after] == [], tape.codecs
    assert [*tape.pictures] == sorted(tape.pictures)
    assert len(tape.pictures) >= 0.9 * len(tape.times)


@dataclass(frozen=True)
class Ran:
    """What is left of a run that had all kinds of outputs."""

    folder: Path
    source: Tape
    published: Tape
    killed: Mapping[str, int]
    """Frames that MP4's publisher had written when it was killed."""
    counts: Sequence[Mapping[str, int]]
    """The last ones of each output that were seen."""
    playlists: Sequence[str]
    """The last ones of HLS before its publisher was killed, and before the end."""
    segments: Sequence[str]
    """Of HLS, in the end."""
    code: int
    seconds: float
    """What ending it took."""
    log: str
    played: Sequence[Any]
    """What a viewer of HLS saw."""


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    """A run with sound and five kinds of outputs; in the middle of it, some publishers are killed."""
    folder = tmp_path_factory.mktemp("outputs")
    playlist = folder / "made" / "hls" / "index.m3u8"
    with ExitStack() as stack:
        source, target = (stack.enter_context(Relay()) for _ in range(2))
        camera = stack.enter_context(Camera(source.url("camera"), audio=True))
        camera.wait_for_session()
        names = ("made/hls/", "out.mp4", "out.mkv", "out.ts")
        to = [target.url("restored"), *(f"{folder}/{name}" for name in names)]
        run = stack.enter_context(Restored({"source": source.url("camera"), "to": to}, seconds=FAST))
        run.wait_for(lambda stream: all(output["state"] == "publishing" for output in stream["outputs"]))
        tapes = stack.enter_context(ThreadPoolExecutor(2))
        playing = [tapes.submit(tape, url, 12.0) for url in (source.url("camera"), target.url("restored"))]
        run.wait_for(lambda _: len(segments(playlist)) >= 3)
        viewer = stack.enter_context(Viewer(playlist))
        viewer.wait_for_pictures(50)
        before = run.wait_for(lambda stream: stream["outputs"][2]["counts"]["published"] >= 200)
        playlists = [playlist.read_text()]
        for number in (1, 2):
            os.kill(before["outputs"][number]["pid"], signal.SIGKILL)
        run.wait_for(lambda stream: all(stream["outputs"][number]["respawns"] == 1 for number in (1, 2)))
        source_tape, published = (future.result(60) for future in playing)
        killed, seen = before["outputs"][2]["counts"], len(fresh(viewer.pictures))
        last = run.wait_for(lambda stream: stream["outputs"][2]["counts"]["published"] >= killed["published"] + 50)
        viewer.wait_for(lambda: len(fresh(viewer.pictures)) >= seen + 25)
        playlists.append(playlist.read_text())
        run.terminate()
        began = time.monotonic()
        code = run.wait()
        yield Ran(
            folder,
            source_tape,
            published,
            killed,
            [output["counts"] for output in last["outputs"]],
            playlists,
            [path.name for path in sorted(playlist.parent.glob("*.m4s"))],
            code,
            time.monotonic() - began,
            run.log,
            viewer.pictures,
        )


def segments(playlist: Path) -> list[str]:
    """Those that a playlist names."""
    return re.findall(r"^[^#\s].*$", playlist.read_text(), re.MULTILINE) if playlist.exists() else []


def test_it_ends_soon_and_well(ran: Ran) -> None:
    assert ran.code == 0, ran.log
    assert ran.seconds < 10
    assert "Traceback" not in ran.log


def test_what_is_published_has_the_sources_sound_in_sync(ran: Ran) -> None:
    check_sound(ran.source, ran.published)
    assert ran.published.codecs == ["h264", "aac"]
    numbers = sorted(ran.published.pictures)
    assert lost(numbers) == []


@pytest.mark.parametrize(("name", "header"), [("out.mp4", 0), ("out.1.mp4", 0), ("out.mkv", 0), ("out.ts", 7)])
def test_files_have_the_sources_sound_in_sync(ran: Ran, name: str, header: int) -> None:
    """In MPEG-TS, each packet has a header of its own."""
    written = tape(ran.folder / name)
    assert written.codecs == ["h264", "aac"]
    if name == "out.mp4":
        half = Tape(ran.source.sounds[: len(ran.source.sounds) // 2], ran.source.pictures)
        check_sound(half, written)
    elif name == "out.1.mp4":
        assert len(written.sounds) > 50
    else:
        check_sound(ran.source, written, header)


@pytest.mark.parametrize(("name", "output"), [("out.mkv", 3), ("out.ts", 4)])
def test_files_have_every_picture(ran: Ran, name: str, output: int) -> None:
    written = tape(ran.folder / name)
    check_pictures(written, ran.counts[output]["published"])
    assert lost(list(written.pictures)) == []


def test_what_a_killed_publisher_wrote_can_be_played(ran: Ran) -> None:
    written = tape(ran.folder / "out.mp4")
    check_pictures(written, 0.95 * ran.killed["published"])


def test_the_stream_goes_on_in_another_file_which_is_complete(ran: Ran) -> None:
    path = ran.folder / "out.1.mp4"
    found = boxes(path)
    assert found.count("moov") == found.count("mdat") == 1, found
    assert "moof" not in found
    written = tape(path)
    check_pictures(written, ran.counts[2]["published"] - ran.killed["published"] - 8)
    assert lost(list(written.pictures)) == []
    with av.open(str(path)) as container:
        assert container.duration is not None
        assert container.duration / av.time_base == pytest.approx(len(written.times) / 25, abs=0.5)
    assert min(written.pictures) > max(tape(ran.folder / "out.mp4").pictures)
    assert not (ran.folder / "out.2.mp4").exists()


@pytest.mark.parametrize("number", [0, 1])
def test_hls_has_a_few_segments_with_their_dates(ran: Ran, number: int) -> None:
    playlist = ran.playlists[number]
    named = re.findall(r"^(.*\.m4s)$", playlist, re.MULTILINE)
    assert 5 <= len(named) <= 7
    assert named == sorted(named)
    lengths = [float(length) for length in re.findall(r"^#EXTINF:([\d.]+)", playlist, re.MULTILINE)]
    assert max(lengths) < 1.5
    dates = [datetime.fromisoformat(date) for date in re.findall(r"PROGRAM-DATE-TIME:(\S+)", playlist)]
    assert len(dates) == len(named)
    assert all(before < after for before, after in pairwise(dates))
    assert abs((datetime.now(UTC) - dates[-1]).total_seconds()) < 120


def test_old_segments_of_hls_are_deleted(ran: Ran) -> None:
    """But for the one or two that a publisher had just taken from the list when it was killed."""
    named = re.findall(r"^(.*\.m4s)$", ran.playlists[-1], re.MULTILINE)
    assert int(named[0][6:-4]) >= 5
    assert len([name for name in ran.segments if name < named[0]]) <= 4, ran.segments


def test_the_playlist_says_that_the_stream_has_ended(ran: Ran) -> None:
    assert not [playlist for playlist in ran.playlists if "#EXT-X-ENDLIST" in playlist]
    assert (ran.folder / "made" / "hls" / "index.m3u8").read_text().endswith("#EXT-X-ENDLIST\n")


def test_hls_plays_while_it_grows(ran: Ran) -> None:
    assert reordered(indices(ran.played)) == []
    assert len(fresh(ran.played)) >= 75
    assert {picture.session for picture in ran.played} == {1}


def test_a_supervisor_that_is_killed_leaves_files_that_play_and_no_process(tmp_path: Path) -> None:
    with ExitStack() as stack:
        relay = stack.enter_context(Relay())
        camera = stack.enter_context(Camera(relay.url("camera"), audio=True))
        camera.wait_for_session()
        names = ("out.mp4", "out.mov", "out.mkv", "out.ts", "hls/")
        to = [relay.url("restored"), *(f"{tmp_path}/{name}" for name in names)]
        run = stack.enter_context(Restored({"source": relay.url("camera"), "to": to}, seconds=FAST))
        run.wait_for(lambda stream: all(output["counts"]["published"] >= 40 for output in stream["outputs"]))
        # Not just after a key frame, with which pieces of files begin.
        run.wait_for(lambda stream: 17 <= stream["outputs"][3]["counts"]["published"] % 25 <= 23)
        processes, before = run.processes, run.stream()
        assert len(processes) >= 7, "a reader and six publishers"
        os.kill(run.pid, signal.SIGKILL)
        assert run.wait() == -signal.SIGKILL
        deadline = time.monotonic() + SOON_SECONDS
        while left := [line for pid, line in processes.items() if is_alive(pid)]:
            assert time.monotonic() < deadline, left
            time.sleep(0.02)
        for output, name in zip(before["outputs"][1:5], names, strict=False):
            check_pictures(tape(tmp_path / name), output["counts"]["published"] - 10)
        with Viewer(tmp_path / "hls" / "index.m3u8") as viewer:
            viewer.wait_for_pictures(25, SOON_SECONDS)  # a segment, of the two that there was time for


def test_files_that_find_no_room_are_tried_again_under_the_same_name(tmp_path: Path) -> None:
    """Their publishers may write no file longer than a header, for a while; what was written before stays."""
    names = ("out.mp4", "out.mkv", "out.ts")
    with ExitStack() as stack:
        relay = stack.enter_context(Relay())
        stack.enter_context(Camera(relay.url("camera"))).wait_for_session()
        to = [f"{tmp_path}/{name}" for name in names]
        run = stack.enter_context(Restored({"source": relay.url("camera"), "to": to}, seconds=FAST))
        before = run.wait_for(lambda stream: all(output["counts"]["published"] >= 40 for output in stream["outputs"]))
        publishers = [output["pid"] for output in before["outputs"]]
        for pid in publishers:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (800, resource.RLIM_INFINITY))
        stream = run.wait_for(
            lambda stream: all(sum(output["reconnects"].values()) >= 4 for output in stream["outputs"])
        )
        assert [output["pid"] for output in stream["outputs"]] == publishers
        assert {path.name for path in tmp_path.iterdir()} <= {*names, "out.1.mp4", "out.1.mkv", "out.1.ts"}
        for pid in publishers:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        counts = [output["counts"]["published"] for output in run.stream()["outputs"]]
        run.wait_for(
            lambda stream: all(
                output["counts"]["published"] >= count + 25
                for output, count in zip(stream["outputs"], counts, strict=True)
            )
        )
        assert "File too large" in run.log
        run.terminate()
        assert run.wait() == 0, run.log
    assert {path.name for path in tmp_path.iterdir()} == {*names, "out.1.mp4", "out.1.mkv", "out.1.ts"}
    for name, output in zip(names, before["outputs"], strict=True):
        check_pictures(tape(tmp_path / name), output["counts"]["published"] - 10)
        check_pictures(tape(tmp_path / name.replace(".", ".1.")), 25)


def test_hevc_in_and_out(tmp_path: Path) -> None:
    with ExitStack() as stack:
        relay = stack.enter_context(Relay())
        camera = stack.enter_context(Camera(relay.url("camera"), codec="hevc"))
        camera.wait_for_session()
        source = relay.url("camera")
        run = stack.enter_context(
            Restored(
                {"name": "to-h264", "source": source, "to": [relay.url("h264")]},
                {
                    "name": "to-hevc",
                    "source": source,
                    "to": [relay.url("hevc"), f"{tmp_path}/hevc.mp4"],
                    "codec": "hevc",
                    "preset": "ultrafast",
                },
                seconds=FAST,
            )
        )
        for number in (0, 1):
            run.wait_for(lambda stream: stream["outputs"][0]["counts"]["published"] >= 25, number=number)
        assert tape(relay.url("h264"), 0.1).codecs == ["h264"]
        assert tape(relay.url("hevc"), 0.1).codecs == ["hevc"]
        for name in ("h264", "hevc"):
            with Viewer(relay.url(name)) as viewer:
                pictures = viewer.wait_for_pictures(25, SOON_SECONDS)
                assert reordered(indices(pictures)) == []
        run.terminate()
        assert run.wait() == 0, run.log
    written = tape(tmp_path / "hevc.mp4")
    assert written.codecs == ["hevc"]
    check_pictures(written, 50)
    assert b"hvc1" in (tmp_path / "hevc.mp4").read_bytes(), "players of Apple's need that tag"


def make_recording(path: Path) -> None:
    """Two seconds of pictures, with a sound that MP4 cannot hold."""
    with av.open(str(path), "w", format="mov") as output:
        video = output.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = 320, 180, "yuv420p"
        sound = output.add_stream("pcm_mulaw", rate=8000, layout="mono")
        for index in range(50):
            frame = av.VideoFrame.from_ndarray(np.full((270, 320), 128, np.uint8), format="yuv420p")
            paint(plane_of(frame), TimeCode.now(index))
            frame.pts, frame.time_base = index, Fraction(1, 25)
            output.mux(video.encode(frame))
            samples = av.AudioFrame.from_ndarray(np.zeros((1, 320), np.int16), format="s16", layout="mono")
            samples.sample_rate, samples.pts, samples.time_base = 8000, 320 * index, Fraction(1, 8000)
            output.mux(sound.encode(samples))
        output.mux(video.encode(None))
        output.mux(sound.encode(None))


def test_an_output_that_cannot_hold_the_sound_says_so_and_goes_without(tmp_path: Path) -> None:
    source = tmp_path / "source.mov"
    make_recording(source)
    names = ("out.mov", "out.mp4", "out.ts", "hls/")
    asked = {"source": str(source), "to": [f"{tmp_path}/{name}" for name in names], "drop_policy": "wait"}
    with Restored(asked, seconds=FAST) as run:
        run.wait_for(lambda stream: all(output["counts"]["published"] >= 100 for output in stream["outputs"]))
        stream = run.stream()
        assert [output["reconnects"] for output in stream["outputs"]] == [{}] * 4
        assert not [fate for fate in stream["counts"] if fate.startswith("dropped_")], "all of a recording is wanted"
        assert stream["counts"]["opening"] == 0
        run.terminate()
        assert run.wait() == 0, run.log
        for muxer in ("mp4", "mpegts", "hls"):
            assert f"{muxer} holds no pcm_mulaw: it goes without sound" in run.log
        assert "mov holds" not in run.log
    for name, codecs in (("out.mov", ["h264", "pcm_mulaw"]), ("out.mp4", ["h264"]), ("out.ts", ["h264"])):
        written = tape(tmp_path / name)
        assert written.codecs == codecs
        assert len(written.times) >= 100
    assert tape(tmp_path / "out.mov").sounds


def make_transport_stream(path: Path) -> Tape:
    """Three seconds of pictures and AAC, each packet of which has a header (ADTS) and nothing else says what it is.

    Returns:
        Its sound, without those.
    """
    with av.open(str(path), "w") as output:
        video = output.add_stream("libx264", rate=25, options={"preset": "ultrafast", "tune": "zerolatency"})
        video.width, video.height, video.pix_fmt = 320, 180, "yuv420p"
        sound = output.add_stream("aac", rate=48_000, layout="stereo")
        noise = np.random.default_rng(0).uniform(-0.5, 0.5, (75, 2, 1_920)).astype(np.float32)
        for index in range(75):
            frame = av.VideoFrame.from_ndarray(np.full((270, 320), 128, np.uint8), format="yuv420p")
            paint(plane_of(frame), TimeCode.now(index))
            frame.pts, frame.time_base = index, Fraction(1, 25)
            output.mux(video.encode(frame))
            samples = av.AudioFrame.from_ndarray(noise[index], format="fltp", layout="stereo")
            samples.sample_rate, samples.pts, samples.time_base = 48_000, 1_920 * index, Fraction(1, 48_000)
            output.mux(sound.encode(samples))
        output.mux(video.encode(None))
        output.mux(sound.encode(None))
    with av.open(str(path)) as container:
        assert container.streams.audio[0].codec_context.extradata is None
    made = tape(path)
    made.sounds = [(seconds, data[7:]) for seconds, data in made.sounds]
    return made


def test_aac_of_a_transport_stream_goes_into_all_outputs(tmp_path: Path) -> None:
    made = make_transport_stream(tmp_path / "source.ts")
    names = ("out.mp4", "out.mkv", "out.ts")
    with ExitStack() as stack:
        relay = stack.enter_context(Relay())
        to = [relay.url("restored"), *(f"{tmp_path}/{name}" for name in names)]
        asked = {"source": f"{tmp_path}/source.ts", "to": to, "drop_policy": "wait"}
        run = stack.enter_context(Restored(asked, seconds=FAST))
        run.wait_for(lambda stream: all(output["counts"]["published"] >= 50 for output in stream["outputs"]))
        published = tape(relay.url("restored"), 3.0)
        run.wait_for(lambda stream: all(output["counts"]["published"] >= 150 for output in stream["outputs"]))
        assert [output["reconnects"] for output in run.stream()["outputs"]] == [{}] * 4
        assert "goes without sound" not in run.log
        assert "tried without the sound" not in run.log
        run.terminate()
        assert run.wait() == 0, run.log
    known = {data for _, data in made.sounds}
    copies = {"rtsp": published, **{name: tape(tmp_path / name) for name in names}}
    for name, copy in copies.items():
        assert copy.codecs == ["h264", "aac"], name
        payloads = [data[7:] if name == "out.ts" else data for _, data in copy.sounds]
        assert len(payloads) >= 25, name
        assert set(payloads) <= known, name
    with av.open(str(tmp_path / "out.mp4")) as container:
        heard = next(container.decode(audio=0))
        assert (heard.sample_rate, heard.layout.name) == (48_000, "stereo")


class Script:
    """A publisher's line to a supervisor that says what a test says."""

    def __init__(self, *messages: object) -> None:
        self._messages = [*messages]
        self.said = list[object]()

    def receive(self) -> object:
        return self._messages.pop(0)

    def send(self, message: object) -> None:
        self.said.append(message)


@pytest.mark.parametrize("muxer", ["mp4", "mov"])
def test_sound_from_before_the_first_picture_does_not_move_that_one(tmp_path: Path, muxer: str) -> None:
    """It is on its way while an output opens, and a file of fragments cannot say that it begins before it begins."""
    source = tmp_path / "source.mp4"
    with av.open(str(source), "w") as output:
        aac = output.add_stream("aac", rate=48_000, layout="mono")
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        silence.sample_rate, silence.pts = 48_000, 0
        output.mux(aac.encode(silence))
        output.mux(aac.encode(None))
    with av.open(str(source)) as container:
        template = sound_template(container.streams.audio[0])
        [payload, *_] = [bytes(packet) for packet in container.demux() if packet.size]
    path, info = tmp_path / f"out.{muxer}", live_info(INFO)
    target = plan_target(parse_address(str(path)))
    ring = FrameRing.create(1, INFO.video.frame_bytes())
    planes = tuple(np.full(shape, 128, np.uint8) for shape in INFO.video.plane_shapes())
    ring.fill(0, (planes[0], *planes[1:]))
    line = Script(
        ring,
        Play(payload, 9_000, 1_920),
        Show(0, 7_200, None),
        Play(payload, 5_280, 1_920),
        Repeat(10_800, card=False),
        Play(payload, 10_920, 1_920),
        Play(payload, 12_840, 1_920),
        Repeat(14_400, card=False),
        Finish(),
    )
    publish(
        Publish(
            target.url, str(path), target.options, info, plan_live_encoding(info, EncodingRequest(), muxer), template
        ),
        cast(Line, line),
    )
    assert isinstance(line.said[-1], Closed), line.said
    written = tape(path)
    assert written.times == pytest.approx([0.0, 0.04, 0.08])
    # FFmpeg begins each track at 0 and makes up for it with the second packet.
    assert [seconds for seconds, _ in written.sounds] == pytest.approx([0.0, (12_840 - 7_200) / 90_000], abs=0.001)
