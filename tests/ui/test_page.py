"""The page in a process of its own, as `h2o run` starts it, spoken to as a browser does."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sys
from collections.abc import AsyncIterator
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from h2o_relay.testing import echo
from h2o_relay.testing.settings import quick
from h2o_relay.testing.upstream import until
from h2o_relay_proxy.chat_ui import chat_ui
from h2o_relay_ui.conversation import text_of

from .browser import API, Browser
from .kit import KEY, api, asked, lines

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(240),
    pytest.mark.skipif(find_spec("gradio") is None, reason="Gradio is not installed"),
    pytest.mark.skipif(sys.platform == "win32", reason="the relay's children need POSIX signals"),
]
SERVERS = ("echo:parrot?delay=0.02", "echo:slow?delay=0.3", "echo:silent?delay=60")
LONG = " ".join(f"word{n}" for n in range(60))


@contextlib.asynccontextmanager
async def page(host: str = "127.0.0.1") -> AsyncIterator[str]:
    """The page's address, over an API with a key."""
    async with (
        api(*SERVERS, api_key=KEY) as (url, _),
        chat_ui(quick(api_key=KEY, host=host, port=0), url) as ui,
    ):
        await ui.ready.wait()
        assert ui.problem == ""
        assert ui.url is not None
        yield ui.url


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def url() -> AsyncIterator[str]:
    async with page() as address:
        yield address


@pytest_asyncio.fixture(loop_scope="module")
async def browser(url: str) -> AsyncIterator[Browser]:
    echo.journal.clear()
    async with httpx.AsyncClient(base_url=url, timeout=30, trust_env=False) as http:
        opened = Browser(http)
        await opened.open()
        yield opened


async def test_the_models_are_listed_when_the_page_opens(browser: Browser) -> None:
    picker, timer = await browser.quick("load", None)
    assert [name for name, _ in picker["choices"]] == ["parrot", "slow", "silent"]
    assert picker["value"] == "parrot"
    assert timer["active"] is False
    picker, _ = await browser.quick("load", "slow")
    assert picker["value"] == "slow"


async def test_a_question_is_answered_word_by_word(browser: Browser) -> None:
    _, history = await browser.quick("submit", LONG, [])
    assert lines(history) == [LONG]
    seen = [text_of(thread[-1]) async for thread in browser.ask(history, "parrot")]
    assert len(set(seen)) > 5
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(seen))
    assert seen[-1] == LONG


async def test_what_is_kept_of_a_thread_is_what_was_said(browser: Browser) -> None:
    first = [thread async for thread in browser.ask(asked("    one < two & **three**"), "parrot")]
    _, history = await browser.quick("submit", "next", first[-1])
    async for _ in browser.ask(history, "parrot"):
        pass
    assert [m["content"] for m in echo.journal.requests[-1].params["messages"]] == [
        "    one < two & **three**",
        "    one < two & **three**",
        "next",
    ]


async def test_an_error_is_text_in_the_thread(browser: Browser) -> None:
    seen = [thread async for thread in browser.ask(asked("!break 2 a b"), "parrot")]
    assert lines(seen[-1])[1] == "!break 2 "
    assert lines(seen[-1])[2].startswith("**⚠ The answer broke off.**")
    assert "the echo broke off" in lines(seen[-1])[2]
    _, history = await browser.quick("submit", "and now?", seen[-1])
    async for _ in browser.ask(history, "parrot"):
        pass
    told = [m["content"] for m in echo.journal.requests[-1].params["messages"]]
    assert told == ["!break 2 a b", "!break 2 ", "and now?"]


async def test_stop_closes_the_upstream(browser: Browser) -> None:
    async for thread in browser.ask(asked(LONG), "slow"):
        if text_of(thread[-1]).startswith("word0"):
            break
    await browser.stop()
    assert await until(lambda: echo.journal.cancelled == 1, within=1) < 1
    assert echo.journal.finished == 0


async def test_stop_before_the_first_word_closes_the_upstream(browser: Browser) -> None:
    reading = asyncio.ensure_future(anext(browser.ask(asked("hi"), "silent")))
    await until(lambda: len(echo.journal.requests) == 1, within=5)
    await browser.stop()
    assert await until(lambda: echo.journal.cancelled == 1, within=1) < 1
    with pytest.raises(StopAsyncIteration):
        await reading


