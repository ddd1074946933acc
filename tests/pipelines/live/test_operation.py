"""A live run as its operator meets it: several cameras, the command, its end, what it refuses, and its secrets."""

import json
import os
import re
import subprocess
import sys
import sysconfig
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

import av
import numpy as np
import pytest

from pipelines.exit_codes import ExitCode
from streamrestore.frame import FieldOrder
from tests.live.camera import Camera
from tests.live.camera_session import Painter
from tests.live.ports import free_port
from tests.live.relay import Relay
from tests.live.restored import Restored, is_alive, processes_below
from tests.live.through import MOST_GAP_SECONDS, check_accounts, open_through, rate
from tests.live.timecode import plane_of, read
from tests.live.viewer import Viewer, fresh, indices, largest_gap, reordered
from tests.streamrestore.test_interlacing import interlaced, progressive, write

COMMAND = Path(sysconfig.get_path("scripts")) / "streamrestore"

SOON_SECONDS = 20.0
"""For what takes one or two where nobody else works."""

FAST = (0.002, 0.004, 0.008)

PASSWORD = "Tr0ub4dor@&3"
WRONG = "c0rrect#horse?"

ORPHAN_SECONDS = 60.0
"""What Ray's processes may take to see that the run is over."""


def watch(viewers: Sequence[Viewer], seconds: float) -> list[float]:
    """Fresh pictures a second that each of them sees."""
    begin = [len(viewer.pictures) for viewer in viewers]
    end = time.monotonic() + seconds
    for viewer in viewers:
        viewer.wait_for(lambda: time.monotonic() >= end, seconds + SOON_SECONDS)
    return [rate(viewer.pictures[first:]) for viewer, first in zip(viewers, begin, strict=True)]


def test_cameras_that_are_dead_or_die_cost_the_others_nothing_and_sigterm_ends_all(tmp_path: Path) -> None:
    with ExitStack() as stack:
        source, doomed, target = (stack.enter_context(Relay()) for _ in range(3))
        names = ("one", "two")
        for name in names:
            stack.enter_context(Camera(source.url(name))).wait_for_session()
        stack.enter_context(Camera(doomed.url("third"))).wait_for_session()
        streams: list[dict[str, object]] = [
            {"name": name, "source": source.url(name), "to": [target.url(name), f"{tmp_path}/{name}.mp4"]}
            for name in names
        ]
        streams.append({"name": "third", "source": doomed.url("third"), "to": [target.url("third")]})
        nobody = f"rtsp://127.0.0.1:{free_port()}/nobody"
        streams.append({"name": "nobody", "source": nobody, "to": [target.url("nobody")]})
        run = stack.enter_context(Restored(*streams, seconds=FAST))
        for number in range(3):
            run.wait_for(lambda stream: stream["outputs"][0]["counts"]["published"] >= 25, number=number)
        viewers = [stack.enter_context(Viewer(target.url(name))) for name in names]
        for viewer in viewers:
            viewer.wait_for_pictures(25)
        before = watch(viewers, 2.5)
        doomed.crash()
        after = watch(viewers, 3.0)
        for rate_before, rate_after in zip(before, after, strict=True):
            assert rate_after >= 0.9 * rate_before
        assert run.stream(2)["state"] in ("backoff", "connecting", "stalled")
        assert run.stream(3)["reconnects"]["refused"] >= 5
        assert run.page("/healthz")[0] == 503, "two of four are ill"
        for number in range(2):
            stream = run.stream(number)
            assert stream["healthy"]
            assert stream["reconnects"] == {}
            check_accounts(stream)
        for viewer in viewers:
            assert viewer.sessions == 1
            assert largest_gap(viewer.pictures) <= MOST_GAP_SECONDS
            assert reordered(indices(viewer.pictures)) == []

        processes, published = run.processes, run.stream()["outputs"][1]["counts"]["published"]
        began = time.monotonic()
        run.terminate()
        assert run.wait() == 0, run.log
        assert time.monotonic() - began <= 8, "frames on their way, and the ends of outputs, have two seconds"
        assert not [line for pid, line in processes.items() if is_alive(pid)]
        ended = {request.path for request in target.stats().requests if request.method == "TEARDOWN"}
        assert ended == {"one", "two", "third"}
        with av.open(str(tmp_path / "one.mp4")) as written:
            assert sum(1 for _ in written.decode(video=0)) >= published
        assert b"moof" not in outside(tmp_path / "one.mp4")


