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

from .browser import API, Browser, texts
from .kit import INTERNAL, KEY, api

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
async def page(folder: Path, host: str = "127.0.0.1") -> AsyncIterator[str]:
    """The page's address, over an API with a key."""
    async with (
        api(*SERVERS, api_key=KEY) as (url, _),
        chat_ui(
            quick(api_key=KEY, host=host, port=0, save_dir=str(folder)), url, INTERNAL
        ) as ui,
    ):  # fmt: skip
        await ui.ready.wait()
        assert ui.problem == ""
        assert ui.url is not None
        yield ui.url


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def url(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    async with page(tmp_path_factory.mktemp("store")) as address:
        yield address


@pytest_asyncio.fixture(loop_scope="module")
async def browser(url: str) -> AsyncIterator[Browser]:
    echo.journal.clear()
    async with httpx.AsyncClient(base_url=url, timeout=30, trust_env=False) as http:
        await http.get("/")
        opened = Browser(http)
        await opened.open()
        yield opened


async def test_a_page_opens_with_a_model(browser: Browser) -> None:
    assert browser.shown["chat-model"] == "parrot"
    assert browser.shown["chat-thread"] == []
    assert browser.shown["chat-id"] == ""


async def test_a_question_is_answered_word_by_word(browser: Browser) -> None:
    threads = await browser.ask(LONG)
    assert texts(threads[0])[0] == LONG
    seen = [texts(rows)[1] for rows in threads if not texts(rows)[1].startswith("<small>")]
    assert len(set(seen)) > 5
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(seen))
    assert seen[-1] == LONG
    figures = texts(threads[-1])[2]
    assert figures.startswith("<small>parrot · echo:parrot?delay=0.02 · ")
    assert "60 tokens" in figures


async def test_what_is_kept_of_a_thread_is_what_was_said(browser: Browser) -> None:
    await browser.ask("    one < two & **three**")
    await browser.ask("next")
    assert [m["content"] for m in echo.journal.requests[-1].params["messages"]] == [
        "    one < two & **three**",
        "    one < two & **three**",
        "next",
    ]


async def test_only_the_thread_is_told_of_progress(browser: Browser) -> None:
    """Gradio tells whatever was told once of each event that comes after."""
    ids = browser.ids()
    told = [
        ids[target]
        for event in browser.config["dependencies"]
        if event["api_visibility"] == "private"
        for target in event["outputs" if event["show_progress_on"] is None else "show_progress_on"]
    ]
    assert told == ["chat-thread"]


async def test_an_error_is_text_in_the_thread(browser: Browser) -> None:
    threads = await browser.ask("!break 2 a b")
    _, said, problem, *_ = texts(threads[-1])
    assert said == "!break 2 "
    assert problem.startswith("**⚠ The answer broke off.**")
    assert "the echo broke off" in problem


async def test_stop_closes_the_upstream(browser: Browser) -> None:
    await browser.send(LONG, "slow")
    stopped = False
    async for rows in browser.follow():
        if not stopped and texts(rows)[1].startswith("word0"):
            await stop(browser)
            stopped = True
    assert await until(lambda: echo.journal.cancelled == 1, within=5) < 2
    assert echo.journal.finished == 0
    assert texts(rows)[-1].startswith("<small>stopped · slow")


async def stop(browser: Browser) -> None:
    """The box's stop button; it draws nothing."""
    ids = {c["id"]: c["props"].get("elem_id") for c in browser.config["components"]}
    index = next(
        event["id"]
        for event in browser.config["dependencies"]
        if any(ids.get(t) == "chat-box" and name == "stop" for t, name in event["targets"])
    )
    data = [browser.shown["chat-id"]]
    body = {"data": data, "fn_index": index, "session_hash": browser.session}
    (await browser.http.post(f"{API}/run/predict", json=body)).raise_for_status()


async def test_a_page_that_is_closed_lets_its_answer_end(browser: Browser) -> None:
    async with browser.http.stream("GET", f"{API}/heartbeat/{browser.session}") as alive:
        assert alive.status_code == 200
        await browser.send(LONG)
        await until(lambda: len(echo.journal.requests) == 1, within=5)
    again = Browser(browser.http)
    await again.open(browser.shown["chat-id"])
    assert again.shown["chat-turn"] == browser.shown["chat-turn"]
    threads = [rows async for rows in again.follow()]
    assert texts(threads[-1])[:2] == [LONG, LONG]
    assert echo.journal.cancelled == 0


