"""Server strings: what is ours beside h2oGPT's (test_h2ogpt_data.py), refusals that name the place,
and no secret in any of them."""

from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from h2o_relay.errors import BadServerString
from h2o_relay.http_head import split_url
from h2o_relay.plugins import Plugins
from h2o_relay.serverstring import Field, Reader, fields_of, host_fields, mask
from h2o_relay.types import Server

PLUGINS = Plugins.discover("openai,vllm")


def parse(text: str) -> Server:
    return PLUGINS.parse(text)


def refusal(text: str) -> BadServerString:
    with pytest.raises(BadServerString) as caught:
        parse(text)
    error = caught.value
    assert (error.status, error.code) == (400, "invalid_server_string")
    assert error.reason
    assert "\n" not in str(error)
    assert str(error).isprintable()
    assert len(str(error)) < 600
    return error


class TestReading:
    @pytest.mark.parametrize(
        ("text", "fields"),
        [
            ("http://user:p%40ss:w@h:8080", {"url": "http://h:8080", "password": "p@ss:w"}),
            ("https://u:p@h.example/v1", {"url": "https://h.example/v1", "user": "u"}),
            ("http://good@127.0.0.1/", {"url": "http://127.0.0.1/", "user": "good"}),
            ("http://h:u:p", {"url": "http://h", "user": "u", "password": "p"}),
            ("http://h:08080", {"url": "http://h:8080"}),
            ("http://H.Example.", {"url": "http://H.Example."}),
            ("http://b\u00fccher.example", {"url": "http://xn--bcher-kva.example"}),
            ("http://\u2460\u2461\u2466.0.0.1", {"url": "http://127.0.0.1"}),
            ("http://\uff48\uff11", {"url": "http://h1"}),
            ("vllm:127\u30020\u30020\u30021:80", {"url": "http://127.0.0.1:80/v1"}),
            ("vllm:http://127.0.0.1:9100/v1", {"url": "http://127.0.0.1:9100/v1"}),
            ("vllm:https://[::1]:8000/v1", {"url": "https://[::1]:8000/v1"}),
            ("vllm:[::1]", {"url": "http://[::1]/v1"}),
            ("vllm:h:None:None:KEY", {"url": "http://h/v1", "key": "KEY"}),
            ("vllm:h:80:/v1:KEY", {"url": "http://h:80/v1", "key": "KEY"}),
            ("vllm:h:80:/a/b:KEY", {"url": "http://h:80/a/b/v1", "key": "KEY"}),
            (" vllm:h:80 ", {"url": "http://h:80/v1"}),
            ("vllm : h:80", {"url": "http://h:80/v1"}),
            ("openai_chat:None:None:None:KEY", {"url": None, "key": "KEY", "api": "chat"}),
        ],
    )
    def test_our_own(self, text: str, fields: dict[str, Any]) -> None:
        server = parse(text)
        assert {name: getattr(server, name) for name in fields} == fields
        assert server.shown

    def test_one_form_is_dialled(self) -> None:
        """What a policy would look at is what is connected to."""
        for text in ("http://\u2460\u2461\u2466.0.0.1/", "http://good@127.0.0.1/"):
            url = parse(text).url
            assert url is not None
            assert split_url(url)[0].host == "127.0.0.1"


