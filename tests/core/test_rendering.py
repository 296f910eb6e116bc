"""Chat over servers that only complete text: the right prompt, exact stops, nothing unsaid."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import orjson
import pytest

from h2o_relay.errors import ContextTooLong, InvalidRequest, UpstreamBadResponse
from h2o_relay.kernel import Kernel
from h2o_relay.plugins import Plugins
from h2o_relay.prompts.catalog import get
from h2o_relay.prompts.render import render
from h2o_relay.prompts.stops import cut
from h2o_relay.registry import route
from h2o_relay.spec import ServerSpec
from h2o_relay.testing import OpenAIWire
from h2o_relay.testing.scripts import json, sse
from h2o_relay.testing.settings import quick
from h2o_relay.testing.upstream import Answer, Received, ScriptedUpstream, until
from h2o_relay.types import Capabilities, Tuning

pytestmark = pytest.mark.usefixtures("leaves_nothing")
WIRE = OpenAIWire()
LLAMA2 = "meta-llama/Llama-2-7b-chat-hf"
HISTORY = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "one " * 20},
    {"role": "assistant", "content": "first"},
    {"role": "user", "content": "two " * 20},
    {"role": "assistant", "content": "second"},
    {"role": "user", "content": "three"},
]
ASK = {"messages": [{"role": "user", "content": "hi"}]}
RENDERED = {"translated": "chat-to-completions"}
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def completion(text: str, index: int = 0, reason: str | None = None) -> dict[str, Any]:
    return {
        "id": "cmpl-1", "object": "text_completion", "created": 1, "model": "up",
        "choices": [{"index": index, "text": text, "logprobs": None, "finish_reason": reason}],
    }  # fmt: skip


USAGE = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}


class TextServer:
    """Completes with `pieces`, whole or streamed; counts a token for each word where `counts`."""

    def __init__(self, *pieces: str, reason: str = "stop", counts: bool = False) -> None:
        self.pieces, self.reason, self.counts = pieces, reason, counts
        self.endless = False

    async def __call__(self, request: Received, answer: Answer) -> None:
        if WIRE.is_listing(request):
            return await WIRE.listing(["up"])(request, answer)
        body = orjson.loads(request.body)
        if request.path == "/tokenize":
            count = {"count": len(body["prompt"].split())}
            return await json(count if self.counts else {}, 200 if self.counts else 404)(
                request, answer
            )
        assert request.path == "/v1/completions"
        if not body.get("stream"):
            text = "".join(self.pieces)
            return await json({**completion(text, reason=self.reason), "usage": USAGE})(
                request, answer
            )
        events = [completion(piece) for piece in self.pieces]
        events.append(completion("", reason=self.reason))
        if (body.get("stream_options") or {}).get("include_usage"):
            events.append({**completion(""), "choices": [], "usage": USAGE})
        return await sse([orjson.dumps(event) for event in events])(request, answer)


def sent(upstream: ScriptedUpstream) -> dict[str, Any]:
    last = [r for r in upstream.requests if r.path == "/v1/completions"][-1]
    found: dict[str, Any] = orjson.loads(last.body)
    return found


@contextlib.asynccontextmanager
async def behind(
    server: TextServer, model: str = LLAMA2, tuning: Tuning | None = None,
    max_context: int | None = None,
) -> AsyncIterator[tuple[Kernel, ScriptedUpstream]]:  # fmt: skip
    """A kernel with the server behind `vllm:` as `model`."""
    async with ScriptedUpstream(server) as upstream:
        given = [(f"vllm:{upstream.url}/v1", model)]
        async with Kernel(quick(), given, Plugins.discover("vllm")) as kernel:
            await kernel.settled(20)
            tune(kernel, tuning or Tuning(), max_context)
            yield kernel, upstream
        await until(lambda: upstream.open == 0, within=1)


def tune(kernel: Kernel, tuning: Tuning, max_context: int | None) -> None:
    """Set what an operator would have set."""
    found = next(iter(kernel.snapshot.routes.values()))
    deployment = replace(found.deployment, tuning=tuning, max_context=max_context)
    routes = {deployment.name: route(deployment, found.link, found.entry)}
    kernel.snapshot = replace(kernel.snapshot, routes=routes)


async def both(kernel: Kernel, **params: Any) -> tuple[str, str, list[Any]]:
    """The whole answer's text, the streamed one's, and the stream's events."""
    asked = {**ASK, **params}
    whole = await kernel.generate("chat", asked)
    text, events = "", []
    async with kernel.stream("chat", {**asked, "stream": True}) as answer:
        async for chunk in answer:
            text += chunk.text
            events += chunk.events()
    return whole.text, text, events