def outside(path: Path) -> bytes:
    """The names of an MP4's boxes."""
    data, place, names = path.read_bytes(), 0, b""
    while place + 8 <= len(data):
        size = int.from_bytes(data[place : place + 4])
        names += data[place + 4 : place + 8]
        place += int.from_bytes(data[place + 8 : place + 16]) if size == 1 else size or len(data)
    return names


def test_runs_end_by_themselves_and_say_how_it_went() -> None:
    with ExitStack() as stack:
        relay = stack.enter_context(Relay())
        stack.enter_context(Camera(relay.url("camera"))).wait_for_session()
        nobody = f"rtsp://127.0.0.1:{free_port()}/nobody"
        asked: dict[ExitCode, dict[str, object]] = {
            ExitCode.DONE: {"source": relay.url("camera"), "to": [relay.url("restored"), nobody]},
            ExitCode.FAILED: {"source": relay.url("camera"), "to": [nobody]},
            ExitCode.INPUT: {"source": relay.url("nothing"), "to": [relay.url("other")]},
        }
        runs = {code: stack.enter_context(Restored(stream, duration=3.0)) for code, stream in asked.items()}
        began = time.monotonic()
        for code, run in runs.items():
            assert run.wait(SOON_SECONDS) == code, run.log
        assert time.monotonic() - began <= 12


def test_what_a_connection_begins_with_of_the_past_is_left_out() -> None:
    """Some cameras, and most servers, begin with what they kept, all at once."""
    with open_through(seconds=FAST) as through:
        through.source.burst(2.0)
        before, begin = through.run.stream(), len(through.viewer.pictures)
        through.source.kick("play")
        through.run.wait_for(lambda stream: stream["reconnects"].get("ended", 0) > 0)
        through.await_fresh(SOON_SECONDS)
        seen = through.viewer.pictures[begin:]
        assert through.run.stream()["counts"]["opening"] >= before["counts"]["opening"] + 20, "there was no burst"
        ages = [picture.arrival - picture.time for picture in fresh(seen) if picture.time is not None]
        assert max(ages) <= 1.0
        assert reordered(indices(seen)) == []
        through.check_viewer()
        through.check_accounts()


# The command itself.


@contextmanager
def running(*arguments: str, folder: Path) -> Iterator["subprocess.Popen[str]"]:
    """The command; killed, if it did not end."""
    with (folder / "stderr").open("w") as errors:
        process = subprocess.Popen(
            [COMMAND, "live", *arguments], stdout=subprocess.DEVNULL, stderr=errors, cwd=folder, text=True
        )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        process.wait()


def exposed(pid: int) -> bytes:
    """What others may read of a process and of those below it: arguments, environment, names of open files."""
    found = b""
    for number in (pid, *processes_below(pid)):
        folder = Path(f"/proc/{number}")
        with suppress(OSError):
            found += (folder / "cmdline").read_bytes() + (folder / "environ").read_bytes()
            for descriptor in (folder / "fd").iterdir():
                with suppress(OSError):
                    found += os.fsencode(os.readlink(descriptor))
    return found


def forms(password: str) -> list[bytes]:
    """As it may be met."""
    return [form.encode() for form in (password, quote(password, safe=""))]


