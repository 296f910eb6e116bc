"""Every form of server string: what is shown of it is read again as the same server."""

from __future__ import annotations

from dataclasses import fields
from importlib.metadata import entry_points

from hypothesis import assume, given
from hypothesis import strategies as st

from h2o_relay.errors import BadServerString
from h2o_relay.plugins import Plugins
from h2o_relay.types import Server

PLUGINS = Plugins.discover()
PREFIXES = (*sorted(entry_points(group="h2o_relay.prefixes").names), "http", "https")
SECRETS = {"key", "user", "password", "headers", "shown"}
SECRET = st.text("abcXYZ0189_-+/=.~!$&'()*,;%", min_size=4, max_size=20).map("sk-{}".format)
HOST = st.sampled_from(["h", "localhost", "192.168.1.46", "[::1]", "h.example", "bücher.example"])
PORT = st.one_of(st.integers(1, 65535).map(str), st.sampled_from(["", "None"]))
PATH = st.sampled_from(["", "None", "/v1", "v1", "/a/b", "/v1/"])
GAP = st.sampled_from(["", " "])


@st.composite
def own_forms(draw: st.DrawFn) -> tuple[str, str]:
    """A string of the two families with fields, and the secret in it."""
    secret, host, gap = draw(SECRET), draw(HOST), draw(GAP)
    if draw(st.booleans()):
        prefix = draw(st.sampled_from(["vllm", "vllm_chat"]))
        scheme = draw(st.sampled_from(["", "http://", "https://"]))
        tail = [draw(PORT), draw(PATH), secret]
        return ":".join([prefix, f"{gap}{scheme}{host}{gap}", *tail]), secret
    prefix = draw(st.sampled_from(["openai", "openai_chat"]))
    url = draw(st.sampled_from(["", "None", host, f"{host}:80", f"https://{host}:8443/v1"]))
    return f"{prefix}:{draw(st.sampled_from(['', 'None', 'dep']))}:{url}:None:{gap}{secret}", secret


@st.composite
def bare_forms(draw: st.DrawFn) -> tuple[str, str]:
    """A bare URL with credentials in any of its forms, and the secret in them."""
    secret, host = draw(SECRET), draw(HOST)
    plain = "".join(c for c in secret if c not in "/%")
    port = draw(st.sampled_from(["", ":80", ":None"]))
    path = draw(st.sampled_from(["", "/x", "/x/y/"]))
    url = f"{draw(st.sampled_from(['http', 'https']))}://"
    form = draw(st.sampled_from(["gap", "fields", "at"]))
    if form == "gap":
        return f"{url}{host}{'' if port == ':None' else port}{path}    Bearer    {secret}", secret
    if form == "at":
        return f"{url}user:{plain}@{host}{'' if port == ':None' else port}{path}", plain
    return f"{url}{host}{port}:user:{plain}", plain


def same(text: str) -> Server:
    """Read, show, read again: nothing but the secrets differs."""
    server = PLUGINS.parse(text)
    again = PLUGINS.parse(server.shown)
    assert again.shown == server.shown
    for item in fields(Server):
        if item.name not in SECRETS:
            assert getattr(again, item.name) == getattr(server, item.name), item.name
    assert set(again.headers) == set(server.headers)
    for name in ("key", "password", "user"):
        assert (getattr(again, name) is None) == (getattr(server, name) is None), name
    return server


@given(own_forms() | bare_forms())
def test_every_form(form: tuple[str, str]) -> None:
    text, secret = form
    server = same(text)
    assert secret not in server.shown
    assert "***" in server.shown
    held = (server.key or "", server.password or "", server.headers.get("authorization", ""))
    assert any(secret in part for part in held)


@given(st.sampled_from(PREFIXES), st.text(max_size=80))
def test_whatever_is_read_is_stable(prefix: str, rest: str) -> None:
    for text in (f"{prefix}:{rest}", f"{prefix}:h:80{rest}", f"{prefix}://h{rest}"):
        try:
            shown = PLUGINS.parse(text).shown
        except BadServerString as error:
            shown = error.shown
        else:
            same(text)
        assert shown.isprintable()


def test_long_ones() -> None:
    long = "/" + "p" * 3000
    assert same(f"vllm:h:80:{long}:KEY").shown == f"vllm:h:80:{long}:***"
    assert same(f"http://h{long}").shown == f"http://h{long}"


SECOND = st.sampled_from(["dep", "my-endpoint", "meta/llama", "h", "https://h", "h.example", ""])
FIELDS = st.one_of(
    st.sampled_from(["", "None", "us-east-2", "8080", "/v1", "2023-05-15", "local", "entra"]),
    SECOND,
    st.text(":/@[]. None h0123", max_size=6),
)


@given(st.sampled_from(PREFIXES), st.lists(FIELDS, max_size=5), st.none() | SECRET)
def test_every_plugins_strings(prefix: str, parts: list[str], secret: str | None) -> None:
    """What is read is stable; BadServerString is what every plugin refuses with, and anything
    else fails this test.
    """
    text = ":".join([prefix, *parts, *([secret] if secret else [])])
    assume(len(text) < 200)
    try:
        shown = PLUGINS.parse(text).shown
    except BadServerString as error:
        shown = error.shown
    else:
        same(text)
    assert shown


def test_each_prefix_has_a_string_that_is_read() -> None:
    """So that the test above does not pass by refusals alone."""
    forms = (
        "",
        ":h:80",
        ":dep:h.example",
        ":my-endpoint:us-east-2",
        ":owner/name",
        ":/m.gguf",
        "://h",
    )
    for prefix in PREFIXES:
        read = 0
        for form in forms:
            try:
                same(prefix + form)
                read += 1
            except BadServerString:
                continue
        assert read, prefix