def splits(text: str) -> Sequence[tuple[str, ...]]:
    """The text whole, in single characters, and in two pieces at every place."""
    return [(text,), tuple(text), *((text[:i], text[i:]) for i in range(1, len(text)))]


@pytest.mark.parametrize(
    ("model", "tuning", "prompt_type"),
    [
        (LLAMA2, Tuning(), "llama2"),
        ("HuggingFaceH4/zephyr-7b-beta", Tuning(), "zephyr"),
        ("h2oai/h2ogpt-oasst1-512-12b", Tuning(), "human_bot"),
        ("anything", Tuning(prompt_type="vicuna11"), "vicuna11"),
        (LLAMA2, Tuning(prompt_type="plain"), "plain"),
    ],
)
async def test_the_prompt_is_the_types(model: str, tuning: Tuning, prompt_type: str) -> None:
    async with behind(TextServer("fine"), model, tuning) as (kernel, upstream):
        await kernel.generate("chat", {"messages": HISTORY, "temperature": 0, "top_k": 3})
        expected = render(prompt_type, HISTORY)
        body = sent(upstream)
        assert body.pop("prompt") == expected.prompt
        assert body.pop("stop", []) == list(expected.stops)
        # The server's own limit would be 16 tokens.
        assert body == {"model": "up", "temperature": 0, "top_k": 3, "max_tokens": 1024}


async def test_a_chat_template_renders() -> None:
    async with behind(TextServer("fine<|im_end|>"), "x", Tuning(chat_template=TEMPLATE)) as (k, up):
        whole, streamed, _ = await both(k)
        assert (whole, streamed) == ("fine", "fine")
        assert sent(up)["prompt"] == ("<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n")
        assert sent(up)["stop"] == ["<|im_end|>"]


async def test_a_request_may_choose_a_type_but_no_template() -> None:
    async with behind(TextServer("fine"), "x", Tuning(prompt_type="plain")) as (kernel, upstream):
        asked = {**ASK, "prompt_type": "llama2", "chat_template": "{{ 7 * 7 }}"}
        found = await kernel.generate("chat", asked)
        assert sent(upstream)["prompt"] == render("llama2", ASK["messages"]).prompt
        assert "prompt_type" not in sent(upstream)
        assert found.dropped == ("chat_template",)
        with pytest.raises(InvalidRequest, match="no prompt type"):
            await kernel.generate("chat", {**ASK, "prompt_type": "lama2"})


async def test_an_unknown_model_chats_natively_where_the_server_can() -> None:
    async def server(request: Received, answer: Answer) -> None:
        if WIRE.is_listing(request):
            return await WIRE.listing(["up"])(request, answer)
        return await WIRE.reply(request, ["native"])(request, answer)

    async with ScriptedUpstream(server) as upstream:
        given = [(f"vllm:{upstream.url}/v1", "nobody/knows-me")]
        async with Kernel(quick(), given, Plugins.discover("vllm")) as kernel:
            assert (await kernel.generate("chat", ASK)).text == "native"
        assert upstream.requests[-1].path == "/v1/chat/completions"


@pytest.mark.parametrize("prompt_type", ["openai_chat", "llama2", "plain"])
async def test_a_string_that_asks_for_chat_gets_the_servers_own(prompt_type: str) -> None:
    """h2oGPT's recipe for Ollama has `--prompt_type=openai_chat`; it ignores others there."""

    async def server(request: Received, answer: Answer) -> None:
        if WIRE.is_listing(request):
            return await WIRE.listing(["up"])(request, answer)
        return await WIRE.reply(request, ["native"])(request, answer)

    async with ScriptedUpstream(server) as upstream:
        spec = ServerSpec(
            server=f"vllm_chat:{upstream.url}/v1", base_model="llama2",
            tuning=Tuning(prompt_type=prompt_type),
        )  # fmt: skip
        async with Kernel(quick(), [spec], Plugins.discover("vllm")) as kernel:
            assert (await kernel.generate("chat", {"messages": HISTORY})).text == "native"
        assert upstream.requests[-1].path == "/v1/chat/completions"
        assert orjson.loads(upstream.requests[-1].body)["messages"] == HISTORY