@pytest.mark.ray
def test_the_command_restores_a_camera_with_a_password(tmp_path: Path) -> None:
    secret = quote(PASSWORD, safe="")
    with ExitStack() as stack:
        source = stack.enter_context(Relay(user="admin", password=PASSWORD))
        target = stack.enter_context(Relay())
        address = f"rtsp://admin:{secret}@127.0.0.1:{source.port}/camera"
        camera = stack.enter_context(Camera(address, size=(96, 160), fps=12.5, noise=True))
        camera.wait_for_session()
        status = f"127.0.0.1:{free_port()}"
        to = ["--to", target.url("restored"), "--to", "out.mkv"]
        (tmp_path / "out.mkv").write_text("nothing that anybody needs")
        arguments = [address, *to, "-y", "-t", "derain", "--for", "15s", "--status", status, "--crf", "10"]
        process = stack.enter_context(running(*arguments, folder=tmp_path))
        viewer = stack.enter_context(Viewer(target.url("restored")))
        viewer.wait_for_pictures(1, 60)
        stream = health(status)["streams"][0]
        while sum(stream["counts"][f"restored_{stages}"] for stages in (1, 2, 3)) < 10:
            time.sleep(0.1)
            assert process.poll() is None, (tmp_path / "stderr").read_text()
            stream = health(status)["streams"][0]
        check_accounts(stream)
        seen, processes = exposed(process.pid), processes_below(process.pid)
        with urllib.request.urlopen(f"http://{status}/metrics", timeout=10) as answer:
            seen += answer.read() + json.dumps(health(status)).encode()
        assert process.wait(90) == 0, (tmp_path / "stderr").read_text()
        log = (tmp_path / "stderr").read_text()
        pictures = viewer.pictures
        deadline = time.monotonic() + ORPHAN_SECONDS
        while left := [line for pid, line in processes.items() if is_alive(pid)]:
            assert time.monotonic() < deadline, left
            time.sleep(0.1)
    assert re.search(r"workers? (is|are) ready", log)
    assert "Traceback" not in log
    assert b"admin" not in seen
    assert not [form for form in forms(PASSWORD) if form in seen + log.encode()]
    assert b"streamrestore" in seen
    assert b"derain" in seen, "that is not what others see of the command"
    assert reordered(indices(pictures)) == []
    assert len(fresh(pictures)) >= 50
    assert {(picture.height, picture.width) for picture in pictures} == {(96, 160)}
    changes = changed(tmp_path / "out.mkv")
    assert len(changes) >= 50
    assert sum(change > 3.5 for change in changes) >= 10, "cameras and encoders alone change 2.4 codes"


def changed(path: Path) -> list[float]:
    """By how much the noise in each picture is another one than the camera's, in codes."""
    painter, found = Painter((96, 160), "yuv420p", True), list[float]()
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            seen = plane_of(frame)
            if (code := read(seen)) is not None:
                painted = plane_of(painter.picture(code))
                found.append(float(np.abs(painted[50:].astype(int) - seen[50:]).mean()))
    return found


def health(status: str) -> dict[str, list[dict[str, dict[str, int]]]]:
    """Whatever it is."""
    request = f"http://{status}/healthz"
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return dict(json.loads(answer.read()))
    except urllib.error.HTTPError as error:
        with error:
            return dict(json.loads(error.read()))


REFUSING = """
import json, sys
from pipelines import cli
for arguments in json.loads(sys.stdin.readline()):
    sys.argv = ["streamrestore", "live", *arguments]
    print("at", json.dumps(arguments), file=sys.stderr, flush=True)
    print(cli.run_command(), flush=True)
"""


