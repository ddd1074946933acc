"""Streams of a TOML file and of a command: what is taken, and that every mistake is named without a secret."""

import re
import traceback
from pathlib import Path

import pytest
from pydantic import ValidationError

from pipelines.live.config import StreamConfig, load_streams, stream_of
from streamrestore.errors import ConfigError
from streamrestore.live.addresses import parse_address

FULL = """
[defaults]
task = "derain"
crf = 20

[[stream]]
name = "front-door"
source = "rtsp://${CAM_USER}:${CAM_PASSWORD}@10.0.0.5/stream1"
to = ["rtsp://server/front", "hls/front/", "rec/front.mp4"]
task = "Derain, deblur"
max_latency = 2
drop_policy = "drop-oldest"
rtsp_transport = "udp"
codec = "h264"
crf = 23
preset = "veryfast"
encoder_options = { tune = "film", bf = 0 }
audio = false
"""

SECRET = "top-secret"


def stream(name: str, extra: str = "", to: str | None = None) -> str:
    output = f"rtsp://server/{name}" if to is None else to
    return f'[[stream]]\nname = "{name}"\nsource = "rtsp://u:{SECRET}@{name}/x"\nto = ["{output}"]\n{extra}\n'


def write(folder: Path, text: str) -> Path:
    path = folder / "streams.toml"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(path: Path) -> str:
    """What is said of a file; neither it nor what Python shows around it holds a secret."""
    with pytest.raises(ConfigError) as refused:
        load_streams(path)
    everything = "".join(traceback.format_exception(refused.value)) + repr(refused.value)
    assert SECRET not in everything
    assert "secret" not in everything
    return str(refused.value)


def test_a_full_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAM_USER", "admin")
    monkeypatch.setenv("CAM_PASSWORD", SECRET)
    (front,) = load_streams(write(tmp_path, FULL))
    assert front == StreamConfig(
        name="front-door",
        source=parse_address(f"rtsp://admin:{SECRET}@10.0.0.5/stream1"),
        to=(
            parse_address("rtsp://server/front"),
            parse_address(f"{tmp_path}/hls/front/"),
            parse_address(f"{tmp_path}/rec/front.mp4"),
        ),
        task="derain,deblur",
        max_latency=2.0,
        drop_policy="drop-oldest",
        rtsp_transport="udp",
        codec="h264",
        crf=23,
        preset="veryfast",
        encoder_options=(("tune", "film"), ("bf", "0")),
        audio=False,
    )
    assert SECRET not in repr(front)
    assert SECRET not in str(front)


def test_defaults_are_for_all_and_the_rest_is_left_out(tmp_path: Path) -> None:
    text = '[defaults]\ntask = "derain"\ncrf = 20\n' + stream("a") + stream("b", "crf = 30")
    a, b = load_streams(write(tmp_path, text))
    assert (a.task, a.crf, b.task, b.crf) == ("derain", 20, "derain", 30)
    assert (a.max_latency, a.drop_policy, a.rtsp_transport, a.audio) == (1.0, "degrade", "tcp", True)
    assert (a.codec, a.preset, a.encoder_options) == (None, None, ())
    with pytest.raises(ValidationError):
        a.crf = 1  # it is frozen


def test_every_mistake_is_named_with_its_place(tmp_path: Path) -> None:
    text = (
        '[defaults]\npreset = 5\ndrop_policy = "wait"\n'
        + stream("front-door", 'max_latency = 0\ncrf = "23"\naudio = "yes"\nmax_latencyy = 1\ndrop_policy = "panic"')
        + stream("yard", 'rtsp_transport = "sctp"\ntask = "dehaze"\nencoder_options = ["tune=film"]\ncrf = 64')
        + '[[stream]]\nname = "x y"\nto = []\nmax_latency = inf\n'
        + '[[stream]]\nsource = "rtsp://u:top-/secret@x/y"\nto = ["hls/", 5, "rtsp://u:top-secret@h:secret/"]\n'
    )
    said = refusal(write(tmp_path, text))
    lines = [line.strip() for line in said.splitlines()]
    assert re.search(r"streams\.toml has \d+ mistakes:$", lines[0])
    for place, words in [
        ("defaults: preset", "valid string"),
        ('stream "front-door": max_latency', "greater than 0"),
        ('stream "front-door": crf', "valid integer"),
        ('stream "front-door": audio', "valid boolean"),
        ('stream "front-door": max_latencyy', "is unknown: there are name, source, to, task, max_latency"),
        ('stream "front-door": drop_policy', "'degrade', 'drop-oldest' or 'wait'"),
        ('stream "yard": rtsp_transport', "'tcp' or 'udp'"),
        ('stream "yard": task', "should be derain, deblur, denoise, or a chain"),
        ('stream "yard": encoder_options', "should be a table"),
        ('stream "yard": crf', "less than or equal to 63"),
        ("stream 3: name", "letters, digits"),
        ("stream 3: source", "is missing"),
        ("stream 3: to", "give at least one"),
        ("stream 3: max_latency", "finite"),
        ("stream 4: name", "is missing"),
        ("stream 4: source", "percent-encode"),
        ("stream 4: to[2]", "should be an address or a path"),
        ("stream 4: to[3]", "port"),
    ]:
        assert [line for line in lines if line.startswith(f"{place}: ") and words in line], (place, said)
    # The one in the defaults is said once.
    assert len(lines) == 19