async def test_a_temporary_chat_ends_with_its_page(browser: Browser) -> None:
    async with browser.http.stream("GET", f"{API}/heartbeat/{browser.session}") as alive:
        assert alive.status_code == 200
        await browser.quick("conversations-temporary", "click", "", "silent")
        await browser.send("secret", "silent")
        await until(lambda: len(echo.journal.requests) == 1, within=5)
    assert await until(lambda: echo.journal.cancelled == 1, within=10) < 5


async def test_many_pages_are_answered_at_once(browser: Browser) -> None:
    async def ask(number: int) -> str:
        other = Browser(browser.http)
        await other.open()
        return texts((await other.ask(f"page {number} " + "x " * 8, "slow"))[-1])[1].strip()

    async with asyncio.timeout(25):  # one after another they would take 40 seconds
        answers = await asyncio.gather(*(ask(number) for number in range(12)))
    assert answers == [f"page {number} {'x ' * 8}".strip() for number in range(12)]


async def test_markup_is_made_harmless_and_gradio_is_closed(browser: Browser) -> None:
    assert browser.component("chatbot")["sanitize_html"] is True
    assert browser.config["show_error"] is False
    assert browser.config["analytics_enabled"] is False
    assert browser.config["footer_links"] == []
    for path in ("/docs", "/openapi.json", "/redoc", "/monitoring/summary"):
        assert (await browser.http.get(path)).status_code in (403, 404, 405), path


async def test_the_page_has_no_key_and_no_address_outside(browser: Browser) -> None:
    page = await browser.http.get("/")
    theme = await browser.http.get("/theme.css")
    config = await browser.http.get("/config")
    for response in (page, theme, config):
        assert response.status_code == 200
        assert KEY not in response.text
        assert INTERNAL not in response.text
    assert page.headers["cache-control"] == "no-store"
    assert "'self'" in page.headers["content-security-policy"]
    assert "unsafe-eval" not in page.headers["content-security-policy"]
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
async def test_nobody_on_the_machine_can_read_the_keys(url: str) -> None:
    ours = [line for line in commands() if b"h2o_relay_ui" in line]
    assert ours
    for key in (KEY, INTERNAL):
        assert not any(key.encode() in line for line in ours)


async def test_a_chat_is_there_after_a_restart(tmp_path: Path) -> None:
    id = ""
    for question in ("remember me", "and go on"):
        async with (
            page(tmp_path) as address,
            httpx.AsyncClient(base_url=address, timeout=30, trust_env=False) as http,
        ):
            await http.get("/")
            browser = Browser(http)
            await browser.open(id)
            threads = await browser.ask(question)
            id = browser.shown["chat-id"]
    said = texts(threads[-1])
    assert [said[row] for row in (0, 1, 3, 4)] == ["remember me"] * 2 + ["and go on"] * 2


async def test_on_the_network_the_key_is_asked_for(tmp_path: Path) -> None:
    async with (
        page(tmp_path, "0.0.0.0") as address,
        httpx.AsyncClient(base_url=address, timeout=30, trust_env=False) as http,
    ):
        assert (await http.get("/")).status_code == 200
        assert (await http.get("/config")).status_code == 401
        body = {"data": [[], None, "", "", ""], "fn_index": 0, "session_hash": "x"}
        assert (await http.post(f"{API}/queue/join", json=body)).status_code == 401
        call = {"data": ["{'instruction': 'hi'}"]}
        wrong = {"username": "me", "password": "sk-wrong"}
        assert (await http.post("/login", data=wrong)).status_code == 401
        right = {"username": "me", "password": KEY}
        assert (await http.post("/login", data=right)).status_code == 200
        assert (await http.get("/config")).status_code == 200
        told = (await http.post("/api/submit_nochat_plain_api", json=call)).json()["data"][0]
        assert "'response': 'Invalid Access Key" in told  # to have signed in is not to have the key
