"""What a run says over HTTP, asked for over HTTP."""

import json
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from pipelines.live.metrics import LiveMetrics
from pipelines.live.status import StatusServer, describe_health, open_status, parse_status_address
from streamrestore.errors import ConfigError
from streamrestore.live.report import OutputReport, StreamReport
from streamrestore.live.states import PublisherState, ReaderState
from tests.pipelines.live.reports import OUTPUT, STREAM

Reports = Callable[[], Sequence[StreamReport]]


def new_reports(*reports: StreamReport) -> Reports:
    """Made anew whenever they are asked for, as by a supervisor that lives."""
    return lambda: list(reports)


@contextmanager
def serving(reports: Reports, address: str = "127.0.0.1:0") -> Iterator[StatusServer]:
    with open_status(address, LiveMetrics(reports), reports) as server:
        yield server


def ask(url: str) -> tuple[int, str, str]:
    """Status, kind and body."""
    try:
        with urlopen(url, timeout=10) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.headers["Content-Type"], error.read().decode()


def health(server: StatusServer) -> tuple[int, dict[str, Any]]:
    status, kind, body = ask(f"{server.url}/healthz")
    assert kind == "application/json"
    return status, json.loads(body)


def test_all_is_well() -> None:
    with serving(new_reports(STREAM)) as server:
        status, body = health(server)
    assert status == 200
    assert body["healthy"] is True
    (stream,) = body["streams"]
    assert 0.03 <= stream.pop("frame_age_seconds") < 2
    (output,) = stream.pop("outputs")
    assert 0.04 <= output.pop("age_seconds") < 2
    assert stream == {
        "name": "front-door",
        "healthy": True,
        "source": "rtsp://***@cam/stream",
        "state": "streaming",
        "level": 2,
        "fps": 25.0,
        "latency_seconds": {"p50": 0.1, "p95": 0.2, "p99": 0.3, "max": 0.4},
        "counts": {
            "captured": 100,
            "restored_3": 60,
            "restored_2": 20,
            "restored_1": 10,
            "passed": 6,
            "dropped_overload": 2,
            "opening": 7,
        },
        "in_flight": 2,
        "reconnects": {"timeout": 3, "no video": 1},
        "respawns": 4,
        "outage_seconds": 12.5,
        "rebases": 2,
        "pid": 4711,
        "damaged": 9,
    }
    assert output == {
        "name": "rtsp://***@server/front",
        "healthy": True,
        "state": "publishing",
        "counts": {"published": 90, "held": 5, "dropped_full": 2, "dropped_unavailable": 3},
        "in_flight": 1,
        "reconnects": {"ended": 1},
        "respawns": 1,
        "pid": 4712,
    }


@pytest.mark.parametrize(
    "ill",
    [
        replace(STREAM, frame_age_seconds=2.0),
        replace(STREAM, frame_age_seconds=None, state=ReaderState.CONNECTING, latency=None),
        replace(STREAM, outputs=(OUTPUT, replace(OUTPUT, age_seconds=2.0))),
        replace(STREAM, outputs=(OutputReport("hls/", PublisherState.WAITING),)),
    ],
)
def test_one_ill_stream_is_enough(ill: StreamReport) -> None:
    with serving(new_reports(STREAM, ill)) as server:
        status, body = health(server)
    assert status == 503
    assert body["healthy"] is False
    assert [stream["healthy"] for stream in body["streams"]] == [True, False]


def test_without_streams_nothing_is_healthy() -> None:
    with serving(new_reports()) as server:
        assert health(server) == (503, {"healthy": False, "streams": []})


def test_reports_that_nobody_makes_any_more_grow_old() -> None:
    """A supervisor that hangs leaves the last ones behind, in which all is well."""
    reports = [(STREAM,)]
    with serving(lambda: reports[0]) as server:
        assert health(server)[0] == 200
        deadline = time.monotonic() + 30
        while (status := health(server)[0]) == 200 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert status == 503
        reports[0] = (replace(STREAM),)
        assert health(server)[0] == 200


