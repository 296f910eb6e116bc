"""The relay in front of a real vLLM; see `vllm_live` for what it needs."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
import pytest_asyncio

from h2o_relay.errors import RelayError, UpstreamRejected
from h2o_relay.kernel import Kernel
from h2o_relay.plugins import Plugins
from h2o_relay.settings import Settings
from h2o_relay.spec import ServerSpec
from h2o_relay.types import Kind, Load, Request, Tuning

from .vllm_live import COMMAND, MODEL, Live, environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(500)]
NAME = "test-model"
OTHER = "test-model-too"
"""Of the vLLM that is killed; the tests share one that must live."""
SAY = [
    {"role": "system", "content": "You are a helpful assistant."},
    {"role": "user", "content": "What is the capital of France?"},
]
CITY = {
    "type": "object",
    "properties": {"city": {"enum": ["Paris", "Rome"]}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOL = {
    "type": "function",
    "function": {"name": "look_up", "description": "Look up a city", "parameters": CITY},
}
GREEDY = {"temperature": 0, "max_tokens": 20}


class Relay:
    """A kernel with one server, the real one."""

    def __init__(self, kernel: Kernel, live: Live) -> None:
        self.kernel, self.live = kernel, live

    def params(self, kind: Kind, **more: Any) -> dict[str, Any]:
        asked = {"messages": SAY} if kind == "chat" else {"prompt": "The capital of France is"}
        return {"model": NAME, **asked, **GREEDY, **more}

    async def generate(self, kind: Kind = "chat", **more: Any) -> dict[str, Any]:
        completion = await self.kernel.generate(kind, self.params(kind, **more))
        assert completion.dropped == ()
        found: dict[str, Any] = orjson.loads(completion.body)
        return found

    async def choice(self, kind: Kind = "chat", **more: Any) -> dict[str, Any]:
        found: dict[str, Any] = (await self.generate(kind, **more))["choices"][0]
        return found

    async def stream(self, kind: Kind = "chat", **more: Any) -> list[dict[str, Any]]:
        async with self.kernel.stream(kind, self.params(kind, stream=True, **more)) as answer:
            return [event async for chunk in answer for event in chunk.events()]

    async def load(self) -> Load:
        [route] = self.kernel.snapshot.routes.values()
        found: Load = await route.link.plugin.load(route.link.server, route.link.client)
        return found

    async def count(self, kind: Kind, rendered: str | None = None, **more: Any) -> int | None:
        [route] = self.kernel.snapshot.routes.values()
        request = Request(
            kind=kind, params=self.params(kind, **more), body=None, prompt=rendered,
            deployment=route.deployment,
        )  # fmt: skip
        link = route.link
        found: int | None = await link.plugin.count_tokens(link.server, link.client, request)
        return found


@pytest_asyncio.fixture
async def relay(real_vllm: Live) -> AsyncIterator[Relay]:
    text = f"vllm_chat:http://{real_vllm.place}/v1:{real_vllm.key}"
    async with Kernel(Settings(drain_timeout=1), [text], Plugins.discover("vllm")) as kernel:
        await kernel.settled(10)
        yield Relay(kernel, real_vllm)


def text_of(choice: dict[str, Any]) -> str:
    for part in ("message", "delta"):
        if part in choice:
            return choice[part].get("content") or ""
    return str(choice["text"])


@pytest.mark.parametrize("kind", ["chat", "text"])
async def test_answers_and_streams_agree(relay: Relay, kind: Kind) -> None:
    whole = await relay.generate(kind)
    events = await relay.stream(kind, stream_options={"include_usage": True})
    choices = [event["choices"][0] for event in events if event["choices"]]
    assert "".join(map(text_of, choices)) == text_of(whole["choices"][0]) != ""
    assert choices[-1]["finish_reason"] == whole["choices"][0]["finish_reason"]
    assert events[-1]["usage"]["completion_tokens"] == whole["usage"]["completion_tokens"]
    assert len(choices) > 2  # it came in pieces


KNOWING = pytest.mark.skipif(
    MODEL not in os.environ, reason=f"{MODEL} names no model that knows anything"
)


@KNOWING
async def test_a_real_model_makes_sense(relay: Relay) -> None:
    assert "Paris" in text_of(await relay.choice())
    assert "Paris" in text_of(await relay.choice("text"))


@pytest.mark.parametrize(
    "more",
    [
        {"seed": 7},
        {"logprobs": True, "top_logprobs": 2},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": CITY}}},
        {"tools": [TOOL], "tool_choice": "required"},
        {"structured_outputs": {"grammar": 'root ::= "a" root | "b"'}},
        {"no_such_field": {"deep": [1, "ü", None]}},
    ],
)
async def test_the_answer_is_vllms_own(relay: Relay, more: dict[str, Any]) -> None:
    asked = relay.params("chat", **more)
    direct = await asyncio.to_thread(relay.live.json, "/v1/chat/completions", asked)
    ours = await relay.generate(**more)
    for answer in (direct, ours):
        answer["id"] = answer["created"] = None  # made anew for each
        for call in answer["choices"][0]["message"].get("tool_calls") or []:
            call["id"] = None
    assert ours == direct


async def test_structured_outputs(relay: Relay) -> None:
    word = {"choice": ["wörld \U0001f99c"]}
    assert text_of(await relay.choice(structured_outputs=word, max_tokens=60)) == word["choice"][0]
    number = {"regex": "[0-9]{3}x"}
    for kind in ("chat", "text"):
        found = text_of(await relay.choice(kind, structured_outputs=number))  # type: ignore[arg-type]
        assert re.fullmatch("[0-9]{3}x", found)
    grammar = {"grammar": 'root ::= "yes" | "no"'}
    assert text_of(await relay.choice(structured_outputs=grammar)) in ("yes", "no")


@KNOWING  # noise begins the object and then goes on with blanks for ever
async def test_json(relay: Relay) -> None:
    formatted = {"type": "json_schema", "json_schema": {"name": "a", "schema": CITY}}
    for asked in ({"response_format": formatted}, {"structured_outputs": {"json": CITY}}):
        found = orjson.loads(text_of(await relay.choice(**asked, max_tokens=60)))
        assert found in ({"city": "Paris"}, {"city": "Rome"})


async def test_sampling_fields_reach_it(relay: Relay) -> None:
    short = {"max_tokens": 5}
    greedy = text_of(await relay.choice("text", **short))
    free = [await relay.choice("text", temperature=1.5, seed=seed, **short) for seed in range(5)]
    assert {text_of(choice) for choice in free} != {greedy}
    # Noise has words of the very same weight, all of which min_p lets through.
    for only_one in ({"top_k": 1}, {"top_p": 1e-6}, *([{"min_p": 1.0}] * (MODEL in os.environ))):
        assert text_of(await relay.choice("text", temperature=1.5, **only_one, **short)) == greedy
    several = await relay.generate("text", n=3, temperature=1.0, seed=3)
    assert [choice["index"] for choice in several["choices"]] == [0, 1, 2]
    forced = await relay.generate("text", min_tokens=9, max_tokens=9, ignore_eos=True)
    assert forced["usage"]["completion_tokens"] == 9
    bias = await relay.choice("text", logprobs=2, max_tokens=3)
    assert len(bias["logprobs"]["tokens"]) == 3


@pytest.mark.parametrize(
    ("field", "value"),
    [("min_p", 5), ("top_k", -7), ("repetition_penalty", -1), ("stop_token_ids", "x")],
)
async def test_what_it_refuses_is_passed_on(relay: Relay, field: str, value: Any) -> None:
    with pytest.raises(UpstreamRejected) as caught:
        await relay.generate(**{field: value})
    assert caught.value.status == 400
    assert field in caught.value.message


async def test_stops_by_text_and_by_token(relay: Relay) -> None:
    digits = {"structured_outputs": {"choice": ["abcdef"]}, "max_tokens": 20}
    by_text = await relay.choice("text", **digits, stop=["d"])
    assert (by_text["text"], by_text["finish_reason"], by_text["stop_reason"]) == (
        "abc",
        "stop",
        "d",
    )
    tokens = await asyncio.to_thread(
        relay.live.json, "/tokenize", {"model": NAME, "prompt": "abcdef"}
    )
    first, *others = tokens["tokens"]
    by_token = await relay.choice(
        "text", prompt="a", logit_bias={str(first): 100}, stop_token_ids=[first]
    )
    assert others
    assert (by_token["finish_reason"], by_token["stop_reason"]) == ("stop", first)


@KNOWING
async def test_tools(relay: Relay) -> None:
    named = {"type": "function", "function": {"name": "look_up"}}
    asked = {"tools": [TOOL], "tool_choice": named, "max_tokens": 120}
    choice = await relay.choice(**asked)
    [call] = choice["message"]["tool_calls"]
    assert call["function"]["name"] == "look_up"
    assert orjson.loads(call["function"]["arguments"])  # a small model may give no object
    events = await relay.stream(**asked)
    deltas = [event["choices"][0]["delta"] for event in events if event["choices"]]
    parts = [call["function"] for delta in deltas for call in delta.get("tool_calls") or []]
    assert "".join(part.get("name") or "" for part in parts) == "look_up"
    arguments = "".join(part.get("arguments") or "" for part in parts)
    assert arguments == call["function"]["arguments"]


async def test_a_prompt_that_is_too_long(relay: Relay) -> None:
    with pytest.raises(UpstreamRejected) as caught:
        await relay.generate("text", prompt="word " * 3000)
    assert caught.value.status == 400
    assert "1024" in caught.value.message


async def test_tokens_are_counted_as_it_counts_them(relay: Relay) -> None:
    for kind, more in (
        ("text", {}),
        ("text", {"prompt": "wörld <|im_end|>"}),
        ("chat", {}),
        ("chat", {"messages": [*SAY, {"role": "assistant", "content": "It"}],
                  "add_generation_prompt": False, "continue_final_message": True}),
    ):  # fmt: skip
        usage = (await relay.generate(kind, **more))["usage"]  # type: ignore[arg-type]
        assert await relay.count(kind, **more) == usage["prompt_tokens"], more  # type: ignore[arg-type]
    rendered = "<|im_start|>user\nHi<|im_end|>\n"
    usage = (await relay.generate("text", prompt=rendered))["usage"]
    assert await relay.count("chat", rendered) == usage["prompt_tokens"]
    assert await relay.count("text", prompt=[1, 2]) is None  # /tokenize takes one text


async def idle(relay: Relay, within: float) -> None:
    async with asyncio.timeout(within):
        while (await relay.load()).running:  # noqa: ASYNC110 - the server's state
            await asyncio.sleep(0.05)


LONG = {"min_tokens": 900, "max_tokens": 900, "ignore_eos": True}


async def test_leaving_a_stream_stops_it(relay: Relay) -> None:
    await idle(relay, 20)
    async with relay.kernel.stream("chat", relay.params("chat", stream=True, **LONG)) as answer:
        await anext(aiter(answer))
        busy = await relay.load()
        assert busy.running == 1
        assert busy.waiting == 0
        assert 0 < (busy.cache_use or 0) < 1
    await idle(relay, 1.5)  # the whole answer takes longer, as the next test sees


async def test_cancelling_an_answer_stops_it(relay: Relay) -> None:
    task = asyncio.create_task(relay.generate("text", **LONG))
    async with asyncio.timeout(10):
        while not (await relay.load()).running:  # noqa: ASYNC110 - the server's state
            await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await idle(relay, 1.5)


async def test_one_more_answer_than_it_takes_waits(relay: Relay) -> None:
    asked = [relay.generate("text", min_tokens=200, max_tokens=200) for _ in range(9)]
    running = asyncio.gather(*asked)
    seen = Load()
    async with asyncio.timeout(60):
        while not seen.waiting and not running.done():
            seen = await relay.load()
    answers = await running
    assert seen.waiting == 1
    assert seen.running in (7, 8)  # one may have ended just then
    assert {answer["usage"]["completion_tokens"] for answer in answers} == {200}


async def test_the_context_is_known(relay: Relay) -> None:
    [model] = relay.kernel.models()
    assert (model.name, model.max_context, model.owned_by) == (NAME, 1024, "vllm")


@pytest.mark.parametrize("with_key", [True, False])
async def test_a_bare_url_is_recognised(real_vllm: Live, with_key: bool) -> None:
    text = real_vllm.endpoint.url + (f"    Bearer    {real_vllm.key}" if with_key else "")
    async with Kernel(Settings(), [text], Plugins.discover()) as kernel:
        await kernel.settled(20)
        [status] = kernel.status()
        assert status.server.plugin == "vllm"
        assert [model.name for model in kernel.models()] == ([NAME] if with_key else [])
        if with_key:
            asked = {"model": NAME, "messages": SAY, **GREEDY}
            assert (await kernel.generate("chat", asked)).text


def processes(name: str) -> list[int]:
    """The processes that were started to serve a model by this name."""
    listed = subprocess.run(["ps", "-axwwo", "pid=,args="], capture_output=True, text=True)
    lines = [line for line in listed.stdout.splitlines() if f"--served-model-name {name}" in line]
    return sorted(int(line.split()[0]) for line in lines)


def group(leader: int) -> list[str]:
    """What still runs in a process group."""
    listed = subprocess.run(["ps", "-axwwo", "pgid=,stat=,args="], capture_output=True, text=True)
    lines = [line.split(None, 2) for line in listed.stdout.splitlines()]
    return [line[-1] for line in lines if line[0] == str(leader) and line[1][0] != "Z"]


async def until(condition: Callable[[], Any], seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while not await asyncio.to_thread(condition):  # noqa: ASYNC110 - a process
            await asyncio.sleep(0.1)


@pytest.fixture
def another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The server string of a vLLM that no other test uses."""
    if not os.environ.get(COMMAND):
        pytest.skip(f"{COMMAND} names no vLLM (see the plugin's README)")
    env, text = environment(OTHER, tmp_path)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    return text


