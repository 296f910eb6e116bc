"""What was done to a question on its way to a model is said under the answer."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from types import ModuleType

import orjson
import pytest

from h2o_relay.hookspecs import hookimpl
from h2o_relay.plugins import Plugins
from h2o_relay.spec import ServerSpec
from h2o_relay.testing import OpenAIWire, echo
from h2o_relay.testing.scripts import json
from h2o_relay.testing.upstream import Answer, Received, ScriptedUpstream
from h2o_relay.types import Capabilities, Tuning
from h2o_relay_ui.assistant import Assistant, Wishes
from h2o_relay_ui.conversation import Message, footnote, for_model, said

from .kit import asked, page

pytestmark = pytest.mark.usefixtures("leaves_nothing")
WIRE = OpenAIWire()
LLAMA2 = "meta-llama/Llama-2-7b-chat-hf"
GUESSED = "what fits was estimated, since the server does not count"
LEFT_OUT = "2 older messages did not fit into the model's context and were left out"
TALK = [
    said("user", "long ago " * 60),
    said("assistant", "a tale " * 60),
    said("user", "not so long ago"),
    said("assistant", "a word"),
    said("user", "and now?"),
]


async def completes_text(request: Received, answer: Answer) -> None:
    """A server that only completes text, and does not count tokens."""
    if WIRE.is_listing(request):
        return await WIRE.listing(["up"])(request, answer)
    if request.path == "/v1/completions":
        return await WIRE.reply(request, ["fine ", "so far"])(request, answer)
    return await json({"error": {"message": "not here"}}, 404)(request, answer)


@contextlib.asynccontextmanager
async def text_page(tuning: Tuning) -> AsyncIterator[tuple[Assistant, ScriptedUpstream]]:
    """A page before a relay before such a server."""
    async with ScriptedUpstream(completes_text) as upstream:
        spec = ServerSpec(server=f"vllm:{upstream.url}/v1", base_model=LLAMA2, tuning=tuning)
        async with page(spec, plugins=Plugins.discover("vllm")) as assistant:
            yield assistant, upstream


async def answered(
    assistant: Assistant, history: list[Message], wishes: Wishes | None = None
) -> list[Message]:
    """The thread's new messages at the answer's end."""
    seen = [h async for h in assistant.answer(history, wishes or Wishes(), "s")]
    return seen[-1][len(history) :]


async def test_messages_that_were_left_out_are_counted() -> None:
    async with text_page(Tuning(max_seq_len=400)) as (assistant, upstream):
        shown = await answered(assistant, TALK)
        prompt = orjson.loads(upstream.requests[-1].body)["prompt"]
        assert shown == [said("assistant", "fine so far"), footnote([LEFT_OUT, GUESSED])]
        assert "not so long ago [/INST] a word </s><s>[INST] and now? [/INST]" in prompt
        assert "tale" not in prompt
        assert await answered(assistant, TALK[2:]) == [said("assistant", "fine so far")]


async def test_a_lowered_limit_and_a_trimmed_thread_are_one_footnote() -> None:
    async with text_page(Tuning(max_seq_len=400, max_max_new_tokens=7)) as (assistant, upstream):
        shown = await answered(assistant, TALK, Wishes(max_tokens="50"))
        assert orjson.loads(upstream.requests[-1].body)["max_tokens"] == 7
    limit = "the answer's limit was lowered to 7 tokens"
    assert shown[1:] == [footnote([LEFT_OUT, GUESSED, limit])]


async def test_a_thread_is_trimmed_for_a_server_that_renders_by_itself() -> None:
    spec = ServerSpec(server="echo", tuning=Tuning(max_seq_len=400))
    async with page(spec) as assistant:
        assert await answered(assistant, TALK) == [
            said("assistant", "and now?"), footnote([LEFT_OUT, GUESSED])
        ]  # fmt: skip
    [request] = echo.journal.requests
    assert request.params["messages"] == for_model(TALK[2:], "")
    assert "truncation" not in request.params


async def test_a_field_that_is_not_taken_is_named() -> None:
    @hookimpl
    def capabilities() -> Capabilities:
        return Capabilities(fields=frozenset({"model", "messages", "stream", "max_tokens"}))

    choosy = ModuleType("choosy")
    vars(choosy).update(vars(echo), capabilities=capabilities)
    async with page("echo", plugins=Plugins.of(echo=choosy)) as assistant:
        shown = await answered(assistant, asked("hi"), Wishes(temperature="1", max_tokens="9"))
        assert await answered(assistant, asked("hi"), Wishes(max_tokens="9")) == shown[:1]
    line = "the server does not take temperature, which was ignored"
    assert shown == [said("assistant", "hi"), footnote([line])]


async def test_a_footnote_is_there_as_long_as_its_answer() -> None:
    """So that it stays where the reader stops the answer, or where that breaks off."""
    spec = ServerSpec(server="echo", tuning=Tuning(max_seq_len=400))
    history = [*TALK[:-1], said("user", "!break 2 a b")]
    async with page(spec) as assistant:
        seen = [h[5:] async for h in assistant.answer(history, Wishes(), "s")]
    first, *_, last = seen[0], *seen
    assert first[0]["content"][0]["text"].startswith("!break")
    assert first[1] == last[-1] == footnote([LEFT_OUT, GUESSED])
    assert last[1]["metadata"] == {"id": "remark"}


def test_a_footnote_is_no_part_of_the_conversation() -> None:
    history = [said("user", "one"), said("assistant", "uno"), footnote(["a `b`", "c"])]
    assert for_model(history, "") == for_model(history[:2], "")
    assert history[2]["content"][0]["text"] == "<small>A \\`b\\`\\. C\\.</small>"


async def test_what_is_hidden_cannot_be_picked() -> None:
    specs = [
        ServerSpec(server="echo:a", visible=False),
        ServerSpec(server="echo:b", base_model="org/b"),
        ServerSpec(server="echo:b", base_model="org/b", display_name="bee"),
    ]
    async with page(*specs) as assistant:
        assert await assistant.models() == ["org/b", "bee"]
        problem, *_ = await answered(assistant, asked("hi"), Wishes(model="a"))
    assert problem["metadata"] == {"id": "remark"}
    assert echo.journal.requests == []
