"""TGI's errors by /generate and /generate_stream, and answers that are none."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

import h2o_relay_tgi
from h2o_relay.errors import (
    ContextTooLong,
    RateLimited,
    RelayError,
    UpstreamBadResponse,
    UpstreamIncomplete,
    UpstreamRejected,
)
from h2o_relay.testing import scripts
from h2o_relay.testing.upstream import Answer, Received

from .tgi_kit import Bench, bench
from .tgi_rules import Refused


@pytest.fixture
async def tgi() -> AsyncIterator[Bench]:
    async with bench() as made:
        yield made


async def failure(tgi: Bench, how: str, **params: Any) -> RelayError:
    with pytest.raises(RelayError) as caught:
        await (tgi.stream(**params) if how == "stream" else tgi.generate(**params))
    return caught.value


@pytest.mark.parametrize("how", ["generate", "stream"])
async def test_too_long_an_input_is_a_context_error_in_tgis_words(tgi: Bench, how: str) -> None:
    error = await failure(tgi, how, max_tokens=500)
    assert type(error) is ContextTooLong
    assert error.message == (
        "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 128. "
        "Given: 7 `inputs` tokens and 500 `max_new_tokens`"
    )
    error = await failure(tgi, how, prompt="word" + " word" * 89, max_tokens=5)
    assert type(error) is ContextTooLong
    assert (
        error.message == "Input validation error: `inputs` must have less than 64 tokens. Given: 91"
    )
    assert (error.status, error.code) == (400, "context_length_exceeded")


@pytest.mark.parametrize("how", ["generate", "stream"])
@pytest.mark.parametrize(
    ("kind", "text", "wanted", "status"),
    [
        ("overloaded", "Model is overloaded", RateLimited, 429),
        ("validation", "Input validation error: `top_k` must be strictly positive",
         UpstreamRejected, 422),
        ("generation", "Request failed during generation: CUDA error", UpstreamBadResponse, 502),
        ("incomplete_generation", "Incomplete generation", UpstreamIncomplete, 502),
        ("template_error", "Template error: template not found", UpstreamRejected, 422),
    ],
)  # fmt: skip
async def test_tgis_errors(
    how: str, kind: str, text: str, wanted: type[RelayError], status: int
) -> None:
    async with bench(fails=Refused(kind, text)) as tgi:
        error = await failure(tgi, how)
    assert type(error) is wanted
    assert error.status == status
    assert text in error.message


async def test_an_error_in_mid_stream_follows_the_text() -> None:
    async with bench(fails=Refused("generation", "CUDA error"), fails_after=2) as tgi:
        asked = tgi.request(stream=True)
        chunks = h2o_relay_tgi.stream(tgi.server, tgi.client, asked)
        assert [(await anext(chunks)).text for _ in range(2)] == ["Parrots", " eat"]
        with pytest.raises(UpstreamBadResponse, match="CUDA error"):
            await anext(chunks)


async def test_a_refusal_in_plain_text_is_passed_on(tgi: Bench) -> None:
    """A body that does not fit the schema is refused before TGI's own code sees it."""
    text = b"Failed to deserialize the JSON body into the target type: missing field `inputs`"

    async def plain(request: Received, answer: Answer) -> None:
        await scripts.whole(text, 422, "text/plain; charset=utf-8")(request, answer)

    tgi.upstream.script = plain
    for how in ("generate", "stream"):
        error = await failure(tgi, how)
        assert type(error) is UpstreamRejected
        assert error.message == text.decode()


async def test_best_of_is_not_for_streams(tgi: Bench) -> None:
    error = await failure(tgi, "stream", best_of=2)
    assert type(error) is UpstreamRejected
    assert "`best_of` != 1 is not supported when streaming tokens" in error.message


@pytest.mark.parametrize(
    "event",
    [b"data:nonsense", b"data:[1]", b'data:{"index":1}', b'data:{"token":{"text":3}}',
     b'data:{"token":{"text":"x"},"details":{}}'],
)  # fmt: skip
async def test_events_of_another_shape(tgi: Bench, event: bytes) -> None:
    tgi.upstream.script = scripts.stream([event + b"\n\n"])
    assert isinstance(await failure(tgi, "stream"), UpstreamBadResponse | UpstreamIncomplete)


@pytest.mark.parametrize(
    "details", [None, [], {}, {"finish_reason": "length", "tokens": [1]}, {"finish_reason": 3}]
)
async def test_details_of_another_shape(tgi: Bench, details: Any) -> None:
    tgi.upstream.script = scripts.json({"generated_text": "hi", "details": details})
    error = await failure(tgi, "generate", logprobs=1)
    assert isinstance(error, UpstreamBadResponse | UpstreamIncomplete)


async def test_a_key_is_cut_out_of_errors() -> None:
    key = "sk-abcdefgh"
    refused = Refused("validation", f"what is {key} to me?")
    async with bench(f"tgi:{{url}}:None:{key}", fails=refused) as tgi:
        for how in ("generate", "stream"):
            error = await failure(tgi, how)
            assert "***" in error.message
            assert key not in error.message
            assert key not in orjson.dumps(error.body()).decode()
