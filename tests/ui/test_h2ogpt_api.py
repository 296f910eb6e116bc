"""The page's named endpoints, called by Gradio's own client, by hand and by another relay."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from conversations import cut_short

from h2o_relay.administration import Administration
from h2o_relay.errors import UpstreamAuthError, UpstreamBadResponse
from h2o_relay.kernel import Kernel
from h2o_relay.plugins import Plugins
from h2o_relay.remote import RemoteKernel
from h2o_relay.testing import echo
from h2o_relay.testing.settings import quick
from h2o_relay.testing.upstream import until
from h2o_relay_proxy.app import create_app
from h2o_relay_proxy.ports import address, bind
from h2o_relay_proxy.server import running

from .mounted import mounted, second_relay, through

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(240),
    # Gradio's use of pandas.
    pytest.mark.filterwarnings("ignore:'future.no_silent_downcasting'"),
    pytest.mark.filterwarnings("ignore:The copy keyword is deprecated"),
    pytest.mark.skipif(find_spec("gradio") is None, reason="Gradio is not installed"),
]
SERVERS = ("echo:parrot?delay=0.02", "echo:slow?delay=0.2", "echo:silent?delay=60")
NAMES = ["parrot", "slow", "silent"]
LONG = " ".join(f"word{n}" for n in range(40))
ENDPOINTS = {
    "/submit_nochat", "/submit_nochat_api", "/submit_nochat_plain_api", "/model_names",
    "/num_model_lock", "/system_hash", "/system_info_dict", "/login", "/load_model",
    "/unload_model",
}  # fmt: skip
CALL, PLAIN = "/gradio_api/call/submit_nochat_api", "/api/submit_nochat_plain_api"
KEY, INTERNAL = "sk-page-canary-7d31", "internal-canary-3b1f"


@contextlib.asynccontextmanager
async def page(folder: Path, **changes: Any) -> AsyncIterator[str]:
    """The address of a page over an API, which has these settings too."""
    settings = quick(save_dir=str(folder), **changes)
    async with Kernel(settings, SERVERS, Plugins.of(echo=echo)) as kernel:
        await kernel.settled(10)
        sock = bind("127.0.0.1", 0)
        app = create_app(kernel, settings, kernel.instance, Administration(kernel), INTERNAL)
        async with (
            running(app, settings, sock),
            RemoteKernel(address(sock), INTERNAL, quick()) as relay,
        ):
            await relay.settled(10)
            async with mounted(relay, settings) as found:
                yield found.url


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pages(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[str, str]]:
    """The addresses of a page over an API with a key, and of one over an API without."""
    folder = tmp_path_factory.mktemp("stores")
    async with page(folder / "1", api_key=KEY) as first, page(folder / "2") as second:
        yield first, second


@pytest_asyncio.fixture(loop_scope="module")
async def url(pages: tuple[str, str]) -> str:
    echo.journal.clear()
    return pages[0]


@pytest_asyncio.fixture(loop_scope="module")
async def open_url(pages: tuple[str, str]) -> str:
    echo.journal.clear()
    return pages[1]


def wish(text: str, **more: Any) -> str:
    return str({"instruction_nochat": text, "h2ogpt_key": KEY, **more})


def chat(text: str, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], **more}


async def test_only_h2ogpts_endpoints_are_public(url: str) -> None:
    async with httpx.AsyncClient(base_url=url, timeout=10, trust_env=False) as http:
        info = (await http.get("/gradio_api/info")).json()
    assert set(info["named_endpoints"]) == ENDPOINTS
    assert info["unnamed_endpoints"] == {}


async def test_the_quick_ones_answer(url: str) -> None:
    def call(client: Any) -> tuple[str, int, str]:
        names = ("/model_names", "/num_model_lock", "/system_hash")
        return tuple(client.predict(api_name=name) for name in names)  # type: ignore[return-value]

    listed, count, digits = await through(url, call)
    models = ast.literal_eval(str(listed))
    assert [model["display_name"] for model in models] == NAMES
    assert [model["base_model"] for model in models] == NAMES
    assert {model["inference_server_type"] for model in models} == {"echo"}
    assert count == 3
    assert len(bytes.fromhex(digits)) == 20


async def test_an_answer_is_told_over_and_over(url: str) -> None:
    asked = wish(LONG, stream_output=True, visible_models="parrot", unheard_of=1, temperature=0.5)

    def call(client: Any) -> list[str]:
        job = client.submit(asked, api_name="/submit_nochat_api")
        return [*job, job.result()]

    told = [ast.literal_eval(one) for one in await through(url, call)]
    texts = [one["response"] for one in told]
    assert len(set(texts)) > 3
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(texts))
    assert all(one["save_dict"] == {} for one in told[:-2])
    last = told[-1]
    assert last["response"] == last["save_dict"]["output"] == LONG
    assert last["error"] == ""
    assert last["sources"] == []
    saved = last["save_dict"]
    assert (saved["display_name"], saved["base_model"]) == ("parrot", "parrot")
    assert saved["valid_key"] is True
    extra = saved["extra_dict"]
    assert (extra["num_prompt_tokens"], extra["ntokens"]) == (40, 40)
    assert 0.8 <= extra["t_generate"] < 20
    assert extra["tokens_persecond"] == pytest.approx(40 / extra["t_generate"])
    assert extra["notes"] == ["unheard_of was ignored"]
    assert KEY not in str(told)


@pytest.mark.parametrize("name", ["/submit_nochat_api", "/submit_nochat_plain_api"])
async def test_an_answer_is_told_once(url: str, name: str) -> None:
    asked = wish(
        "and now?", chat_conversation=[("one", "two")], system_prompt="Be brief.",
        visible_models=["1"], max_new_tokens=9, top_k=3, seed=4, stop=["z"], do_sample=False,
        prompt_type="human_bot",
    )  # fmt: skip
    told = await through(url, lambda client: client.predict(asked, api_name=name))
    assert ast.literal_eval(told)["response"] == "and now?"
    (request,) = echo.journal.requests
    assert request.deployment.name == "slow"
    assert request.params["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "two"},
        {"role": "user", "content": "and now?"},
    ]
    sampling = {n: request.params.get(n) for n in ("max_tokens", "top_k", "seed", "stop")}
    assert sampling == {"max_tokens": 9, "top_k": None, "seed": 4, "stop": ["z"]}
    assert request.params["temperature"] == 0
    assert request.params["prompt_type"] == "human_bot"


async def test_no_question_has_an_empty_answer(url: str) -> None:
    told = await through(url, lambda c: c.predict(wish(""), api_name="/submit_nochat_api"))
    assert ast.literal_eval(told)["response"] == ""
    assert echo.journal.requests == []


@pytest.mark.parametrize("key", [None, "", "sk-wrong", "\ud800", 5])
async def test_without_the_key_nothing_is_asked(url: str, key: Any) -> None:
    asked = {"instruction_nochat": "hi", "h2ogpt_key": key}
    async with httpx.AsyncClient(base_url=url, timeout=10, trust_env=False) as http:
        response = await http.post(PLAIN, json={"data": [ascii(asked)]})
    assert response.status_code == 200
    told = ast.literal_eval(response.json()["data"][0])
    assert told["response"].startswith("Invalid Access Key, request access key from ")
    assert told["save_dict"]["valid_key"] is False
    assert echo.journal.requests == []


async def test_where_there_is_no_key_any_will_do(open_url: str) -> None:
    async with httpx.AsyncClient(base_url=open_url, timeout=10, trust_env=False) as http:
        for asked in ("{'instruction': 'hi'}", {"instruction": "hi", "h2ogpt_key": "x"}):
            response = await http.post(PLAIN, json={"data": [asked]})
            assert ast.literal_eval(response.json()["data"][0])["response"] == "hi"
    assert len(echo.journal.requests) == 2


BAD = [
    ("{'instruction': ", "neither a Python literal nor JSON"),
    ("__import__('os')", "neither a Python literal nor JSON"),
    ("[1]", "not a dict of names and values"),
    (wish("x", temperature="hot"), "'temperature' must be a number"),
    (wish("x", visible_models="nobody"), "The models are: parrot, slow, silent"),
    (wish("x", visible_models=3), "The models are: parrot, slow, silent"),
    (wish("!refuse 400"), "the echo refuses, as it was told to"),
]


async def test_what_goes_wrong_is_told_and_the_call_fails(url: str) -> None:
    def call(client: Any, asked: str) -> tuple[str, str]:
        job = client.submit(asked, api_name="/submit_nochat_api")
        with pytest.raises(Exception, match=r"\w") as raised:
            job.result()
        return job.outputs()[-1], str(raised.value)

    def calls(client: Any) -> list[tuple[str, str]]:
        return [call(client, asked) for asked, _ in BAD]

    for (_, words), (last, raised) in zip(BAD, await through(url, calls), strict=True):
        told = ast.literal_eval(last)
        assert words in told["error"]
        assert words in told["error_ex"]
        assert "response" not in told
        assert words in raised


async def test_nor_does_a_plain_call_hide_it(url: str) -> None:
    async with httpx.AsyncClient(base_url=url, timeout=10, trust_env=False) as http:
        for asked, words in BAD:
            response = await http.post(PLAIN, json={"data": [asked]})
            assert response.status_code == 500
            assert words in response.json()["error"]


async def test_what_was_said_before_an_error_is_told(url: str) -> None:
    def call(client: Any) -> list[str]:
        asked = wish("!break 3 a b", stream_output=True, visible_models="slow")
        return list(client.submit(asked, api_name="/submit_nochat_api"))

    told = [ast.literal_eval(one) for one in await through(url, call)]
    assert told[-2]["response"] == "!break 3 a "
    assert told[-1]["error"].endswith("the echo broke off, as it was told to")


async def test_max_time_ends_an_answer_with_what_there_is(url: str) -> None:
    asked = wish("word " * 40, visible_models="slow", max_time=0.5)
    told = await through(url, lambda c: c.predict(asked, api_name="/submit_nochat_api"))
    answer = ast.literal_eval(told)
    assert answer["response"].startswith("word ")
    assert len(answer["response"]) < 100
    assert answer["save_dict"]["extra_dict"]["notes"] == [
        "max_time ended the answer after 0.5 seconds"
    ]
    assert await until(lambda: echo.journal.cancelled == 1, within=2) < 2


async def test_leaving_stops_the_upstream(url: str) -> None:
    data = {"data": [wish("hi", visible_models="silent")]}
    async with httpx.AsyncClient(base_url=url, timeout=10, trust_env=False) as http:
        with pytest.raises(httpx.ReadTimeout):
            await http.post(PLAIN, json=data, timeout=0.5)
        await until(lambda: echo.journal.cancelled == 1, within=4)
        event = (await http.post(CALL, json=data)).json()["event_id"]
        async with http.stream("GET", f"{CALL}/{event}"):
            await until(lambda: len(echo.journal.requests) == 2, within=5)
    await until(lambda: echo.journal.cancelled == 2, within=4)
    assert echo.journal.finished == 0


async def test_many_are_answered_at_once(url: str) -> None:
    asked = [wish(f"caller {n} " + "x " * 4, visible_models="slow") for n in range(40)]

    def call(client: Any) -> list[str]:
        jobs = [client.submit(one, api_name="/submit_nochat_api") for one in asked]
        return [ast.literal_eval(job.result(timeout=60))["response"] for job in jobs]

    async with asyncio.timeout(20):  # one after another they would take 48 seconds
        answers = await through(url, call)
    assert answers == [f"caller {n} {'x ' * 4}" for n in range(40)]


@pytest.mark.parametrize("prefix", ["", "gradio:"])
async def test_the_page_is_another_relays_server(url: str, prefix: str) -> None:
    async with second_relay(prefix + url, KEY) as kernel:
        assert [model.name for model in kernel.models()] == NAMES
        params = chat(LONG, model="parrot", stream=True, stream_options={"include_usage": True})
        async with kernel.stream("chat", params) as answer:
            chunks = [chunk async for chunk in answer]
        whole = await kernel.generate("chat", chat("three words here", model="slow", max_tokens=3))
    assert "".join(chunk.text for chunk in chunks) == LONG
    assert len([chunk for chunk in chunks if chunk.text]) > 3
    assert [chunk.finish_reason for chunk in chunks if chunk.finish_reason] == ["stop"]
    usage = {"prompt_tokens": 40, "completion_tokens": 40, "total_tokens": 80}
    assert chunks[-1].usage == usage
    assert whole.text == "three words here"
    assert whole.finish_reason == "length"
    assert [request.deployment.name for request in echo.journal.requests] == ["parrot", "slow"]


async def test_another_relay_is_told_what_goes_wrong(url: str) -> None:
    async with second_relay(url, KEY) as kernel:
        with pytest.raises(UpstreamBadResponse, match="the echo refuses, as it was told to"):
            await kernel.generate("chat", chat("!refuse 400"))
        text, error = await cut_short(kernel, chat("!break 3 a b", model="slow"))
        assert text == "!break 3 a "
        assert "the echo broke off" in error.message
    async with second_relay(url) as kernel:
        assert [model.name for model in kernel.models()] == NAMES
        with pytest.raises(UpstreamAuthError):
            await kernel.generate("chat", chat("hi"))


async def test_another_relay_needs_no_key_where_there_is_none(open_url: str) -> None:
    async with second_relay(open_url) as kernel:
        assert (await kernel.generate("chat", chat("hello there"))).text == "hello there"


async def test_another_relays_caller_who_leaves_stops_the_first_server(url: str) -> None:
    async with second_relay(url, KEY) as kernel:
        async with kernel.stream("chat", chat(LONG, model="slow", stream=True)) as answer:
            async for chunk in answer:
                if chunk.text:
                    break
        assert await until(lambda: echo.journal.cancelled == 1, within=2) < 2
    assert echo.journal.finished == 0
