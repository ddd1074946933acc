"""No secret of an address is shown, whatever it is made of, and what FFmpeg would misread is refused."""

import base64
import pickle
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from streamrestore.errors import ConfigError
from streamrestore.live.addresses import HIDDEN, Address, all_secrets, find_secrets, parse_address, redact

# "${" asks for the environment; control characters are refused; "*" is what secrets are hidden behind.
CHARACTERS = st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="$*")
SECRETS = st.text(CHARACTERS, min_size=3, max_size=30).filter(lambda text: text == text.strip())
AWKWARD = st.text(st.sampled_from("ab1@:/?#%&=;+[]'\"\\ "), min_size=3, max_size=12).filter(lambda t: t == t.strip())


def shows(address: Address) -> str:
    """All that it says of itself, but for its own name."""
    return "\n".join((str(address), repr(address).removeprefix("Address(shown="), address.shown, f"{address}"))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://cam/stream", "rtsp://cam/stream"),
        ("rtsp://admin:secret@cam:554/stream1", "rtsp://***@cam:554/stream1"),
        ("RTSP://admin:p@ss:word@cam/x", "rtsp://***@cam/x"),
        ("rtsps://token@[fe80::1]:322/x#part", "rtsps://***@[fe80::1]:322/x#part"),
        (
            "rtsp://cam/live?user=admin&password=a@b&empty=&flag#part",
            "rtsp://cam/live?user=***&password=***&empty=&***#part",
        ),
        ("rtmp://live.example/app/live_123_abc", "rtmp://live.example/app/***"),
        ("rtmps://live.example:443/app/instance/KEY/?bw=test", "rtmps://live.example:443/app/instance/***?bw=***"),
        ("rtmp://live.example/app", "rtmp://live.example/app"),
        ("srt://:9000?passphrase=verysecret", "srt://:9000?passphrase=***"),
        ("udp://@239.0.0.1:1234", "udp://239.0.0.1:1234"),
        ("hls/front/", "hls/front/"),
        ("rec/a@b?c=d.mp4", "rec/a@b?c=d.mp4"),
        ("file:///srv/rec/front.mp4", "/srv/rec/front.mp4"),
    ],
)
def test_what_is_shown(text: str, shown: str) -> None:
    assert str(parse_address(text)) == shown


def test_the_whole_address_is_there_for_ffmpeg() -> None:
    assert parse_address("RTSP://a:b@c@cam/x?y=z#w").url == "rtsp://a:b@c@cam/x?y=z#w"
    assert parse_address("rtmp://host/app/key").url == "rtmp://host/app/key"


@pytest.mark.parametrize(
    ("text", "scheme", "network"),
    [
        ("rtsp://cam/x", "rtsp", True),
        ("RTMPS://h/a/b", "rtmps", True),
        ("hls/", "file", False),
        ("file:x", "file", False),
    ],
)
def test_the_scheme(text: str, scheme: str, network: bool) -> None:
    address = parse_address(text)
    assert (address.scheme, address.is_network) == (scheme, network)


