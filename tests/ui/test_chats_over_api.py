"""Chats against a real API without a browser."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from types import ModuleType

import orjson
import pytest

from h2o_relay.errors import InvalidRequest
from h2o_relay.hookspecs import hookimpl
from h2o_relay.plugins import Plugins
from h2o_relay.spec import ServerSpec
from h2o_relay.testing import OpenAIWire, echo
from h2o_relay.testing.scripts import json
from h2o_relay.testing.upstream import Answer, Received, ScriptedUpstream, until
from h2o_relay.types import Capabilities, Tuning
from h2o_relay_ui import thread
from h2o_relay_ui.conversation import for_model

from .kit import ME, Talk, lines, over_api

pytestmark = pytest.mark.usefixtures("leaves_nothing")
WIRE = OpenAIWire()
LLAMA2 = "meta-llama/Llama-2-7b-chat-hf"
GUESSED = "what fits was estimated, since the server does not count"
LEFT_OUT = "2 older messages did not fit into the model's context and were left out"
SPOKEN = [
    ("user", "long ago " * 60), ("assistant", "a tale " * 60),
    ("user", "not so long ago"), ("assistant", "a word"),
]  # fmt: skip
TALK = [
    thread.question(text)
    if role == "user"
    else {**thread.answer("m"), "content": text, "state": "done"}
    for role, text in SPOKEN
]


async def going_on(talk: Talk, messages: list[thread.Message]) -> None:
    """The talk's chat begins with these messages."""
    chat = await talk.context.turns.shelf.create(ME, messages=messages)
    talk.id = chat.id


async def test_an_answer_is_what_was_said_and_its_figures() -> None:
    async with over_api("echo:echo?delay=0.01") as talk:
        question, answer = await talk.ask("one two three four")
    assert question["content"] == answer["content"] == "one two three four"
    assert (answer["state"], answer["finish_reason"]) == ("done", "stop")
    assert (answer["figures"]["tokens"], answer["figures"]["estimated"]) == (4, False)
    assert answer["figures"]["prompt_tokens"] == 4
    assert answer["figures"]["first_token"] >= 0.01


async def test_what_was_chosen_is_asked_for_and_nothing_else() -> None:
    texts = {
        "system": "Be brief.", "temperature": "0,5", "top_p": "0.9", "max_tokens": " 7 ",
        "seed": "-3", "stop": "END\n\\n",
    }  # fmt: skip
    async with over_api("echo:macaw", "echo:parrot") as talk:
        await talk.ask("hi", "parrot", texts)
        await talk.ask("    again", "macaw")
    first, second = (dict(request.params) for request in echo.journal.requests)
    assert first["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "hi"},
    ]
    chosen = {n: first[n] for n in ("model", "temperature", "top_p", "max_tokens", "seed", "stop")}
    assert chosen == {
        "model": "parrot", "temperature": 0.5, "top_p": 0.9, "max_tokens": 7, "seed": -3,
        "stop": ["END", "\n"],
    }  # fmt: skip
    assert set(second) == {"model", "messages", "stream", "stream_options"}
    assert [m["content"] for m in second["messages"]] == ["hi", "hi", "    again"]


@pytest.mark.parametrize(
    ("question", "said_before", "title", "line"),
    [
        ("!refuse 400", "", "⚠ No answer.", "the echo refuses, as it was told to"),
        ("!refuse 500", "", "⚠ No answer.", "the upstream server answered 500"),
        ("!break 2 a b", "!break 2 ", "⚠ The answer broke off.", "the echo broke off, as it was"),
        ("!cut 1 a b", "!cut ", "⚠ The answer broke off.", "the echo went away, as it was told to"),
    ],
)
async def test_what_went_wrong_is_said_in_the_thread(
    question: str, said_before: str, title: str, line: str
) -> None:
    async with over_api() as talk:
        messages = await talk.ask(question)
        _, *said, problem, figures = lines(messages)
        assert said == ([said_before] if said_before else [])
        assert problem.startswith(f"**{title}**")
        assert line in problem
        assert "etry" in problem  # what to try
        assert figures.startswith("<small>echo · ")
        await talk.ask("and now?")
    told = [m["content"] for m in echo.journal.requests[-1].params["messages"]]
    assert told == (
        [question, said_before, "and now?"] if said_before else [f"{question}\n\nand now?"]
    )


async def test_a_model_that_is_gone_is_named() -> None:
    async with over_api() as talk:
        with pytest.raises(InvalidRequest, match="eko is not there any more"):
            await talk.ask("hi", "eko")
        assert await talk.context.conversations.list(ME) == []
    assert echo.journal.requests == []