async def test_a_prompt_dict_of_a_request_is_bounded() -> None:
    async with behind(TextServer("fine"), "x", Tuning(prompt_type="plain")) as (kernel, _):
        for given in (
            {"terminate_response": ["x"] * 1000},
            {"PreInstruct": "x" * 5000},
            {"terminate_response": ["x" * 5000]},
        ):
            with pytest.raises(InvalidRequest):
                await kernel.generate("chat", {**ASK, "prompt_dict": given})


async def test_a_broken_event_is_the_servers_fault() -> None:
    async def server(request: Received, answer: Answer) -> None:
        if WIRE.is_listing(request):
            return await WIRE.listing(["up"])(request, answer)
        return await sse([orjson.dumps(completion("good")), b"{broken"])(request, answer)

    async with ScriptedUpstream(server) as upstream:
        given = [(f"vllm:{upstream.url}/v1", LLAMA2)]
        async with (
            Kernel(quick(), given, Plugins.discover("vllm")) as kernel,
            kernel.stream("chat", ASK) as answer,
        ):
            assert (await anext(answer)).text == "good"
            with pytest.raises(UpstreamBadResponse):
                await anext(answer)


class TestCutting:
    STOPS = get("llama2").stops

    @pytest.mark.parametrize("pieces", splits("It is.</s>[INST] no"))
    async def test_at_every_border(self, pieces: tuple[str, ...]) -> None:
        async with behind(TextServer(*pieces)) as (kernel, _):
            whole, streamed, events = await both(kernel)
            assert whole == streamed == "It is."
            assert [e["choices"][0]["finish_reason"] for e in events][-1] == "stop"

    @pytest.mark.parametrize(
        "text", ["", "plain text", "a < b [IN", "</s>", "[/INST] x", "</", "a</s"]
    )
    async def test_as_one_cut_of_the_whole(self, text: str) -> None:
        expected = cut(text, self.STOPS, get("llama2").endings)[0]
        for pieces in splits(text) if text else [("",)]:
            async with behind(TextServer(*pieces)) as (kernel, _):
                whole, streamed, _ = await both(kernel)
                assert whole == expected
                assert streamed == expected

    async def test_the_callers_own_stops_too(self) -> None:
        async with behind(TextServer("one ", "END", " two</s>")) as (kernel, upstream):
            whole, streamed, _ = await both(kernel, stop="END")
            assert (whole, streamed) == ("one ", "one ")
            assert sent(upstream)["stop"] == ["END", *self.STOPS]

    async def test_a_server_that_takes_few_stops_is_told_few(self) -> None:
        server = TextServer("one</s>two")
        async with behind(server) as (kernel, upstream):
            found = next(iter(kernel.snapshot.routes.values()))
            found.link.capabilities = Capabilities(stops=3)
            whole, streamed, _ = await both(kernel, stop=["x", "y"])
            assert sent(upstream)["stop"] == ["x", "y", self.STOPS[0]]
            assert (whole, streamed) == ("one", "one")

    async def test_a_server_that_goes_on_is_left(self) -> None:
        server = TextServer("fine</s>", *["more "] * 10_000)
        async with behind(server) as (kernel, upstream):
            async with kernel.stream("chat", {**ASK, "stream": True}) as answer:
                text = "".join([chunk.text async for chunk in answer])
            assert text == "fine"
            await until(lambda: upstream.gone, within=10)

    async def test_usage_is_told_after_a_cut(self) -> None:
        async with behind(TextServer("fine</s>", "x", "y")) as (kernel, _):
            _, _, events = await both(kernel, stream_options={"include_usage": True})
            assert events[-1]["usage"] == USAGE
            assert events[-1]["choices"] == []

    async def test_every_choice_has_its_own_end(self) -> None:
        async def server(request: Received, answer: Answer) -> None:
            if WIRE.is_listing(request):
                return await WIRE.listing(["up"])(request, answer)
            events = [
                completion("a"), completion("b", 1), completion("</s>x"), completion("c", 1),
                completion("never"), completion("</s>", 1), completion("d", 1),
            ]  # fmt: skip
            return await sse([orjson.dumps(event) for event in events])(request, answer)

        async with ScriptedUpstream(server) as upstream:
            given = [(f"vllm:{upstream.url}/v1", LLAMA2)]
            async with Kernel(quick(), given, Plugins.discover("vllm")) as kernel:
                texts = {0: "", 1: ""}
                async with kernel.stream("chat", {**ASK, "n": 2, "stream": True}) as answer:
                    async for chunk in answer:
                        for event in chunk.events():
                            for choice in event["choices"]:
                                texts[choice["index"]] += choice["delta"].get("content", "")
                assert texts == {0: "a", 1: "bc"}


