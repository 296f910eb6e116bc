"""The official OpenAI client's chats against `h2o run`: the embedded model, and a llama.cpp server
by two plugins.
"""

from __future__ import annotations

import json
import math
from typing import Any

import httpx
import openai
import pytest

from ..conftest import KEY
from .kit import (
    CHATS,
    EMBEDDED,
    ENDS,
    EVERYWHERE,
    FRANCE,
    GREEDY,
    OPENAI,
    TEXT,
    UPSTREAM_NAMES,
    VLLM,
    Place,
    at,
    chat,
    joined,
    reasons,
)

pytestmark = pytest.mark.e2e
EXACT = {"cache_prompt": False}
"""llama.cpp computes the whole prompt: another batch could round a tie to another token."""
THE = 504
"""The token that the answer to FRANCE begins with."""


class TestAnswers:
    @at(*EVERYWHERE)
    def test_whole(self, client: openai.OpenAI, place: Place) -> None:
        answer = chat(client, place)
        (choice,) = answer.choices
        assert (answer.object, answer.model) == ("chat.completion", place.model)
        assert answer.id.startswith("chatcmpl-")
        assert answer.created > 1_700_000_000
        assert (choice.index, choice.message.role) == (0, "assistant")
        assert choice.finish_reason in ("stop", "length")
        assert not choice.message.tool_calls
        usage = answer.usage
        assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
        assert usage.prompt_tokens > 6
        assert 0 < usage.completion_tokens <= 16
        if place.model != TEXT:  # whose prompt is another one
            assert choice.message.content == "The capital of France is Paris."
            assert choice.finish_reason == "stop"

    @at(*EVERYWHERE)
    def test_stream_of_the_same_text(self, client: openai.OpenAI, place: Place) -> None:
        whole = chat(client, place).choices[0]
        chunks = list(chat(client, place, stream=True))
        assert joined(chunks) == whole.message.content
        assert reasons(chunks) == [whole.finish_reason]
        assert chunks[0].choices[0].delta.role == "assistant"
        assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
        assert {(chunk.id, chunk.model) for chunk in chunks} == {(chunks[0].id, place.model)}
        assert len(chunks) > 5

    @at(EMBEDDED, OPENAI, TEXT)
    def test_stream_helper(self, client: openai.OpenAI, place: Place) -> None:
        """It takes an answer that its limit has cut for a failure."""
        whole = chat(client, place, stop=ENDS).choices[0]
        with client.chat.completions.stream(
            model=place.model, messages=FRANCE, max_tokens=16, stop=ENDS, **GREEDY
        ) as stream:
            events = list(stream)
            final = stream.get_final_completion().choices[0]
        deltas = [event.delta for event in events if event.type == "content.delta"]
        assert "".join(deltas) == whole.message.content
        assert events[-1].type in ("content.done", "chunk")
        assert final.message.content == whole.message.content
        assert final.finish_reason == whole.finish_reason

    @at(*CHATS)
    def test_usage_of_a_stream_where_it_is_asked_for(
        self, client: openai.OpenAI, place: Place
    ) -> None:
        whole = chat(client, place).usage
        chunks = list(chat(client, place, stream=True, stream_options={"include_usage": True}))
        assert chunks[-1].choices == []
        told = chunks[-1].usage
        assert told.prompt_tokens == whole.prompt_tokens
        assert told.completion_tokens == whole.completion_tokens
        assert all(chunk.usage is None for chunk in chunks[:-1])
        plain = list(chat(client, place, stream=True))
        assert all(chunk.choices for chunk in plain)

    @at(VLLM, OPENAI)
    def test_what_the_server_says_without_a_relay(
        self, client: openai.OpenAI, place: Place, direct: openai.OpenAI
    ) -> None:
        """Value for value, but for what changes from call to call."""
        upstream = Place("", KEY, UPSTREAM_NAMES[place.model])

        def told(of: openai.OpenAI, at: Place) -> list[dict[str, Any]]:
            chunks = chat(of, at, stream=True, logprobs=True, extra_body=EXACT)
            assert {chunk.model for chunk in chunks} == {at.model}
            changing = {"id", "created", "timings", "model"}
            return [chunk.model_dump(exclude=changing) for chunk in chunks]

        assert told(client, place) == told(direct, upstream)

    @at(VLLM, OPENAI)
    def test_streamed_payloads_have_the_upstreams_fields(
        self, place: Place, llama_server: str
    ) -> None:
        """Field for field what llama.cpp sends: its own extras and usage are not lost."""

        def payload_keys(url: str, key: str, model: str) -> list[tuple[str, ...]]:
            request = {
                "model": model, "messages": FRANCE, "stream": True, "logprobs": True,
                "stream_options": {"include_usage": True}, "max_tokens": 16, **GREEDY,
            }  # fmt: skip
            answer = httpx.post(
                f"{url}/chat/completions", json=request, timeout=60,
                headers={"authorization": f"Bearer {key}"},
            )  # fmt: skip
            lines = [line for line in answer.text.split("\n") if line]
            assert lines[-1] == "data: [DONE]"
            return [tuple(json.loads(line.removeprefix("data: "))) for line in lines[:-1]]

        through = payload_keys(place.base, place.key, place.model)
        assert through == payload_keys(llama_server, KEY, UPSTREAM_NAMES[place.model])
        assert "usage" in through[-1]


