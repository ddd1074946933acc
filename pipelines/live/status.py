"""A live run's state over HTTP: ``/metrics`` for Prometheus, ``/healthz`` for whoever restarts what is ill."""

import json
import re
import socketserver
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from socket import AF_INET6
from types import TracebackType
from typing import TYPE_CHECKING, Self
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import make_wsgi_app

from pipelines.live.metrics import LiveMetrics, output_fates, stream_fates
from streamrestore.errors import ConfigError
from streamrestore.live.report import OutputReport, StreamReport

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

HEALTHY_SECONDS = 2.0
"""How old the last frame of a stream, and of each of its outputs, may be."""

ALIVE_SECONDS = 10.0
"""How old the last report may be: after that, nobody leads the streams any more."""

_HOST = "127.0.0.1"
"""Where nothing is said: what is served is for this machine alone."""

_LOOK_SECONDS = 0.1
"""How exactly it is known when reports were made."""

_CLIENT_SECONDS = 5.0
"""What a client may take to ask: who takes longer must not hold a thread for ever."""

_ADDRESS = re.compile(r"(?:(?P<host>\[[^\]]+\]|[^:\[\]]*):)?(?P<port>\d{1,5})")

Reports = Callable[[], Sequence[StreamReport]]
Workers = Callable[[], Mapping[str, int]]


def parse_status_address(text: str) -> tuple[str, int]:
    """``HOST:PORT``, ``:PORT`` or ``PORT`` to host and port; without a host, only this machine is served.

    Raises:
        ConfigError: It is none of these.
    """
    match = _ADDRESS.fullmatch(text.strip())
    if match is None or (port := int(match["port"])) > 65535:
        raise ConfigError(f"{text!r} is no address to serve the state at: give HOST:PORT or PORT, such as 9464")
    return (match["host"] or _HOST).strip("[]"), port


def open_status(address: str, metrics: LiveMetrics, reports: Reports, workers: Workers | None = None) -> "StatusServer":
    """Serve a run's state from a thread of its own.

    Args:
        address: As for `parse_status_address`; port 0 takes a free one.
        metrics: Of the run.
        reports: Gives what is known now. Ages count on for as long as it gives the same object again: where nobody
            makes new reports any more, nothing stays healthy.
        workers: Gives how many workers are in which state.

    Raises:
        ConfigError: The address is none, or cannot be served at.
    """
    host, port = parse_status_address(address)
    fresh = _Fresh(reports)
    try:
        server = _Server(host, port, _application(metrics, fresh, workers), fresh)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigError(f"the state cannot be served at {host}:{port}, is the port taken? ({reason})") from error
    return StatusServer(server, host)


class StatusServer:
    """Serves until it is closed. A context manager."""

    def __init__(self, server: "_Server", host: str) -> None:
        self._server = server
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{server.server_address[1]}"
        """Where it is; ``/metrics`` and ``/healthz`` are under it."""
        self._thread = threading.Thread(
            target=server.serve_forever, args=(_LOOK_SECONDS,), name="streamrestore-status", daemon=True
        )
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End it and free the port; may be called twice."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()


def describe_health(reports: Iterable[StreamReport], older_seconds: float = 0.0) -> dict[str, object]:
    """What ``/healthz`` says.

    Args:
        reports: What is known; nothing is healthy where nothing is.
        older_seconds: How long ago the reports were made.
    """
    streams = [_describe_stream(report, older_seconds) for report in reports]
    return {"healthy": bool(streams) and all(stream["healthy"] for stream in streams), "streams": streams}


def _describe_stream(report: StreamReport, older_seconds: float) -> dict[str, object]:
    age = _older(report.frame_age_seconds, older_seconds)
    outputs = [_describe_output(output, older_seconds) for output in report.outputs]
    return {
        "name": report.name,
        "healthy": _is_young(age) and all(output["healthy"] for output in outputs),
        "source": report.source,
        "state": report.state.value,
        "level": report.level,
        "fps": round(report.fps, 3),
        "frame_age_seconds": age,
        "latency_seconds": None if report.latency is None else asdict(report.latency),
        "counts": stream_fates(report),
        "in_flight": report.in_flight,
        "reconnects": {cause.value: count for cause, count in report.reconnects.items()},
        "respawns": report.respawns,
        "outage_seconds": round(report.outage_seconds, 3),
        "rebases": report.rebases,
        "damaged": report.damaged,
        "pid": report.pid,
        "outputs": outputs,
    }


def _describe_output(report: OutputReport, older_seconds: float) -> dict[str, object]:
    age = _older(report.age_seconds, older_seconds)
    return {
        "name": report.name,
        "healthy": _is_young(age),
        "state": report.state.value,
        "age_seconds": age,
        "counts": output_fates(report),
        "in_flight": report.in_flight,
        "reconnects": {cause.value: count for cause, count in report.reconnects.items()},
        "respawns": report.respawns,
        "pid": report.pid,
    }


def _older(age: float | None, seconds: float) -> float | None:
    return None if age is None else round(age + seconds, 3)


def _is_young(age: float | None) -> bool:
    return age is not None and age < HEALTHY_SECONDS


class _Fresh:
    """Knows since when the reports are the same. For any number of threads."""

    def __init__(self, reports: Reports) -> None:
        self._reports = reports
        self._lock = threading.Lock()
        self._last = reports()
        self._since = time.monotonic()

    def look(self) -> tuple[Sequence[StreamReport], float]:
        """The reports, and how many seconds ago they were new."""
        with self._lock:
            reports, now = self._reports(), time.monotonic()
            if reports is not self._last:
                self._last, self._since = reports, now
            return reports, now - self._since


def _application(metrics: LiveMetrics, fresh: _Fresh, workers: Workers | None) -> "WSGIApplication":
    scrape = make_wsgi_app(metrics.registry)

    def application(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        match environ.get("PATH_INFO"):
            case "/metrics":
                answer: Iterable[bytes] = scrape(environ, start_response)
                return answer
            case "/healthz":
                health = describe_health(*fresh.look()) | ({} if workers is None else {"workers": dict(workers())})
                status = "200 OK" if health["healthy"] else "503 Service Unavailable"
                kind, body = "application/json", json.dumps(health, indent=2)
            case "/livez":
                _, older_seconds = fresh.look()
                alive = older_seconds < ALIVE_SECONDS
                status, kind = ("200 OK" if alive else "503 Service Unavailable"), "text/plain; charset=utf-8"
                body = f"the supervisor was last seen {older_seconds:.1f} s ago"
            case _:
                status, kind = "404 Not Found", "text/plain; charset=utf-8"
                body = (
                    "there are /metrics, for Prometheus; /healthz, which is 200 while all is well; and /livez, "
                    "which is 200 while the run goes on"
                )
        start_response(status, [("Content-Type", kind), ("Cache-Control", "no-store")])
        return [f"{body}\n".encode()]

    return application


class _Handler(WSGIRequestHandler):
    timeout = _CLIENT_SECONDS

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: whoever asks every second must not fill the log."""


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True
    allow_reuse_port = False  # else two runs would share a port, and each would answer now and then

    def __init__(self, host: str, port: int, application: "WSGIApplication", fresh: _Fresh) -> None:
        if ":" in host:
            self.address_family = AF_INET6
        self._fresh = fresh
        super().__init__((host, port), _Handler)
        self.set_app(application)

    def server_bind(self) -> None:
        # HTTPServer's own asks the network's name server for its name, which may take long.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()

    def service_actions(self) -> None:
        """Several times a second."""
        self._fresh.look()

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: it was the client who went away."""