class TestRefusing:
    @pytest.mark.parametrize(
        "text",
        [
            "", "  ", "\n", ":", "::::", "vllm", "vllm:", "vllm: ", "vllm:None", "http:", "http://",
            "http:///x", "http://:80", "http://None", "https:x", "http:/x", "h:99999", "h:-1",
            "h:0x50", "vllm:h:99999", "vllm:h:-1", "vllm:h:0x50", "vllm:h:0", "vllm:h:8 0",
            "vllm:h h:80", "vllm:-h:80", "vllm:.h:80", "vllm:a..b:80", "http://h:99999",
            "http://h:0", "http://h:", "http://h:80x", "http://h:80:", "http://a..b",
            "http://" + "a" * 64 + ".example", "http://" + "a." * 127 + "example",
            "vllm:h:80:/a b", "vllm:h:80:/\u00e9", "http://h/a?b=c", "http://h/#a", "http://h/a\\b",
            "ftp://h", "file:///etc/passwd", "gopher://h", "unix:/x", "javascript:alert(1)",
            "vllm:ftp://h:80", "openai:None:file:///etc/passwd", "data:text/html,x",
            "http://good\\@127.0.0.1/", "http://127.0.0.1#@good/", "http://h?@good/",
            "http://[fe80::1%25eth0]/", "vllm:[fe80::1%eth0]:80", "vllm:[::1:80", "vllm:::1:80",
            "vllm:[]:80", "vllm:[:::1]:80", "vllm:[1::2::3]:80", "http://[::g]", "http://[1.2.3.4]",
            "vllm:h\x00:80", "vllm:h\r\n:80", "vllm:h\n:80", "vllm:h\x7f", "vllm:h\u202e:80",
            "vllm:h:80\u2028", "vllm:" + "h" * 10**6, "vllm:h\ud800:80",
            "openai:a:b:c:d:e", "openai:None:h:80:None:KEY:x", "vllm:h:80:/v1:KEY:x",
            "http://h    Bearer", "http://h    Bearer    a    b",
            "vlm:h:80", "localhost:8000", "10.0.0.1", "h.example/v1",
            "vllm:user:pw@h:80", "vllm:user@h:80",
        ],
    )  # fmt: skip
    def test_bad_strings(self, text: str) -> None:
        refusal(text)

    @pytest.mark.parametrize(
        ("text", "column", "place"),
        [
            ("vllm:h:99999", 8, "99999"),
            ("vllm:", 6, ""),
            ("vllm:-h:80", 6, "-h:80"),
            ("http://h:99999", 10, "99999"),
            ("http://h/a b", 11, "***"),
            ("openai:None:h:80:None:KEY:x", 27, "***"),
            ("xllm:h:80", 1, "xllm"),
            ("vllm:h\x00", 7, ""),
        ],
    )
    def test_the_column_is_the_place(self, text: str, column: int, place: str) -> None:
        error = refusal(text)
        assert error.column == column
        if place:
            assert error.shown[column - 1 :].startswith(place)

    def test_a_hint_for_what_was_meant(self) -> None:
        assert "did you mean 'vllm'?" in str(refusal("vlm:h:80"))
        assert "needs http:// in front" in str(refusal("192.168.1.46:6112"))
        assert "Known: groq, http, https, openai, openai_chat, vllm, vllm_chat" in str(
            refusal("x:y")
        )
        assert refusal("vllm:").example

    def test_a_long_string_is_cut(self) -> None:
        assert len(refusal("vllm:" + "h" * 4000 + ":x").shown) <= 201
        assert len(refusal("x" * 100_000).shown) <= 201


SAFE = "".join(chr(c) for c in range(33, 127) if chr(c) not in ":")
SECRETS = st.text(SAFE, min_size=5, max_size=30).map("sk-{}".format) | st.integers(
    10**9, 10**15
).map(str)
GOOD = [
    "vllm:h:5000:None:{}",
    "vllm:h:5000:/v1:{}",
    "vllm:h:None:None:{}",
    "vllm_chat:https://h:None:/v1:{}",
    "vllm:http://h:80/v1:None:{}",
    "openai:None:None:None:{}",
    "openai_chat:None:h:80/v1:None:{}",
    "openai_chat:None:https://h/v1:None:{}",
    "https://h    Bearer    {}",
    "http://h:80:user:{}",
    "http://h:user:{}",
    "http://h:None:user:{}",
    "http://h:80/x:user:{}",
]
BAD = [
    "{}:x", "{} ", "{}    x", "{}\x00", "{}\n\n\n", "{}:x:y",
]  # fmt: skip
WRONG = [
    "vllm:h:99999:/v1:{}",
    "vllm:-h:80:/v1:{}",
    "vllm:h:80:/a b:{}",
    "vllm:h:80:/v1:x:{}",
    "vllm:h:80:/v1:{}:x",
    "vllm::80:/v1:{}",
    "openai:None:ftp://h:80:None:{}",
    "openai:None:h:99999:None:{}",
    "openai:None:h h:None:{}",
    "openai:None:h:80:None:x:{}",
    "http://h:80:user:{}:x",
    "http://h:80:user:x:{}",
    "http://h:99999:user:{}",
    "http://h h:80:user:{}",
    "https://h    Bearer    {}    x",
    "https://h   Bearer   {}",
    "https://h Bearer {}",
    "https://h    {}",
    "https://u:{}@h    x",
    "https://u:{}@h x",
    "https://u:{}@h:99999",
    "https://u:{}@",
    "https://u:{}@h?x",
    "ftp://u:{}@h",
    "h.example:u:{}",
    "xllm:h:80:/v1:{}",
    "vllm:u:{}@h:80",
    "vllm:h:{}",
    "http://h    {}    x    y",
]