async def test_stop_closes_the_upstream() -> None:
    async with over_api("echo:echo?delay=0.05") as talk:
        turn = await talk.begin(" ".join(map(str, range(60))))
        await until(lambda: bool(turn.message["content"]), within=5)
        talk.chats.stop(talk.id)
        assert await until(lambda: echo.journal.cancelled == 1, within=5) < 2
    assert echo.journal.finished == 0


async def test_stop_before_the_first_word_closes_the_upstream() -> None:
    async with over_api("echo:echo?delay=30") as talk:
        await talk.begin("a b")
        await until(lambda: len(echo.journal.requests) == 1, within=5)
        talk.chats.stop(talk.id)
        await until(lambda: echo.journal.cancelled == 1, within=5)


async def test_answers_run_side_by_side() -> None:
    async with over_api("echo:echo?delay=0.1") as talk:

        async def one(number: int) -> str:
            own = Talk(talk.context, talk.chats)
            return str((await own.ask(f"{number} " + "x " * 8))[-1]["content"])

        async with asyncio.timeout(20):  # one after another they would take 9 seconds each
            answers = await asyncio.gather(*(one(number) for number in range(12)))
    assert answers == [f"{number} {'x ' * 8}" for number in range(12)]


# What was done to a question on its way to a model is said under the answer.


async def completes_text(request: Received, answer: Answer) -> None:
    """A server that only completes text, and does not count tokens."""
    if WIRE.is_listing(request):
        return await WIRE.listing(["up"])(request, answer)
    if request.path == "/v1/completions":
        return await WIRE.reply(request, ["fine ", "so far"])(request, answer)
    return await json({"error": {"message": "not here"}}, 404)(request, answer)


@contextlib.asynccontextmanager
async def over_text(tuning: Tuning) -> AsyncIterator[tuple[Talk, ScriptedUpstream]]:
    """A chat before a relay before such a server."""
    async with ScriptedUpstream(completes_text) as upstream:
        spec = ServerSpec(server=f"vllm:{upstream.url}/v1", base_model=LLAMA2, tuning=tuning)
        async with over_api(spec, plugins=Plugins.discover("vllm")) as talk:
            yield talk, upstream


async def test_messages_that_were_left_out_are_counted() -> None:
    async with over_text(Tuning(max_seq_len=400)) as (talk, upstream):
        await going_on(talk, TALK)
        answer = (await talk.ask("and now?"))[-1]
        prompt = orjson.loads(upstream.requests[-1].body)["prompt"]
        assert (answer["content"], answer["notes"]) == ("fine so far", [LEFT_OUT, GUESSED])
        assert "not so long ago [/INST] a word </s><s>[INST] and now? [/INST]" in prompt
        assert "tale" not in prompt


async def test_a_lowered_limit_is_noted_too() -> None:
    async with over_text(Tuning(max_seq_len=400, max_max_new_tokens=7)) as (talk, upstream):
        await going_on(talk, TALK)
        answer = (await talk.ask("and now?", None, {"max_tokens": "50"}))[-1]
        assert orjson.loads(upstream.requests[-1].body)["max_tokens"] == 7
    limit = "the answer's limit was lowered to 7 tokens"
    assert answer["notes"] == [LEFT_OUT, GUESSED, limit]


async def test_a_thread_is_trimmed_for_a_server_that_renders_by_itself() -> None:
    spec = ServerSpec(server="echo", tuning=Tuning(max_seq_len=400))
    async with over_api(spec) as talk:
        await going_on(talk, TALK)
        messages = await talk.ask("and now?")
    assert messages[-1]["notes"] == [LEFT_OUT, GUESSED]
    [request] = echo.journal.requests
    assert request.params["messages"] == for_model(messages[2:-1], "")
    assert "truncation" not in request.params


async def test_a_field_that_is_not_taken_is_named() -> None:
    @hookimpl
    def capabilities() -> Capabilities:
        return Capabilities(fields=frozenset({"model", "messages", "stream", "max_tokens"}))

    choosy = ModuleType("choosy")
    vars(choosy).update(vars(echo), capabilities=capabilities)
    async with over_api("echo", plugins=Plugins.of(echo=choosy)) as talk:
        first = await talk.ask("hi", None, {"temperature": "1", "max_tokens": "9"})
        second = await talk.ask("hi", None, {"max_tokens": "9"})
    assert first[-1]["notes"] == ["the server does not take temperature, which was ignored"]
    assert second[-1]["notes"] == []


async def test_a_note_is_there_as_long_as_its_answer() -> None:
    """So that it stays where the answer breaks off."""
    spec = ServerSpec(server="echo", tuning=Tuning(max_seq_len=400))
    async with over_api(spec) as talk:
        await going_on(talk, TALK)
        answer = (await talk.ask("!break 2 a b"))[-1]
    assert (answer["state"], answer["notes"]) == ("failed", [LEFT_OUT, GUESSED])