async def test_closing_the_page_closes_the_upstream(browser: Browser) -> None:
    async with browser.http.stream("GET", f"{API}/heartbeat/{browser.session}") as alive:
        assert alive.status_code == 200
        reading = asyncio.ensure_future(anext(browser.ask(asked("hi"), "silent")))
        await until(lambda: len(echo.journal.requests) == 1, within=5)
    assert await until(lambda: echo.journal.cancelled == 1, within=2) < 2
    reading.cancel()
    await asyncio.wait([reading])


async def test_many_pages_are_answered_at_once(browser: Browser) -> None:
    async def ask(number: int) -> str:
        other = Browser(browser.http)
        other.config = browser.config
        text = f"page {number} " + "x " * 8
        seen = [thread async for thread in other.ask(asked(text), "slow")]
        return text_of(seen[-1][-1]).strip()

    async with asyncio.timeout(20):  # one after another they would take 40 seconds
        answers = await asyncio.gather(*(ask(number) for number in range(12)))
    assert answers == [f"page {number} {'x ' * 8}".strip() for number in range(12)]


async def test_markup_is_made_harmless_and_gradio_is_closed(browser: Browser) -> None:
    thread = browser.component("chatbot")
    assert thread["sanitize_html"] is True
    assert thread["allow_tags"] is False
    assert browser.config["show_error"] is False
    assert browser.config["analytics_enabled"] is False
    assert browser.config["footer_links"] == []
    assert browser.config["max_file_size"] == 2**20
    for path in ("/docs", "/openapi.json", "/redoc", "/monitoring/summary"):
        assert (await browser.http.get(path)).status_code in (403, 404, 405), path


async def test_the_page_has_no_key_and_no_address_outside(browser: Browser) -> None:
    page = await browser.http.get("/")
    theme = await browser.http.get("/theme.css")
    config = await browser.http.get("/config")
    for response in (page, theme, config):
        assert response.status_code == 200
        assert KEY not in response.text
    assert page.headers["cache-control"] == "no-store"
    assert "'self'" in page.headers["content-security-policy"]
    assert "http" not in theme.text.replace("http://www.w3.org/2000/svg", "")
    assert "static/fonts/" in theme.text


async def test_foreign_sites_and_names_are_refused(browser: Browser, url: str) -> None:
    for headers in ({"origin": "http://evil.example"}, {"origin": "null"}):
        response = await browser.http.post(f"{API}/queue/join", json={}, headers=headers)
        assert response.status_code == 403
        assert "access-control-allow-origin" not in response.headers
    response = await browser.http.get("/config", headers={"host": "evil.example"})
    assert response.status_code == 403
    response = await browser.http.get("/config", headers={"origin": "http://evil.example"})
    assert "access-control-allow-origin" not in response.headers


def commands() -> list[bytes]:
    """The command lines of this machine's processes, as anybody can read them."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            found.append(path.read_bytes())
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")
async def test_nobody_on_the_machine_can_read_the_key(url: str) -> None:
    ours = [line for line in commands() if b"h2o_relay_ui" in line]
    assert ours
    assert not any(KEY.encode() in line for line in ours)


async def test_on_the_network_the_key_is_asked_for() -> None:
    async with (
        page("0.0.0.0") as address,
        httpx.AsyncClient(base_url=address, timeout=30, trust_env=False) as http,
    ):
        assert (await http.get("/")).status_code == 200
        assert (await http.get("/config")).status_code == 401
        body = {"data": [[], None, "", "", ""], "fn_index": 0, "session_hash": "x"}
        assert (await http.post(f"{API}/queue/join", json=body)).status_code == 401
        call = {"data": ["{'instruction': 'hi'}"]}
        assert (await http.post("/api/submit_nochat_plain_api", json=call)).status_code == 401
        wrong = {"username": "me", "password": "sk-wrong"}
        assert (await http.post("/login", data=wrong)).status_code == 400
        right = {"username": "me", "password": KEY}
        assert (await http.post("/login", data=right)).status_code == 200
        assert (await http.get("/config")).status_code == 200
        told = (await http.post("/api/submit_nochat_plain_api", json=call)).json()["data"][0]
        assert "'response': 'Invalid Access Key" in told  # to have signed in is not to have the key