def test_local_paths_have_no_secret_and_may_begin_in_a_folder() -> None:
    assert parse_address("hls/front/", Path("/etc/cams")) == Address("/etc/cams/hls/front/", "/etc/cams/hls/front/")
    assert parse_address("/abs/x.mp4", Path("/etc")).url == "/abs/x.mp4"
    assert parse_address("rtsp://cam/x", Path("/etc")).url == "rtsp://cam/x"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rtsp://admin:sec/ret@cam/x", "percent-encode it there as %2F, %3F or %23"),
        ("rtsp://admin:sec#ret@cam/x", "percent-encode"),
        ("rtsp://admin:sec?ret@cam/x", "percent-encode"),
        ("rtsp://ad?min:secret@cam/x", "percent-encode"),
        ("rtsp://admin:1234?secret@cam/x", "percent-encode"),
        ("rtsp://admin:sec?a=ret@cam/x", "percent-encode"),
        ("rtsp://admin:sec@r:e?t=1@cam/x", "percent-encode"),
        ("rtsp://admin:1?a=secret@cam/x", "percent-encode"),
        ("rtsp://cam/stream@secret", "or the '@' as %40"),
        ("rtsp://admin:secret", "port after the host's ':' is no number"),
        ("rtsp://admin:x@cam:secret/", "port after the host's ':' is no number"),
        ("rtsp://admin:secret@/x", "names no host"),
        ("rtsp:///secret", "names no host"),
        ("rtsp:/admin:secret@cam/x", "begins with no scheme"),
        ("admin:secret@cam/x", "begins with no scheme"),
        ("//admin:secret@cam/x", "begins with no scheme"),
        ("rtmp:host/app/secret", "begins with no scheme"),
        ("rtsp://a:sec\nret@cam/x", "control character"),
        ("rtsp://a:${secret-}@cam/x", "%24%7B"),
        ("", "is empty"),
        ("file:", "names no file"),
    ],
)
def test_what_is_refused_says_why_and_not_what(text: str, words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_address(text)
    assert words in str(refused.value)
    assert not {"secret", "ret", "sec", "admin", "1234"} & set(str(refused.value).replace(":", " ").split())
    assert "sec" not in str(refused.value)


@given(SECRETS | AWKWARD, st.booleans())
@example("p@/host", False)
@example("1/2@3?4#5", False)
@example("1?a=b", False)
@example("#?=", False)
@example("1/?a=", False)
@example("554", False)
def test_no_password_is_shown_whatever_it_is(password: str, encoded: bool) -> None:
    assume(password not in f"rtsp://{HIDDEN}@")
    typed = quote(password, safe="") if encoded else password
    text = f"rtsp://us3r:{typed}@host:554/path"
    try:
        address = parse_address(text)
    except ConfigError as error:
        refusal = str(error)
    else:
        for form in (password, typed):
            assert form not in shows(address)
            # As Python shows an address in an error of PyAV's. A part of it might be a query, as in "1/2?a=b".
            assert "?" in typed or form not in redact(f"{text!r} {text}: {form}", address.secrets)
        return
    # FFmpeg would misread it; what is said is the same whatever the password is.
    assert set("/?#") & set(typed)
    with pytest.raises(ConfigError) as other:
        parse_address("rtsp://a:b/c@host/path")
    assert refusal == str(other.value)


@given(SECRETS.filter(lambda text: not set(text) & set("@#&;")), st.sampled_from(["rtsp", "srt", "http"]))
def test_no_value_of_a_query_is_shown(value: str, scheme: str) -> None:
    assume(value not in f"{scheme}://")
    address = parse_address(f"{scheme}://host:99/path?one={value}&two=2")
    assert value not in shows(address)
    assert value not in redact(f"x{value}x {address.url!r}", address.secrets)


@given(st.text(st.sampled_from("abcXYZ0189_-+%.:,!"), min_size=3, max_size=40))
def test_no_stream_key_is_shown(key: str) -> None:
    assume(key not in f"rtmp://{HIDDEN}")
    address = parse_address(f"rtmp://h/app/{key}")
    assert key not in shows(address)
    assert key not in redact(f"cannot open {address.url}", address.secrets)


@given(st.lists(SECRETS, max_size=5), st.lists(SECRETS | st.just("x"), max_size=12), st.data())
def test_redacting_is_complete(secrets: list[str], others: list[str], data: st.DataObject) -> None:
    text = "".join(data.draw(st.permutations(secrets + others + secrets)))
    redacted = redact(text, secrets)
    assert not [secret for secret in secrets if secret in redacted]
    assert redact(redacted, secrets) == redacted


def test_secrets_that_overlap_leave_no_rest() -> None:
    assert redact("ababab", ["abab"]) == HIDDEN
    assert redact("xabcdx", ["abc", "bcd"]) == f"x{HIDDEN}x"
    assert find_secrets("ab--ab", ["ab", "", "ab-"]) == [(0, 3), (4, 6)]
    assert redact("nothing", []) == "nothing"


def test_a_password_is_known_in_all_its_forms() -> None:
    address = parse_address("rtsp://admin:p%40ss%2fw'rd@cam/x")
    basic = base64.b64encode(b"admin:p@ss/w'rd").decode()
    forms = ["p%40ss%2fw'rd", "p@ss/w'rd", "p%40ss%2Fw%27rd", "p%40ss/w%27rd", r"p@ss/w\'rd", basic]
    assert set(forms) <= set(address.secrets)
    assert list(address.secrets) == sorted(address.secrets, key=lambda secret: (-len(secret), secret))


def test_short_values_are_not_looked_for_alone() -> None:
    address = parse_address("rtsp://cam/realmonitor?channel=1&subtype=0")
    assert str(address) == "rtsp://cam/realmonitor?channel=***&subtype=***"
    assert redact("level 1 of 3, channel=1", address.secrets) == "level 1 of 3, ***"


def test_variables_are_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAM_USER", "admin")
    monkeypatch.setenv("CAM_PASSWORD", "top%2Fsecret${CAM_USER}")
    monkeypatch.delenv("CAM_HOST", raising=False)
    address = parse_address("rtsp://${CAM_USER}:${CAM_PASSWORD}@cam/x")
    assert address.url == "rtsp://admin:top%2Fsecret${CAM_USER}@cam/x"
    assert str(address) == "rtsp://***@cam/x"
    monkeypatch.setenv("CAM_PASSWORD", "top/secret")
    with pytest.raises(ConfigError, match="percent-encode") as refused:
        parse_address("rtsp://${CAM_USER}:${CAM_PASSWORD}@cam/x")
    assert "secret" not in str(refused.value)
    with pytest.raises(ConfigError, match=r"\$\{CAM_HOST\}, which the environment does not have"):
        parse_address("rtsp://${CAM_USER}:${CAM_PASSWORD}@${CAM_HOST}/x")


def test_addresses_travel() -> None:
    address = parse_address("rtsp://admin:secret@cam/x")
    back = pickle.loads(pickle.dumps(address))
    assert (back.url, back.shown, back.secrets) == (address.url, address.shown, address.secrets)
    assert hash(back) == hash(address)


def test_the_secrets_of_several_addresses() -> None:
    one, two = parse_address("rtsp://a:first@cam/x"), parse_address("rtmp://h/app/second")
    assert all_secrets([one, two]) == tuple(
        sorted({*one.secrets, *two.secrets}, key=lambda secret: (-len(secret), secret))
    )
