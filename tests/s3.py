"""An S3 server of this process, whose answers fail as those of real ones do."""

import os
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import uuid4

import fsspec
import pytest
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

from streamrestore import remote_storage

Fault = Literal["500", "503", "slow", "reset", "half", "answer lost", "conflict"]
"""``reset``: before the request is answered; ``half``: in the middle of the answer; ``answer lost``: the request was
done, but nobody is told; ``slow``: a second passes first; ``conflict``: another writer is at it, as AWS says."""

SLOW_SECONDS = 1.0

_RESET = struct.pack("ii", 1, 0)
"""Linger for no time: closing sends a reset."""

Start = Callable[..., Any]


class _QuietHandler(MotoRequestHandler):
    def log(self, type: str, message: str, *args: object) -> None:
        pass


@dataclass
class S3Server:
    """A server, while it runs."""

    url: str = ""
    plan: Callable[[str, str], Fault | None] = lambda method, path: None
    """Which fault a request meets, by its method and path."""
    requests: Counter[str] = field(default_factory=Counter)
    """How many there were, by method."""
    sent_bytes: int = 0
    """In answers to GET."""
    faults: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def bucket(self) -> str:
        """Make a bucket; gives its URL."""
        name = f"bucket-{uuid4().hex[:12]}"
        fsspec.filesystem("s3").mkdir(name)
        return f"s3://{name}"

    def fail(self, *faults: Fault | None, method: str = "", path: str = "") -> None:
        """Have the next requests meet faults, one after the other, and the others none.

        Args:
            faults: None for a request that is answered.
            method: Only of this one.
            path: Only those whose path ends so.
        """
        left = list(faults)

        def plan(of: str, at: str) -> Fault | None:
            if not left or (method and of != method) or not at.endswith(path):
                return None
            return left.pop(0)

        self.plan = plan

    def serve(self, app: Start) -> Start:
        """The server's own application, with faults."""

        def serve(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
            method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
            with self._lock:
                self.requests[method] += 1
                fault = self.plan(method, path)
                self.faults += fault is not None
            if fault == "slow":
                time.sleep(SLOW_SECONDS)
            elif fault in ("500", "503", "conflict"):
                environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
                return _error(fault, start)
            elif fault == "reset":
                _reset(environ)
            answer: Iterable[bytes] = app(environ, start)
            if fault == "answer lost":
                b"".join(answer)
                _reset(environ)
            if method == "GET":
                answer = [b"".join(answer)]
                with self._lock:
                    self.sent_bytes += len(answer[0])
            return _half(answer, environ) if fault == "half" else answer

        return serve


def _error(fault: str, start: Start) -> Iterable[bytes]:
    code, status = {
        "500": ("InternalError", "500 Internal Server Error"),
        "503": ("ServiceUnavailable", "503 Service Unavailable"),
        "conflict": ("ConditionalRequestConflict", "409 Conflict"),
    }[fault]
    start(status, [("Content-Type", "application/xml")])
    return [f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>planned</Message></Error>".encode()]


def _reset(environ: dict[str, Any]) -> None:
    connection: socket.socket = environ["werkzeug.socket"]
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    # Closing it is not enough: the server has files made of it. What they find instead is at its end.
    here, there = socket.socketpair()
    there.close()
    os.dup2(here.fileno(), connection.fileno())
    here.close()
    raise ConnectionResetError


def _half(answer: Iterable[bytes], environ: dict[str, Any]) -> Iterator[bytes]:
    content = b"".join(answer)
    yield content[: len(content) // 2]
    _reset(environ)


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """Start a server that all of this process, and those it starts, take for Amazon's."""
    server = S3Server()
    app = server.serve(DomainDispatcherApplication(create_backend_app))
    http = make_server("127.0.0.1", 0, app, threaded=True, request_handler=_QuietHandler)
    server.url = f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ:
            if name.startswith("AWS_"):
                patch.delenv(name)
        patch.setenv("AWS_ENDPOINT_URL", server.url)
        patch.setenv("AWS_ACCESS_KEY_ID", "key")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        fsspec.filesystem("s3").clear_instance_cache()
        remote_storage._file_system.cache_clear()
        yield server
        fsspec.filesystem("s3").clear_instance_cache()
        remote_storage._file_system.cache_clear()
    http.shutdown()
    thread.join()
    http.server_close()