class TestFitting:
    async def test_the_oldest_turns_go_first_and_it_is_said(self) -> None:
        server = TextServer("fine", counts=True)
        async with behind(server, max_context=45) as (kernel, upstream):
            found = await kernel.generate("chat", {"messages": HISTORY, "max_tokens": 5})
            assert found.notes == {"trimmed": "2", **RENDERED}
            kept = [HISTORY[0], *HISTORY[3:]]
            assert sent(upstream)["prompt"] == render("llama2", kept).prompt
            async with kernel.stream("chat", {"messages": HISTORY, "max_tokens": 5}) as answer:
                assert answer.notes == {"trimmed": "2", **RENDERED}
                assert "".join([chunk.text async for chunk in answer]) == "fine"

    async def test_what_fits_is_not_touched(self) -> None:
        async with behind(TextServer("fine"), max_context=4096) as (kernel, upstream):
            found = await kernel.generate("chat", {"messages": HISTORY})
            assert found.notes == RENDERED
            assert sent(upstream)["prompt"] == render("llama2", HISTORY).prompt
            assert [r.path for r in upstream.requests if r.path == "/tokenize"] == []

    async def test_without_a_tokenizer_it_is_estimated(self) -> None:
        small = Tuning(prompt_type="human_bot")
        async with behind(TextServer("fine"), "x", small, 100) as (kernel, upstream):
            found = await kernel.generate("chat", {"messages": HISTORY, "max_tokens": 5})
            assert found.notes is not None
            assert int(found.notes["trimmed"]) >= 2
            assert found.notes["trimmed-by"] == "estimate"
            assert "Be brief." in sent(upstream)["prompt"]
            assert "three" in sent(upstream)["prompt"]

    async def test_a_last_turn_that_is_too_long(self) -> None:
        async with behind(TextServer("fine", counts=True), max_context=20) as (kernel, _):
            long = [{"role": "user", "content": "word " * 50}]
            with pytest.raises(ContextTooLong) as caught:
                await kernel.generate("chat", {"messages": long})
            assert caught.value.code == "context_length_exceeded"

    async def test_who_disables_truncation_is_refused(self) -> None:
        server = TextServer("fine", counts=True)
        async with behind(server, max_context=45) as (kernel, _):
            asked = {"messages": HISTORY, "max_tokens": 5, "truncation": "disabled"}
            with pytest.raises(ContextTooLong, match="truncation is disabled"):
                await kernel.generate("chat", asked)

    async def test_a_chat_without_a_limit_has_the_rest_of_the_context(self) -> None:
        server = TextServer("fine", counts=True)
        async with behind(server, max_context=200) as (kernel, upstream):
            await kernel.generate("chat", ASK)
            tokens = len(render("llama2", ASK["messages"]).prompt.split())
            assert sent(upstream)["max_tokens"] == 200 - tokens

    async def test_a_limit_that_leaves_no_room_is_lowered_and_it_is_said(self) -> None:
        small = Tuning(prompt_type="human_bot")
        server = TextServer("fine", counts=True)
        async with behind(server, "x", small, 40) as (kernel, upstream):
            found = await kernel.generate("chat", {**ASK, "max_tokens": 400})
            limit = sent(upstream)["max_tokens"]
            assert limit < 40
            assert found.notes == {"limited": f"max_tokens={limit}", **RENDERED}


