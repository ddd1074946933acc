"""RTSP's messages, as far as the relay needs them: requests, answers, who may come in, where packets go."""

import asyncio
import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

REALM = "relay"
METHODS = "OPTIONS, DESCRIBE, ANNOUNCE, SETUP, PLAY, RECORD, PAUSE, GET_PARAMETER, SET_PARAMETER, TEARDOWN"


@dataclass(frozen=True)
class Packet:
    """RTP or RTCP between the messages of a connection."""

    channel: int
    data: bytes


@dataclass(frozen=True)
class Request:
    """What a client wants."""

    method: str
    url: str
    headers: Mapping[str, str]
    """By lower-case name."""
    body: bytes

    @property
    def path(self) -> str:
        """The URL without server and slashes at the ends."""
        return re.sub(r"^rtsp://[^/]*", "", self.url).strip("/")


@dataclass
class Answer:
    """What the relay replies."""

    status: str = "200 OK"
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    def to(self, request: Request) -> bytes:
        """As it is sent."""
        headers = {"CSeq": request.headers.get("cseq", "0"), **self.headers}
        if self.body:
            headers["Content-Length"] = str(len(self.body))
        lines = [f"RTSP/1.0 {self.status}", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        return "\r\n".join(lines).encode() + self.body


async def receive(reader: asyncio.StreamReader) -> Packet | Request:
    """Read the next thing that a client sends.

    Raises:
        asyncio.IncompleteReadError: The client went.
        ConnectionError: The connection broke.
        ValueError: It is no RTSP.
    """
    first = await reader.readexactly(1)
    while first in b"\r\n":
        first = await reader.readexactly(1)
    if first == b"$":
        channel, high, low = await reader.readexactly(3)
        return Packet(channel, await reader.readexactly(high << 8 | low))
    head = (first + await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    line, *rest = head.split("\r\n")
    method, url, _ = line.split(" ", 2)
    headers = {
        name.strip().lower(): value.strip() for name, colon, value in (one.partition(":") for one in rest) if colon
    }
    return Request(method, url, headers, await reader.readexactly(int(headers.get("content-length", "0"))))


@dataclass(frozen=True)
class Door:
    """Who may come in."""

    user: str | None
    """None lets everyone in."""
    password: str | None
    digest: bool
    """Whether to ask for a digest, and not for the password itself."""

    def lets_in(self, request: Request, nonce: str) -> bool:
        """Whether a request says the right thing."""
        if self.user is None:
            return True
        said = request.headers.get("authorization", "")
        if not self.digest:
            return said == "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        parts = dict(re.findall(r'(\w+)="?([^",]*)"?', said))
        who = _md5(f"{self.user}:{REALM}:{self.password}")
        what = _md5(f"{request.method}:{parts.get('uri')}")
        return parts.get("response") == _md5(f"{who}:{nonce}:{what}")

    def question(self, nonce: str) -> Answer:
        """What is replied to those who may not."""
        asked = f'Digest realm="{REALM}", nonce="{nonce}"' if self.digest else f'Basic realm="{REALM}"'
        return Answer("401 Unauthorized", {"WWW-Authenticate": asked})


def _md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


def pair(transport: str, name: str) -> tuple[int, int] | None:
    """The two numbers, for RTP and RTCP, of ``interleaved`` or ``client_port``; None if a client names none."""
    found = re.search(rf"{name}=(\d+)-(\d+)", transport)
    return (int(found[1]), int(found[2])) if found else None


def without_sprop(sdp: bytes) -> bytes:
    """An SDP that does not tell the parameter sets of its H.264 and HEVC tracks."""
    return re.sub(rb";?\s*sprop-[a-z-]+=[^;\r\n]*", b"", sdp)