def test_what_cannot_be_done_is_refused_in_one_line(tmp_path: Path) -> None:
    """Before anything is begun; all of it in one process, for each one takes seconds to begin."""
    (tmp_path / "there.mp4").write_text("precious")
    (tmp_path / "bad.toml").write_text("[[stream]\nname = ")
    (tmp_path / "empty.toml").write_text("")
    (tmp_path / "file").write_text("no folder")
    (tmp_path / "two.toml").write_text(
        '[defaults]\nsource = "rtsp://127.0.0.1/camera"\n'
        '[[stream]]\nname = "good"\nto = "good.mkv"\n'
        '[[stream]]\nname = "yard"\nto = "yard.mkv"\nencoder_options = {nal-hrd = "nonsense"}\n'
    )
    camera, out = f"rtsp://who:{quote(WRONG, safe='')}@127.0.0.1:{free_port()}/camera", "rtsp://127.0.0.1/out"
    of_one_stream = ["--max-latency", "1", "--drop-policy", "degrade", "--rtsp-transport", "tcp", "--no-audio"]
    of_one_stream += ["-c:v", "h264", "-crf", "23", "-preset", "fast", "-e", "tune=film"]
    refused: dict[str, tuple[Sequence[str], int]] = {
        "give a source and at least one --to": ([], 2),
        "at least one --to": ([camera, "-t", "derain"], 2),
        "no output for a live stream": ([camera, "--to", "out.avi", "-t", "derain"], 2),
        "srt://": ([camera, "--to", "srt://127.0.0.1:9", "-t", "derain"], 2),
        "begins with no scheme": ([f"who:{WRONG}@camera/stream", "--to", out, "-t", "derain"], 2),
        "names no host": (["rtsp:///stream", "--to", out, "-t", "derain"], 2),
        "-t auto": ([camera, "--to", out, "-t", "auto"], 2),
        "no codec nonsense": ([camera, "--to", out, "-t", "derain", "-c:v", "nonsense"], 2),
        "h264_nvenc cannot be opened": ([camera, "--to", "hls/", "-t", "derain", "-c:v", "h264_nvenc"], 2),
        "nal-hrd=nonsense": ([camera, "--to", out, "-t", "derain", "-e", "nal-hrd=nonsense"], 2),
        "forced-idr=x came with -e": (
            [camera, "--to", "a.ts", "-t", "derain", "-c:v", "x265", "-e", "forced-idr=x"],
            2,
        ),
        "take h264, hevc, h264_nvenc": ([camera, "--to", "out.mkv", "-t", "derain", "-c:v", "ffv1"], 2),
        'stream "yard": libx264 cannot be opened': (["--config", "two.toml", "-t", "derain"], 2),
        "ask for at least": ([camera, "--to", out, "-t", "derain", "--patch", "8"], 2),
        "no preset nonsense": ([camera, "--to", out, "-t", "derain", "--preset", "nonsense"], 2),
        "there.mp4 exists": ([camera, "--to", out, "--to", "there.mp4", "-t", "derain"], 4),
        "file/hls/ cannot be written": ([camera, "--to", "file/hls/", "-t", "derain"], 4),
        "leave the source out, and write source into bad.toml": (["--config", "bad.toml", camera, "-t", "derain"], 2),
        "leave --to, --max-latency, --drop-policy, --rtsp-transport, --no-audio, --codec, --crf, --preset and "
        "--encoder-option out, and write to, max_latency, drop_policy, rtsp_transport, audio, codec, crf, preset and "
        "encoder_options into two.toml": (
            ["--config", "two.toml", "-t", "derain", "--to", out, *of_one_stream],
            2,
        ),
        "bad.toml is no TOML": (["--config", "bad.toml", "-t", "derain"], 2),
        "empty.toml has a mistake": (["--config", "empty.toml", "-t", "derain"], 2),
        "missing.toml cannot be read": (["--config", "missing.toml", "-t", "derain"], 2),
        "--for": ([camera, "--to", out, "-t", "derain", "--for", "ever"], 2),
        "no address to serve": ([camera, "--to", out, "-t", "derain", "--status", "nowhere", "--workers", "0"], 2),
    }
    done = subprocess.run(
        [sys.executable, "-P", "-c", REFUSING],
        input=json.dumps([arguments for arguments, _ in refused.values()]),
        capture_output=True,
        cwd=tmp_path,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        text=True,
        timeout=120,
        check=True,
    )
    said = [part.partition("\n")[2] for part in done.stderr.split("at [")[1:]]
    codes = [int(line) for line in done.stdout.split()]
    for (words, (_, code)), found, lines in zip(refused.items(), codes, said, strict=True):
        assert found == code, (words, lines)
        assert lines.startswith("error: "), lines
        assert words in lines
        assert len(lines.splitlines()) <= 2, "one, and one for each mistake in a file"
    assert WRONG not in done.stderr.replace(json.dumps(f"who:{WRONG}@camera/stream"), "")
    assert (tmp_path / "there.mp4").read_text() == "precious"
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["bad.toml", "empty.toml", "file", "there.mp4", "two.toml"]


def test_a_source_that_cannot_be_encoded_does_not_end_the_others(tmp_path: Path) -> None:
    odd = tmp_path / "odd.mkv"
    with av.open(str(odd), "w") as output:
        video = output.add_stream("mjpeg", rate=25)
        video.width, video.height, video.pix_fmt = 321, 181, "yuvj420p"
        for index in range(25):
            frame = av.VideoFrame(321, 181, "yuvj420p")
            frame.pts = index
            output.mux(video.encode(frame))
    with ExitStack() as stack:
        relay = stack.enter_context(Relay())
        stack.enter_context(Camera(relay.url("camera"))).wait_for_session()
        good = {"name": "good", "source": relay.url("camera"), "to": [relay.url("good")]}
        bad = {"name": "odd", "source": str(odd), "to": [relay.url("odd")], "drop_policy": "wait"}
        run = stack.enter_context(Restored(good, bad, seconds=FAST))
        run.wait_for(lambda stream: stream["outputs"][0]["reconnects"].get("invalid", 0) >= 2, number=1)
        published = run.stream()["outputs"][0]["counts"]["published"]
        run.wait_for(lambda stream: stream["outputs"][0]["counts"]["published"] >= published + 25)
        assert "a source of even size" in run.log