class TestTuning:
    async def test_default_and_cap_of_new_tokens(self) -> None:
        tuning = Tuning(max_new_tokens=64, max_max_new_tokens=128)
        async with behind(TextServer("fine"), tuning=tuning) as (kernel, upstream):
            found = await kernel.generate("chat", ASK)
            assert (sent(upstream)["max_tokens"], found.notes) == (64, RENDERED)
            found = await kernel.generate("chat", {**ASK, "max_tokens": 100})
            assert (sent(upstream)["max_tokens"], found.notes) == (100, RENDERED)
            found = await kernel.generate("chat", {**ASK, "max_tokens": 1000})
            assert sent(upstream)["max_tokens"] == 128
            assert found.notes == {"limited": "max_tokens=128", **RENDERED}
            found = await kernel.generate("text", {"prompt": "x", "max_tokens": 1000})
            assert sent(upstream)["max_tokens"] == 128

    async def test_the_cap_holds_by_whatever_name(self) -> None:
        tuning = Tuning(max_max_new_tokens=100)
        async with behind(TextServer("fine"), tuning=tuning) as (kernel, upstream):
            both_names = {"max_tokens": 999, "max_completion_tokens": 1}
            await kernel.generate("text", {"prompt": "x", **both_names})
            assert sent(upstream)["max_tokens"] == 100
            await kernel.generate("text", {"prompt": "x", "max_completion_tokens": 999})
            assert sent(upstream)["max_tokens"] == 100
            found = await kernel.generate("chat", {**ASK, "max_completion_tokens": 999})
            assert sent(upstream)["max_tokens"] == 100
            assert found.notes == {"limited": "max_completion_tokens=100", **RENDERED}

    async def test_a_choice_that_the_operator_sets_is_waited_for(self) -> None:
        tuning = Tuning(overrides={"n": 1})
        async with behind(TextServer("fine"), tuning=tuning) as (kernel, upstream):
            assert (await both(kernel, n=2))[1] == "fine"
            assert sent(upstream)["n"] == 1

    async def test_overrides_win(self) -> None:
        tuning = Tuning(overrides={"temperature": 0.5})
        async with behind(TextServer("fine"), tuning=tuning) as (kernel, upstream):
            await kernel.generate("chat", {**ASK, "temperature": 1})
            assert sent(upstream)["temperature"] == 0.5

    async def test_a_system_prompt_for_those_who_bring_none(self) -> None:
        tuning = Tuning(system_prompt="Be kind.")
        async with behind(TextServer("fine"), tuning=tuning) as (kernel, upstream):
            await kernel.generate("chat", ASK)
            assert "<<SYS>>\nBe kind.\n<</SYS>>" in sent(upstream)["prompt"]
            await kernel.generate("chat", {"messages": HISTORY})
            assert "Be kind." not in sent(upstream)["prompt"]

    async def test_turns_are_waited_for(self) -> None:
        async with behind(TextServer("fine"), tuning=Tuning(concurrency=1)) as (kernel, _):
            async with kernel.stream("chat", ASK) as first:
                async for _ in first:
                    break
                second = kernel.stream("chat", ASK)
                task = asyncio.ensure_future(second.__aenter__())
                await asyncio.sleep(0.05)
                assert not task.done()
            answer = await asyncio.wait_for(task, 20)
            assert "".join([chunk.text async for chunk in answer]) == "fine"
            await second.__aexit__(None, None, None)


async def test_logprobs_have_a_chats_shape() -> None:
    async def server(request: Received, answer: Answer) -> None:
        if WIRE.is_listing(request):
            return await WIRE.listing(["up"])(request, answer)
        assert orjson.loads(request.body)["logprobs"] == 2
        found = completion("hi", reason="stop")
        found["choices"][0]["logprobs"] = {
            "tokens": ["hi"], "token_logprobs": [-0.5], "top_logprobs": [{"hi": -0.5, "ho": -2.0}],
            "text_offset": [0],
        }  # fmt: skip
        return await json(found)(request, answer)

    async with ScriptedUpstream(server) as upstream:
        given = [(f"vllm:{upstream.url}/v1", LLAMA2)]
        async with Kernel(quick(), given, Plugins.discover("vllm")) as kernel:
            found = await kernel.generate("chat", {**ASK, "logprobs": True, "top_logprobs": 2})
    content = found.data["choices"][0]["logprobs"]["content"]
    assert [(t["token"], t["logprob"], t["bytes"]) for t in content] == [("hi", -0.5, [104, 105])]
    assert [t["token"] for t in content[0]["top_logprobs"]] == ["hi", "ho"]