@given(secret=SECRETS)
@example(secret="1234567890")
@example(secret="12345678/x")
@example(secret="None12345")
def test_a_secret_is_never_shown(secret: str) -> None:
    for form in GOOD:
        if form.startswith("http:") and set(secret) & set("\\#?@"):
            continue  # nothing of the kind can stand in a URL
        server = parse(form.format(secret))
        shown = f"{server!r} {server} {server.shown}"
        assert secret not in shown, (form, shown)
        held = {server.key, server.password, server.headers.get("authorization", "")[7:]}
        assert secret in held, form
    for form in [*WRONG, *(good.replace("{}", bad) for good in GOOD[:-4] for bad in BAD)]:
        text = form.format(secret)
        try:
            server = parse(text)
        except BadServerString as error:
            shown = f"{error} {error!r} {error.shown} {error.body()}"
        else:
            shown = f"{server!r} {server.shown}"
        assert secret not in shown, (form, shown)


@given(user=SECRETS, password=SECRETS)
def test_userinfo_is_masked(user: str, password: str) -> None:
    text = f"http://{quote(user, safe='')}:{quote(password, safe='')}@h:8080/x"
    server = parse(text)
    assert (server.user, server.password, server.url) == (user, password, "http://h:8080/x")
    assert server.shown == "http://***@h:8080/x"


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    for given_text in (text, f"vllm:{text}", f"http://{text}", f"openai:{text}"):
        try:
            server = parse(given_text)
        except BadServerString as error:
            shown = str(error)
        else:
            shown = server.shown
            if server.url:
                split_url(server.url)
        assert shown.isprintable()


class TestReader:
    def test_fields(self) -> None:
        text = "p: a :[::1]:None::x"
        fields = fields_of(text, 2)
        assert [f.text for f in fields] == ["a", "[::1]", "None", "", "x"]
        assert all(text[f.start :].startswith(f.text) for f in fields)
        assert [f.given for f in fields] == [True, True, False, False, True]
        assert fields_of("p:", 2) == [Field("", 2)]

    def test_reading_in_order(self) -> None:
        reader = Reader("p:a:None:KEY:skipped", "p", "p:x")
        assert (reader.optional(), reader.optional(), reader.secret()) == ("a", None, "KEY")
        with pytest.raises(BadServerString, match="nothing here") as caught:
            reader.skip("nothing here")
        assert "KEY" not in str(caught.value)
        reader = Reader("p:a", "p", "p:x")
        reader.optional()
        reader.end()
        assert (reader.optional(), reader.secret(), reader.next()) == (None, None, None)
        assert Reader("p", "p", "p:x").next() is None

    def test_host_fields(self) -> None:
        reader, url, key = host_fields("p:h:80:/v1:KEY", "p", "p:x")
        assert (url, key, reader.shown) == ("http://h:80/v1", "KEY", "p:h:80:/v1:***")

    def test_mask(self) -> None:
        assert mask("a:b:c", [Field("b", 2)]) == "a:***:c"
        assert mask("a:\x1b[31m\u202e", ()) == "a:\\x1b[31m\\x202e"
        assert mask("http://u:p@h", ()) == "http://***@h"
        assert mask("x" * 300, (), 200) == "x" * 200 + "\u2026"
        assert mask("x" * 4096, ()) == "x" * 4096