def with_context(text: str, tokens: int) -> Kernel:
    spec = ServerSpec(server=text, tuning=Tuning(max_seq_len=tokens))
    return Kernel(Settings(drain_timeout=1), [spec], Plugins.discover("vllm"))


async def test_a_context_that_the_model_has_not_is_the_reason_shown(another: str) -> None:
    async with with_context(another, 10**7) as kernel:
        await kernel.settled(400)
        [status] = kernel.status()
    assert status.stage == "offline"
    assert "max_model_len (10000000)" in status.reason


async def test_its_whole_life(another: str) -> None:
    """With a context that was set for it, and is not the one of its arguments."""
    asked = {"messages": SAY, **GREEDY}
    async with with_context(another, 600) as kernel:
        await kernel.settled(400)
        [link] = [route.link for route in kernel.snapshot.routes.values()]
        [listed] = await link.plugin.list_models(link.server, link.client)
        assert listed.max_context == 600
        with pytest.raises(UpstreamRejected, match="600"):
            await kernel.generate("text", {"prompt": "word " * 700, **GREEDY})
        first = await kernel.generate("chat", asked)
        keeper, program, *_ = await asyncio.to_thread(processes, OTHER)
        assert len(await asyncio.to_thread(group, keeper)) >= 4  # with vLLM's own children
        os.kill(program, signal.SIGKILL)
        await until(lambda: group(keeper) == [], 20)
        async with asyncio.timeout(300):
            while True:
                try:
                    second = await kernel.generate("chat", asked)
                    break
                except RelayError:
                    await asyncio.sleep(0.5)
        if MODEL in os.environ:  # random weights are others each time
            assert second.text == first.text
        keeper = min(await asyncio.to_thread(processes, OTHER))
    await until(lambda: group(keeper) == [], 5)  # what was killed takes a moment to end