def test_interlaced_cameras_are_told_of(tmp_path: Path) -> None:
    streams = list[dict[str, object]]()
    for name, order in (("woven", FieldOrder.TOP), ("plain", None)):
        frames = progressive(50) if order is None else interlaced(50, order)
        write(tmp_path / f"{name}.mkv", frames, order)
        source, to = str(tmp_path / f"{name}.mkv"), [f"{tmp_path}/{name}-out.mkv"]
        streams.append({"name": name, "source": source, "to": to, "drop_policy": "wait"})
    with Restored(*streams, seconds=FAST, log_format="json") as run:
        for number in (0, 1):
            run.wait_for(lambda stream: stream["outputs"][0]["counts"]["published"] >= 25, number=number)
        lines = [json.loads(line) for line in run.log.splitlines()]
    told = {(line["stream"], line["level"].lower()) for line in lines if "interlaced" in line["event"]}
    assert told == {("woven", "warning")}


def test_secrets_stand_nowhere(tmp_path: Path) -> None:
    """One stream that may, one whose camera refuses its password, and an output that does; in both kinds of logs."""
    right, wrong = (quote(word, safe="") for word in (PASSWORD, WRONG))
    with ExitStack() as stack:
        strict = stack.enter_context(Relay(user="admin", password=PASSWORD))
        place = f"127.0.0.1:{strict.port}"
        stack.enter_context(Camera(f"rtsp://admin:{right}@{place}/camera")).wait_for_session()
        runs = list[Restored]()
        for kind in ("plain", "json"):
            outputs = [f"rtsp://admin:{right}@{place}/{kind}", f"rtsp://admin:{wrong}@{place}/{kind}-refused"]
            good = {"name": "good", "source": f"rtsp://admin:{right}@{place}/camera", "to": outputs}
            source = f"rtsp://admin:{wrong}@{place}/{kind}-bad"
            bad = {"name": "bad", "source": source, "to": [f"{tmp_path}/{kind}-bad.mkv"]}
            runs.append(stack.enter_context(Restored(good, bad, seconds=FAST, log_format=kind)))
        for run in runs:
            run.wait_for(lambda stream: stream["outputs"][0]["counts"]["published"] >= 75)
            run.wait_for(lambda stream: stream["outputs"][1]["reconnects"].get("unauthorized"))
            run.wait_for(lambda stream: stream["state"] == "auth failed", number=1)
        stack.enter_context(Viewer(f"rtsp://admin:{right}@{place}/plain")).wait_for_pictures(25)
        time.sleep(1.0)
        # With a digest, an attempt is two requests: the first one asks what to answer.
        asked = [request.path for request in strict.stats().requests if request.method in ("DESCRIBE", "ANNOUNCE")]
        for kind in ("plain", "json"):
            assert 1 <= asked.count(f"{kind}-bad") <= 4, "more than two attempts"
            assert 1 <= asked.count(f"{kind}-refused") <= 4, "more than two attempts"
        seen = b""
        for run in runs:
            # What the test itself was told lies in the memory of processes, and nowhere that others could read.
            seen += exposed(run.pid) + run.page("/healthz")[1].encode() + run.page("/metrics")[1].encode()
            assert run.stream(1)["reconnects"] == {"unauthorized": 1}
            run.terminate()
            assert run.wait() == 0, run.log
            seen += run.log.encode()
        lines = [json.loads(line) for line in runs[1].log.splitlines()]
        assert {"time", "level", "stream", "part", "event"} <= set(lines[0])
    assert b"auth failed" in seen
    assert f"rtsp://***@{place}/camera".encode() in seen
    assert not [form for form in (*forms(PASSWORD), *forms(WRONG)) if form in seen]
    assert [path.name for path in tmp_path.iterdir()] == []