@pytest.mark.parametrize(
    "line",
    [
        'name = "rtsp://u:top-secret@h/x"',
        'task = "rtsp://u:top-secret@h/x"',
        'max_latency = "top-secret"',
        'drop_policy = "top-secret"',
        'rtsp_transport = "top-secret"',
        'codec = ["top-secret"]',
        'crf = "top-secret"',
        'audio = "top-secret"',
        'to = "rtmp:host/app/top-secret"',
        'to = { a = "top-secret" }',
        'encoder_options = "top-secret"',
        'encoder_options = { a = ["top-secret"] }',
        '"rtsp://u:top-secret@h/x" = 1',
        '"to" = [["top-secret"]]',
        "source = rtsp://u:top-secret@h/x",
        'source = "rtsp://u:top-secret',
    ],
)
def test_a_password_in_the_wrong_place_is_not_shown(tmp_path: Path, line: str) -> None:
    key = line.partition(" ")[0].strip('"')
    kept = [row for row in stream("a").splitlines() if not row.startswith(f"{key} ")]
    refusal(write(tmp_path, "\n".join([*kept, line])))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "stream: is missing; a stream begins with [[stream]]"),
        ("stream = []", "stream: is empty"),
        ('[stream]\nname = "secret"', "stream: Input should be a valid list"),
        ("defaults = 5\n" + stream("a"), "defaults: Input should be a valid dictionary"),
        ("streams = 5\n" + stream("a"), "streams: is unknown: there are defaults, stream"),
        ("= secret", "is no TOML"),
        ('a = "secret', "is no TOML"),
    ],
)
def test_a_file_of_another_shape(tmp_path: Path, text: str, words: str) -> None:
    assert words.replace("Input should", "should") in refusal(write(tmp_path, text))


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    assert "cannot be read: No such file" in refusal(tmp_path / "streams.toml")
    (tmp_path / "latin.toml").write_bytes(b'a = "\xfcsecret"')
    assert "is no TOML: invalid start byte" in refusal(tmp_path / "latin.toml")


def test_a_variable_that_is_not_set_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CAM_USER", raising=False)
    assert 'stream "front-door": source: an address names ${CAM_USER}' in refusal(write(tmp_path, FULL))


def test_all_streams_have_the_same_task(tmp_path: Path) -> None:
    text = stream("a", 'task = "derain"') + stream("b", 'task = "deblur"') + stream("c")
    said = refusal(write(tmp_path, text))
    assert "all streams of a run share its workers" in said
    assert '"a" derain, "b" deblur, "c" none' in said


def test_names_are_unique(tmp_path: Path) -> None:
    said = refusal(write(tmp_path, stream("a") + stream("a", to="hls/")))
    assert 'stream "a": 2 streams have this name' in said


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("rtsp://server/a", "rtsp://server/a"),
        ("rtsp://u:secret@server/a", "rtsp://v:secrets@server/a"),
        ("rtmp://server/app/secret", "rtmp://server/app/secret"),
        ("rec/a.mp4", "./rec/../rec/a.mp4"),
        ("hls/", "hls/index.m3u8"),
    ],
)
def test_two_streams_do_not_write_to_the_same_output(tmp_path: Path, one: str, other: str) -> None:
    said = refusal(write(tmp_path, stream("a", to=one) + stream("b", to=other)))
    assert 'stream "b": to: ' in said
    assert 'is written by "a" already' in said


def test_outputs_that_differ_are_taken(tmp_path: Path) -> None:
    load_streams(write(tmp_path, stream("a", to="rtmp://server/app/one") + stream("b", to="rtmp://server/app/two")))
    load_streams(write(tmp_path, stream("a", to="hls/a.m3u8") + stream("b", to="hls/b.m3u8")))


def test_a_stream_is_not_written_to_its_own_source(tmp_path: Path) -> None:
    assert 'stream "a": to: rtsp://a/x is its own source' in refusal(write(tmp_path, stream("a", to="rtsp://a/x")))


def test_the_stream_of_a_command() -> None:
    one = stream_of(f"rtsp://u:{SECRET}@cam/x", ["hls/", "rtsp://h/x"], task="derain", crf=None, drop_policy="wait")
    assert (one.name, str(one.source), one.drop_policy) == ("live", "rtsp://***@cam/x", "wait")
    assert [output.url for output in one.to] == ["hls/", "rtsp://h/x"]
    assert stream_of("cam.mp4", ["x.mkv"], encoder_options=(("tune", "film"),)).encoder_options == (("tune", "film"),)
    # Of these the command says more.
    assert stream_of("cam.mp4", ["x.mkv"]).task == ""
    assert stream_of("cam.mp4", ["x.mkv"], task="auto").task == "auto"


def test_mistakes_in_a_command() -> None:
    with pytest.raises(ConfigError) as refused:
        stream_of(f"rtsp://u:/{SECRET}@cam/x", ["a.mp4"], max_latency=0.0, drop_policy=SECRET)
    assert re.match(r"source: rtsp://\*\*\*: .*; max_latency: .*; drop_policy: should be 'degrade'", str(refused.value))
    assert SECRET not in "".join(traceback.format_exception(refused.value))
    with pytest.raises(ConfigError, match=r"to: \./a\.mp4 is its own source"):
        stream_of("a.mp4", ["./a.mp4"])