class TestSampling:
    @at(EMBEDDED, OPENAI, TEXT)
    def test_length(self, client: openai.OpenAI, place: Place) -> None:
        for limit in ({"max_tokens": 3}, {"max_tokens": None, "max_completion_tokens": 3}):
            answer = chat(client, place, **limit)
            assert answer.choices[0].finish_reason == "length"
            assert answer.usage.completion_tokens == 3

    @at(*CHATS)
    @pytest.mark.parametrize("stop", [" France", ["London", " France"]])
    def test_stop(self, client: openai.OpenAI, place: Place, stop: str | list[str]) -> None:
        answer = chat(client, place, stop=stop)
        assert answer.choices[0].message.content == "The capital of"
        assert answer.choices[0].finish_reason == "stop"
        chunks = list(chat(client, place, stop=stop, stream=True))
        assert (joined(chunks), reasons(chunks)) == ("The capital of", ["stop"])

    @at(EMBEDDED, TEXT)
    def test_seed(self, client: openai.OpenAI, place: Place) -> None:
        warm = {"temperature": 1.5, "max_tokens": 8, "extra_body": EXACT}
        first, again, other = (
            chat(client, place, seed=seed, **warm).choices[0].message.content for seed in (5, 5, 6)
        )
        assert first == again
        assert first != other

    @at(*CHATS)
    def test_several_choices(self, client: openai.OpenAI, place: Place) -> None:
        answer = chat(client, place, n=2)
        assert [choice.index for choice in answer.choices] == [0, 1]
        assert {c.message.content for c in answer.choices} == {"The capital of France is Paris."}
        chunks = list(chat(client, place, n=2, stream=True))
        for index in (0, 1):
            assert joined(chunks, index) == "The capital of France is Paris."
            assert reasons(chunks, index) == ["stop"]

    @at(EMBEDDED)
    def test_usage_of_several_choices(self, client: openai.OpenAI, place: Place) -> None:
        one, whole = chat(client, place).usage, chat(client, place, n=2).usage
        asked: dict[str, Any] = {"stream_options": {"include_usage": True}}
        chunks = list(chat(client, place, n=2, stream=True, **asked))
        (told,) = (chunk.usage for chunk in chunks if chunk.usage)
        assert chunks[-1].usage is told
        for usage in (whole, told):
            assert usage.prompt_tokens == one.prompt_tokens
            assert usage.completion_tokens == 2 * one.completion_tokens
            assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens

    @at(*CHATS)
    def test_a_token_is_banned(self, client: openai.OpenAI, place: Place) -> None:
        text = chat(client, place, logit_bias={str(THE): -100}).choices[0].message.content
        assert text
        assert not text.startswith("The")

    @at(*CHATS)
    def test_penalties(self, client: openai.OpenAI, place: Place) -> None:
        """Without them the model repeats itself."""
        song: Any = [{"role": "user", "content": "La la la la la la la la la la. Go on."}]
        asked = {"messages": song, "max_tokens": 12, "extra_body": EXACT}
        plain = chat(client, place, **asked)
        for name in ("presence_penalty", "frequency_penalty"):
            bent = chat(client, place, **asked, **{name: 2})
            assert bent.choices[0].message.content != plain.choices[0].message.content

    @at(*CHATS)
    def test_logprobs(self, client: openai.OpenAI, place: Place) -> None:
        asked = {"logprobs": True, "top_logprobs": 2, "max_tokens": 4}
        whole = chat(client, place, **asked).choices[0]
        chunks = list(chat(client, place, stream=True, **asked))
        told = whole.logprobs.content
        assert "".join(one.token for one in told) == whole.message.content
        for one in told:
            assert bytes(one.bytes) == one.token.encode()
            assert one.logprob <= 0
            assert len(one.top_logprobs) == 2
            assert one.top_logprobs[0].logprob >= one.top_logprobs[1].logprob
        assert told[0].token == "The"
        choices = [c for chunk in chunks for c in chunk.choices if c.logprobs]
        streamed = [one for choice in choices for one in choice.logprobs.content or []]
        assert [one.token for one in streamed] == [one.token for one in told]
        for one, other in zip(streamed, told, strict=True):
            assert math.isclose(one.logprob, other.logprob, abs_tol=0.01)

    @at(*CHATS)
    def test_unknown_fields_reach_the_server(self, client: openai.OpenAI, place: Place) -> None:
        """`grammar` is llama.cpp's own field."""
        answer = chat(client, place, extra_body={"grammar": 'root ::= "Lyon"'})
        assert answer.choices[0].message.content == "Lyon"