def test_workers_are_told_of_but_make_nothing_ill() -> None:
    reports, workers = new_reports(STREAM), {"ready": 0, "starting": 1, "lost": 1}
    with open_status("127.0.0.1:0", LiveMetrics(reports), reports, lambda: workers) as server:
        status, body = health(server)
    assert status == 200
    assert body["workers"] == workers


def test_ages_are_those_of_now() -> None:
    assert describe_health([STREAM], 1.9)["healthy"]
    assert not describe_health([STREAM], 1.97)["healthy"]


def test_metrics_are_served() -> None:
    with serving(new_reports(STREAM)) as server:
        status, kind, body = ask(f"{server.url}/metrics")
    assert status == 200
    assert kind.startswith("text/plain")
    assert 'streamrestore_frames_total{fate="captured",stream="front-door"} 100.0' in body


@pytest.mark.parametrize("path", ["", "/", "/metrics/x", "/favicon.ico"])
def test_anywhere_else_it_is_said_what_there_is(path: str) -> None:
    with serving(new_reports(STREAM)) as server:
        status, _, body = ask(server.url + path)
    assert status == 404
    assert "/metrics" in body
    assert "/healthz" in body


def test_a_client_that_says_nothing_holds_nobody_up(capsys: pytest.CaptureFixture[str]) -> None:
    with serving(new_reports(STREAM)) as server:
        port = int(server.url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as silent, socket.create_connection(("127.0.0.1", port)):
            silent.sendall(b"GET /hea")
            assert health(server)[0] == 200
    assert capsys.readouterr() == ("", "")


def test_the_port_is_free_again_after_closing() -> None:
    server = open_status("127.0.0.1:0", LiveMetrics(tuple), tuple)
    address = server.url.removeprefix("http://")
    assert health(server)[0] == 503
    server.close()
    server.close()
    with serving(new_reports(STREAM), address) as again:
        assert health(again)[0] == 200


def test_a_port_that_is_taken_is_named() -> None:
    with serving(new_reports(STREAM)) as server:
        address = server.url.removeprefix("http://")
        with (
            pytest.raises(ConfigError, match=rf"cannot be served at {address}, is the port taken\?"),
            serving(new_reports(STREAM), address),
        ):
            pass


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("9100", ("127.0.0.1", 9100)),
        (":9100", ("127.0.0.1", 9100)),
        ("0.0.0.0:0", ("0.0.0.0", 0)),
        ("localhost:80", ("localhost", 80)),
        ("[::1]:9100", ("::1", 9100)),
    ],
)
def test_addresses(text: str, address: tuple[str, int]) -> None:
    assert parse_status_address(text) == address


@pytest.mark.parametrize("text", ["", "host", "host:", "::1:9100", "1.2.3.4:65536", "http://x:80", "host:80/x"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="give HOST:PORT"):
        parse_status_address(text)


def test_it_is_served_over_ipv6() -> None:
    if not socket.has_ipv6:
        pytest.skip("Python without IPv6")
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            pass
    except OSError:
        pytest.skip("no IPv6 on this machine")
    with serving(new_reports(STREAM), "[::1]:0") as server:
        assert server.url.startswith("http://[::1]:")
        assert health(server)[0] == 200


def test_the_run_is_alive_while_reports_come_whatever_its_streams_are() -> None:
    ill = replace(STREAM, frame_age_seconds=100.0)
    with serving(new_reports(ill)) as server:
        assert health(server)[0] == 503
        assert ask(f"{server.url}/livez")[0] == 200


def test_a_run_whose_reports_are_old_is_not_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.live.status.ALIVE_SECONDS", 0.05)
    reports = (STREAM,)
    with serving(lambda: reports) as server:
        time.sleep(0.3)
        assert ask(f"{server.url}/livez")[0] == 503