class TestTruncation:
    """`truncation: auto` for servers that render by themselves."""

    @staticmethod
    @contextlib.asynccontextmanager
    async def chatting(limit: int | None) -> AsyncIterator[tuple[Kernel, ScriptedUpstream]]:
        async def server(request: Received, answer: Answer) -> None:
            if WIRE.is_listing(request):
                return await WIRE.listing(["up"])(request, answer)
            if request.path == "/tokenize":
                messages = orjson.loads(request.body)["messages"]
                count = sum(len(m["content"].split()) for m in messages)
                return await json({"count": count})(request, answer)
            return await WIRE.reply(request, ["fine"])(request, answer)

        async with ScriptedUpstream(server) as upstream:
            given = [(f"vllm_chat:{upstream.url}/v1", "m")]
            async with Kernel(quick(), given, Plugins.discover("vllm")) as kernel:
                await kernel.settled(20)
                tune(kernel, Tuning(), limit)
                yield kernel, upstream

    @pytest.mark.parametrize(("limit", "left"), [(40, 2), (70, 0), (None, 0), (3, 0)])
    async def test_who_asks_is_trimmed(self, limit: int | None, left: int) -> None:
        """With room for nothing the server gets it all, and refuses it in its own words."""
        asked = {"messages": HISTORY, "max_tokens": 12, "truncation": "auto"}
        async with self.chatting(limit) as (kernel, upstream):
            found = await kernel.generate("chat", asked)
            body = orjson.loads(upstream.requests[-1].body)
            assert found.notes == ({"trimmed": str(left)} if left else None)
            kept = [HISTORY[0], *HISTORY[1 + left :]] if left else HISTORY
            assert body == {"messages": kept, "max_tokens": 12, "model": "up"}
            assert found.dropped == ()

    async def test_an_estimate_is_marked(self) -> None:
        async with self.chatting(60) as (kernel, _):
            found = next(iter(kernel.snapshot.routes.values()))
            found.link.capabilities = Capabilities(tokenizer=False)
            asked = {"messages": HISTORY, "max_tokens": 12, "truncation": "auto"}
            notes = (await kernel.generate("chat", asked)).notes
            assert notes is not None
            assert int(notes["trimmed"]) >= 2
            assert notes["trimmed-by"] == "estimate"

    async def test_who_does_not_is_not(self) -> None:
        asked = {"model": "m", "messages": HISTORY}
        async with self.chatting(20) as (kernel, upstream):
            await kernel.generate("chat", asked)
            assert orjson.loads(upstream.requests[-1].body)["messages"] == HISTORY
            await kernel.generate("chat", {**asked, "truncation": "disabled"})
            assert orjson.loads(upstream.requests[-1].body)["messages"] == HISTORY


async def test_which_of_the_callers_stop_strings_it_was_is_told() -> None:
    async with behind(TextServer("one ST", "OP two")) as (kernel, _):
        asked = {**ASK, "stop": ["STOP", "never"]}
        found = await kernel.generate("chat", asked)
        async with kernel.stream("chat", {**asked, "stream": True}) as answer:
            events = [event async for chunk in answer for event in chunk.events()]
    [choice] = found.data["choices"]
    last = events[-1]["choices"][0]
    for one in (choice, last):
        assert (one["finish_reason"], one["stop_reason"]) == ("stop", "STOP")
    async with behind(TextServer("one</s>two")) as (kernel, _):  # the prompt type's own
        assert "stop_reason" not in (await kernel.generate("chat", ASK)).data["choices"][0]


async def test_a_stream_tells_its_usage_apart_and_is_of_one_time() -> None:
    """llama.cpp's text completions have it in the event that finishes, and a time in each."""

    async def reply(request: Received, answer: Answer) -> None:
        if WIRE.is_listing(request):
            return await WIRE.listing(["up"])(request, answer)
        last = {**completion("", reason="stop"), "created": 3, "usage": USAGE}
        events = [completion("a"), {**completion("b"), "created": 2}, last]
        return await sse([orjson.dumps(event) for event in events])(request, answer)

    async with behind(reply) as (kernel, _):  # type: ignore[arg-type]
        asked = {**ASK, "stream": True, "stream_options": {"include_usage": True}}
        async with kernel.stream("chat", asked) as answer:
            events = [event async for chunk in answer for event in chunk.events()]
    assert {event["created"] for event in events} == {1}
    assert [event.get("usage") for event in events] == [None, None, None, USAGE]
    assert events[-1]["choices"] == []
    assert events[-2]["choices"][0]["finish_reason"] == "stop"
