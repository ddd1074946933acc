"""Where live video comes from and goes to, split into what may be shown and what is secret."""

import base64
import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, quote_plus, unquote, unquote_plus

from streamrestore.errors import ConfigError

HIDDEN = "***"
"""Stands where a secret is not shown."""

_SHORTEST = 3
"""Characters of a secret that is looked for on its own: shorter ones are found everywhere."""

SCHEME = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://")
"""What an address begins with that is no path."""
_LOOKS_LIKE_NETWORK = re.compile(r"(//)?[^/]*:.*@|(rtsps?|rtmp[a-z]*|https?|srt|udp|tcp|tls|rtp):", re.IGNORECASE)
_VARIABLE = re.compile(r"\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)\}")
_HOST = re.compile(r"(\[[^\]]*\]|[^:]*)(:\d{0,5})?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_QUERY_BEFORE_AT = re.compile(r"([\w.~-]+(=[^&;#]*)?[&;])*[\w.~-]+=[^&;#]+", re.ASCII)
"""What a query with an '@' in one of its values is up to there."""

_AUTHORITY_ENDS = re.compile(r"[/?#]")
"""At the first of these, for FFmpeg too."""

_KEPT_IN_USERINFO = "!$&'()*+,;=:@/"
"""What some programs leave as it is when they encode a name and a password."""


@dataclass(frozen=True, slots=True)
class Address:
    """A source or an output. ``str`` and ``repr`` show no secret."""

    url: str = field(repr=False)
    """Complete, with its secrets: for FFmpeg and nobody else. A plain path where it is a local file or folder."""
    shown: str
    """For logs, reports and messages."""
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """What must not be shown, in each form it may be met in, longest first; for `redact`."""

    def __str__(self) -> str:
        return self.shown

    @property
    def scheme(self) -> str:
        """``rtsp``, ``rtmps`` and so on in lower case; ``file`` for local files and folders."""
        match = SCHEME.match(self.url)
        return "file" if match is None else match["scheme"]

    @property
    def is_network(self) -> bool:
        """Whether it is somewhere else than in this computer's files."""
        return self.scheme != "file"


def parse_address(text: str, folder: Path | None = None) -> Address:
    """Split what the user typed into what is shown and what is secret.

    Secret are name and password, the values of all parameters of the query, and the stream key of RTMP.

    Args:
        text: An address or a path. ``${NAME}`` in it stands for a variable of the environment, so that secrets need
            not be typed; its value goes in as it is, so reserved characters in it must be percent-encoded.
        folder: Where relative paths begin; None leaves them as they are.

    Raises:
        ConfigError: It is no address, or FFmpeg would take it for another one; the message holds no secret.
    """
    text = _fill_in(text.strip())
    if not text:
        raise ConfigError("an address is empty: give one such as rtsp://camera/stream, or a path")
    if _CONTROL.search(text):
        raise ConfigError("an address holds a line break or another control character: take it out")
    match = SCHEME.match(text)
    if match is not None and match["scheme"].lower() != "file":
        return _network(match["scheme"].lower(), text[match.end() :])
    if match is None and not text.startswith("file:") and _LOOKS_LIKE_NETWORK.match(text):
        # Shown as a path, it would be shown with its password.
        raise ConfigError("an address begins with no scheme, such as rtsp://: write it so, or ./... if it is a path")
    path = text.removeprefix("file://") if match is not None else text.removeprefix("file:")
    if folder is not None and path:
        # Not only joined: what ends with a slash is a folder to be made.
        path = str(folder / path) + ("/" if path.endswith("/") else "")
    if not path:
        raise ConfigError("an address names no file: give file:PATH, or the path alone")
    return Address(path, path)


def find_secrets(text: str, secrets: Iterable[str]) -> list[tuple[int, int]]:
    """Where secrets are in a text, as half-open ranges in order; those that overlap or touch are one."""
    found = list[tuple[int, int]]()
    for secret in filter(None, secrets):
        start = text.find(secret)
        while start >= 0:
            found.append((start, start + len(secret)))
            start = text.find(secret, start + 1)
    merged = list[tuple[int, int]]()
    for start, stop in sorted(found):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(stop, merged[-1][1]))
        else:
            merged.append((start, stop))
    return merged


def redact(text: str, secrets: Iterable[str]) -> str:
    """The text with ``***`` wherever a secret was."""
    for start, stop in reversed(find_secrets(text, secrets)):
        text = text[:start] + HIDDEN + text[stop:]
    return text


def all_secrets(addresses: Iterable[Address]) -> tuple[str, ...]:
    """Those of several addresses, longest first."""
    return _longest_first(secret for address in addresses for secret in address.secrets)


def _fill_in(text: str) -> str:
    def value(match: re.Match[str]) -> str:
        found = os.environ.get(match["name"])
        if found is None:
            raise ConfigError(f"an address names ${{{match['name']}}}, which the environment does not have: set it")
        return found

    if "${" in _VARIABLE.sub("", text):
        raise ConfigError("an address holds '${' but no ${NAME}: write %24%7B where it is meant as it stands")
    return _VARIABLE.sub(value, text)


def _network(scheme: str, rest: str) -> Address:
    at = _userinfo_end(rest)
    userinfo, place = rest[: max(at, 0)], rest[at + 1 :]
    if _AUTHORITY_ENDS.search(userinfo):
        # FFmpeg would look for a host of the password's first half, and name it in its complaint.
        raise ConfigError(
            f"{scheme}://{HIDDEN}: what is before the last '@' counts as name and password, and holds a '/', '?' or "
            "'#': percent-encode it there as %2F, %3F or %23, or the '@' as %40 if it belongs to path or query"
        )
    host = _authority(place)
    if _HOST.fullmatch(host) is None:
        raise ConfigError(
            f"{scheme}://{HIDDEN}: the port after the host's ':' is no number: give {scheme}://HOST:PORT/PATH, with "
            "name and password before the host as NAME:PASSWORD@"
        )
    if scheme in ("rtsp", "rtsps", "rtmp", "rtmps", "http", "https") and host.partition(":")[0] == "":
        raise ConfigError(f"{scheme}://{HIDDEN}: names no host: give {scheme}://HOST/PATH")
    path, question, query = place[len(host) :].partition("?")
    key = hash_sign = fragment = ""
    if scheme.startswith("rtmp"):
        path, key = _split_stream_key(path)
    else:
        query, hash_sign, fragment = query.partition("#")
    shown_query, values = _hide_values(query)
    secrets = _longest_first(
        form
        for piece in (*_userinfo_secrets(userinfo), key, key.rstrip("/"), *values)
        for form in _forms(piece)
        if len(form) >= _SHORTEST
    )
    shown = f"{HIDDEN}@" if userinfo else ""
    shown += f"{host}{path}{HIDDEN if key else ''}{question}{shown_query}{hash_sign}{fragment}"
    # A password may be what the host is called, too.
    return Address(f"{scheme}://{rest}", f"{scheme}://{redact(shown, secrets)}", secrets)


def _userinfo_end(rest: str) -> int:
    """Where the '@' after name and password is; -1 without one.

    Passwords are pasted as they are. In doubt more counts as secret: an '@' in a query ends them where what is
    before it looks like no query, or like no host, or where no path is between the two.
    """
    head, _, query = rest.partition("?")
    at = head.rfind("@")
    before = query[: max(query.rfind("@"), 0)]
    host = _authority(head[at + 1 :])
    odd_host = _HOST.fullmatch(host) is None or host.endswith(":") or not head[at + 1 :].startswith(f"{host}/")
    odd_query = _QUERY_BEFORE_AT.fullmatch(before) is None
    if "@" in query and (odd_host or odd_query):
        return rest.rfind("@")
    return at


def _authority(rest: str) -> str:
    end = _AUTHORITY_ENDS.search(rest)
    return rest if end is None else rest[: end.start()]


def _userinfo_secrets(userinfo: str) -> Iterator[str]:
    if userinfo:
        password = userinfo.partition(":")[2]
        yield userinfo
        # Alone, the name is the secret: a token.
        yield password or userinfo.removesuffix(":")
        # As it is sent.
        for form in {userinfo, unquote(userinfo)}:
            yield base64.b64encode(form.encode(errors="surrogateescape")).decode()


def _split_stream_key(path: str) -> tuple[str, str]:
    """An RTMP path up to its stream key, and the key: what comes last, after the app."""
    parts = path.rstrip("/").split("/")
    if len([part for part in parts if part]) < 2:
        return path, ""
    return "/".join(parts[:-1]) + "/", path[len("/".join(parts[:-1])) + 1 :]


def _hide_values(query: str) -> tuple[str, list[str]]:
    """A query as it is shown, and its secrets."""
    shown, secrets = "", list[str]()
    for part in re.split(r"([&;])", query):
        key, equals, value = part.partition("=")
        if part in ("&", ";", "") or (equals and not value):
            shown += part
        elif equals:
            shown += f"{key}={HIDDEN}"
            secrets.append(value if len(value) >= _SHORTEST else part)
        else:
            shown += HIDDEN
            secrets.append(part)
    return shown, secrets


def _forms(secret: str) -> set[str]:
    """How a secret may be written by those who meet it: encoded, decoded, quoted."""
    plain = {secret, unquote(secret), unquote_plus(secret)}
    encoded = {quote(form, safe, errors="surrogateescape") for form in plain for safe in ("", "/", _KEPT_IN_USERINFO)}
    encoded |= {quote_plus(form, errors="surrogateescape") for form in plain}
    encoded |= {re.sub("%[0-9A-F]{2}", lambda match: match[0].lower(), form) for form in encoded}
    # The quotes that Python chooses for a whole address depend on what else is in it.
    quoted = {text[1:-1] for form in plain for text in (repr(form), json.dumps(form))}
    quoted |= {repr(form + "\"'")[1:-4] for form in plain}
    return plain | encoded | quoted


def _longest_first(secrets: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(secrets), key=lambda secret: (-len(secret), secret)))
