"""/generate and /generate_stream, against the stand-in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

import h2o_relay_tgi
from h2o_relay.testing.scripts import hang, play
from h2o_relay.testing.upstream import Answer, Received, until
from h2o_relay.types import Request, Server

from .tgi_kit import PROMPT, Bench, bench, reason, said, usage
from .tgi_standin import TgiStandIn

SAYS = "Parrots eat seeds, nuts and fruit."
SPENT = {"prompt_tokens": 7, "completion_tokens": 7, "total_tokens": 14}
"""<s> and the six words of the prompt; the six words of the answer and </s>."""


@pytest.fixture
async def tgi() -> AsyncIterator[Bench]:
    async with bench() as made:
        yield made


async def test_a_text_is_completed(tgi: Bench) -> None:
    answer = await tgi.generate(max_tokens=50)
    assert answer.text == SAYS
    assert answer.finish_reason == "stop"
    assert answer.usage == SPENT
    assert answer.data["object"] == "text_completion"
    assert answer.data["id"].startswith("cmpl-")
    assert tgi.paths == ["/generate"]
    assert tgi.tgi.asked[0]["inputs"] == PROMPT


async def test_a_text_is_streamed_and_the_special_token_hidden(tgi: Bench) -> None:
    chunks = await tgi.stream(max_tokens=50)
    assert [chunk.text for chunk in chunks] == [
        "Parrots", " eat", " seeds,", " nuts", " and", " fruit.", "",
    ]  # fmt: skip
    assert reason(chunks) == ["stop"]
    assert usage(chunks) == []
    assert {event["object"] for c in chunks for event in c.events()} == {"text_completion"}
    assert tgi.paths == ["/generate_stream"]


async def test_a_rendered_conversation_is_answered_as_chat(tgi: Bench) -> None:
    whole = await tgi.generate("chat", rendered="<user>hi<bot>", stops=("<user>",))
    chunks = await tgi.stream("chat", rendered="<user>hi<bot>", stops=("<user>",))
    assert whole.data["object"] == "chat.completion"
    assert whole.data["choices"][0]["message"] == {"role": "assistant", "content": SAYS}
    assert said(chunks) == SAYS
    deltas = [chunk.events()[0]["choices"][0]["delta"] for chunk in chunks]
    assert deltas[:2] == [{"role": "assistant", "content": "Parrots"}, {"content": " eat"}]
    assert {e["object"] for c in chunks for e in c.events()} == {"chat.completion.chunk"}
    assert [asked["inputs"] for asked in tgi.tgi.asked] == ["<user>hi<bot>"] * 2
    assert tgi.sent["stop"] == ["<user>"]
    assert tgi.paths == ["/generate", "/generate_stream"]


async def test_what_only_messages_have_is_reported(tgi: Bench) -> None:
    tool = {"type": "function", "function": {"name": "f"}}
    asked = tgi.request("chat", rendered="hi", tools=[tool], tool_choice="auto", echo=True)
    assert (await h2o_relay_tgi.generate(tgi.server, tgi.client, asked)).text == SAYS
    assert asked.unread == ("tools", "echo")
    asked = tgi.request(guideline="be kind", stream=True)
    chunks = h2o_relay_tgi.stream(tgi.server, tgi.client, asked)
    assert (await anext(chunks)).text == "Parrots"
    await chunks.aclose()
    assert asked.unread == ("guideline",)


async def test_usage_ends_a_stream_that_asks_for_it(tgi: Bench) -> None:
    chunks = await tgi.stream(stream_options={"include_usage": True})
    assert usage(chunks) == [SPENT]
    assert chunks[-1].events()[0]["choices"] == []
    assert tgi.paths == ["/generate_stream"]


async def test_the_token_limit_is_a_finish_reason(tgi: Bench) -> None:
    assert (await tgi.generate(max_tokens=2)).finish_reason == "length"
    chunks = await tgi.stream(max_tokens=2)
    assert said(chunks) == "Parrots eat"
    assert reason(chunks) == ["length"]


@pytest.mark.parametrize("stop", [" nuts", "nuts", " seeds, nuts", "s, n"])
async def test_the_stop_sequence_is_not_in_the_text(tgi: Bench, stop: str) -> None:
    """TGI leaves it there, and cannot see one that ends within a token (the last)."""
    until_stop = SAYS[: SAYS.index(stop)]
    whole = await tgi.generate(stop=stop)
    assert (whole.text, whole.finish_reason) == (until_stop, "stop")
    chunks = await tgi.stream(stop=[stop])
    assert (said(chunks), reason(chunks)) == (until_stop, ["stop"])
    assert tgi.sent["stop"] == [stop]


async def test_what_only_begins_like_a_stop_is_sent_in_the_end(tgi: Bench) -> None:
    chunks = await tgi.stream(stop="fruit. And")
    assert said(chunks) == SAYS
    assert reason(chunks) == ["stop"]
    chunks = await tgi.stream(stop=" seeds, nuts and bolts", max_tokens=4)
    assert said(chunks) == "Parrots eat seeds, nuts"
    assert reason(chunks) == ["length"]


async def test_a_stop_beyond_the_four_that_tgi_takes_ends_the_answer_here(tgi: Bench) -> None:
    stops = ["!a", "!b", "!c", "!d", " seeds"]
    assert (await tgi.generate(stop=stops)).text == "Parrots eat"
    chunks = await tgi.stream(stop=stops, stream_options={"include_usage": True})
    assert said(chunks) == "Parrots eat"
    assert reason(chunks) == ["stop"]
    assert tgi.sent["stop"] == stops[:4]
    # TGI was cut off before it said how much it had used; its tokenizer knows.
    assert usage(chunks) == [{"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}]
    assert tgi.paths[-1] == "/tokenize"


async def test_leaving_a_stream_at_a_stop_closes_it() -> None:
    """TGI goes on if nobody tells it: the connection is what tells it."""
    async with bench() as tgi:
        whole = tgi.tgi.play

        def endless(request: Received) -> Any:
            answer = whole(request)
            return answer.upto(3) + play(hang)

        tgi.upstream.script = lambda r, a: endless(r)(r, a)
        chunks = await tgi.stream(stop=["ea"])
        assert said(chunks) == "Parrots "
        await until(lambda: tgi.upstream.gone, within=1)


async def test_closing_the_stream_closes_the_connection(tgi: Bench) -> None:
    whole = tgi.tgi.play
    tgi.upstream.script = lambda r, a: (whole(r).upto(2) + play(hang))(r, a)
    asked = tgi.request(stream=True)
    async with aclosing(h2o_relay_tgi.stream(tgi.server, tgi.client, asked)) as chunks:
        assert (await anext(chunks)).text == "Parrots"
    await until(lambda: tgi.upstream.gone, within=1)


async def test_a_whole_stream_leaves_the_connection_for_the_next(tgi: Bench) -> None:
    for _ in range(3):
        assert said(await tgi.stream()) == SAYS
        await asyncio.sleep(0.02)  # the end of the body comes after TGI's last event
    assert tgi.upstream.accepted == 1


async def test_keep_alive_comments_are_no_events(tgi: Bench) -> None:
    whole = tgi.tgi.play

    async def chatty(request: Received, answer: Answer) -> None:
        head, *steps = whole(request).steps
        assert isinstance(head, bytes)
        await answer.send(head)
        for step in steps:
            await answer.send(b"3\r\n:\n\n\r\n")
            assert isinstance(step, bytes)
            await answer.send(step)

    tgi.upstream.script = chatty
    assert said(await tgi.stream()) == SAYS


async def test_text_that_only_the_last_event_has_is_sent(tgi: Bench) -> None:
    """A character that the token limit cuts in two comes with the whole text alone."""
    whole = tgi.tgi.play

    async def cut(request: Received, answer: Answer) -> None:
        play_ = whole(request)
        body = play_.body.replace(b'"text":" fruit."', b'"text":""')
        await play_.rechunk(lambda _: [body])(request, answer)

    tgi.upstream.script = cut
    assert said(await tgi.stream()) == SAYS
    assert said(await tgi.stream(stop="ruit")) == "Parrots eat seeds, nuts and f"


async def test_several_prompts_are_several_choices(tgi: Bench) -> None:
    both = {"prompt": ["One", "One two"]}
    whole = await tgi.generate(**both)
    assert [choice["text"] for choice in whole.data["choices"]] == [SAYS, SAYS]
    assert [choice["index"] for choice in whole.data["choices"]] == [0, 1]
    assert whole.usage == {"prompt_tokens": 5, "completion_tokens": 14, "total_tokens": 19}
    chunks = await tgi.stream(**both, stream_options={"include_usage": True})
    ends = [
        (choice["index"], choice["finish_reason"])
        for c in chunks for e in c.events() for choice in e["choices"] if choice["finish_reason"]
    ]  # fmt: skip
    assert ends == [(0, "stop"), (1, "stop")]
    assert usage(chunks) == [whole.usage]


async def test_echo_puts_the_prompt_in_front(tgi: Bench) -> None:
    assert (await tgi.generate(echo=True)).text == PROMPT + SAYS
    chunks = await tgi.stream(echo=True, logprobs=1)
    assert said(chunks) == PROMPT + SAYS
    offsets = [
        o for c in chunks for o in (c.events()[0]["choices"][0].get("logprobs") or {}).get(
            "text_offset", [])
    ]  # fmt: skip
    assert offsets[0] == len(PROMPT)


async def test_log_probabilities_of_a_text(tgi: Bench) -> None:
    whole = (await tgi.generate(logprobs=2, max_tokens=3)).data["choices"][0]["logprobs"]
    assert whole["tokens"] == ["Parrots", " eat", " seeds,"]
    assert whole["token_logprobs"] == [-0.5] * 3
    assert whole["top_logprobs"][1] == {" eat": -0.5, " other1": -3.0}
    assert whole["text_offset"] == [0, 7, 11]
    chunks = await tgi.stream(logprobs=2, max_tokens=3)
    pieces = [c.events()[0]["choices"][0].get("logprobs") for c in chunks]
    merged = {name: [x for p in pieces if p for x in p[name]] for name in whole}
    assert merged == whole


async def test_log_probabilities_of_a_rendered_chat(tgi: Bench) -> None:
    asked: dict[str, Any] = {
        "rendered": "hi",
        "logprobs": True,
        "top_logprobs": 2,
        "stop": " seeds",
    }
    whole = (await tgi.generate("chat", **asked)).data["choices"][0]["logprobs"]["content"]
    assert [item["token"] for item in whole] == ["Parrots", " eat"]
    assert whole[0]["bytes"] == list(b"Parrots")
    assert [top["token"] for top in whole[1]["top_logprobs"]] == [" eat", " other1"]
    chunks = await tgi.stream("chat", **asked)
    streamed = [
        item
        for c in chunks
        for item in (c.events()[0]["choices"][0].get("logprobs") or {}).get("content", [])
    ]
    assert streamed == whole


async def test_details_are_handed_over_if_asked_for(tgi: Bench) -> None:
    answer = await tgi.generate(decoder_input_details=True, best_of=2)
    details = answer.data["choices"][0]["details"]
    assert [token["text"] for token in details["prefill"]][:2] == ["<s>", "Question:"]
    assert details["best_of_sequences"][0]["generated_text"] == SAYS
    assert "details" not in (await tgi.generate()).data["choices"][0]
    chunks = await tgi.stream(details=True, seed=5)
    assert chunks[-1].events()[0]["choices"][0]["details"] == {
        "finish_reason": "eos_token", "generated_tokens": 7, "seed": 5, "input_length": 7,
    }  # fmt: skip


async def test_truncate_and_the_tokens_of_an_older_server(tgi: Bench) -> None:
    """Before 2.3 a stream does not say how long the prompt was, before 1.4.3 no answer does."""
    whole = tgi.tgi.play

    async def older(request: Received, answer: Answer) -> None:
        play_ = whole(request)
        steps = [
            s.replace(b"x-prompt-tokens: 3\r\n", b"").replace(b',"input_length":3', b"")
            if isinstance(s, bytes) else s
            for s in play_.steps
        ]  # fmt: skip
        if request.path == "/generate_stream":
            body = play_.body.replace(b',"input_length":3', b"")
            await play_.rechunk(lambda _: [body])(request, answer)
        else:
            await play(*steps)(request, answer)

    tgi.upstream.script = older
    asked = {"truncate": 3, "stream_options": {"include_usage": True}}
    chunks = await tgi.stream(**asked)
    assert usage(chunks)[0]["prompt_tokens"] == 3
    answer = await tgi.generate(truncate=3)
    assert (answer.usage or {})["prompt_tokens"] == 3
    assert tgi.paths == ["/generate_stream", "/tokenize", "/generate", "/tokenize"]


def test_fix_text_removes_the_stop() -> None:
    server = h2o_relay_tgi.parse_server_string("tgi:host")
    assert isinstance(server, Server)
    tgi = Bench(TgiStandIn(), None, server, None)
    asked: Request = tgi.request("chat", rendered="p", stops=("\nUser:",), stop=["END"])
    fix = h2o_relay_tgi.fix_text
    assert fix(server, asked, "An answer.\nUser: and", True) == "An answer."
    assert fix(server, asked, "An answer.END", False) == "An answer."
    assert fix(server, asked, "An answer.\nUse", True) == "An answer.\nUse"
