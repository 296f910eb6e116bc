"""LangChain's OpenAI package against `h2o run`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import openai
import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings

from .kit import (
    CALLS_TOOLS,
    CHAINED,
    EMBEDDED,
    OPENAI,
    PARAMETERS,
    TEXT,
    Capital,
    Place,
    at,
    is_weather,
)

pytestmark = pytest.mark.e2e
QUESTION = "What is the capital of France?"
ANSWER = "The capital of France is Paris."
TOKENS = {"input_tokens": 27, "output_tokens": 8, "total_tokens": 35}


@tool(args_schema=PARAMETERS)
def weather(city: str, unit: str) -> str:
    """Tells the weather in a city."""
    return f"12 {unit} in {city}"


Settings = dict[str, Any]


@pytest.fixture(scope="module")
def http() -> Iterator[Settings]:
    """HTTP clients that are closed: LangChain would keep its own."""
    with httpx.Client(timeout=60) as client:
        yield {"http_client": client}


@pytest.fixture
async def http_async() -> AsyncIterator[Settings]:
    async with httpx.AsyncClient(timeout=60) as client:
        yield {"http_async_client": client}


def chat(place: Place, http: Settings, **more: Any) -> ChatOpenAI:
    settings = {"temperature": 0, "seed": 1, "max_tokens": 60, "max_retries": 0, **http, **more}
    return ChatOpenAI(model=place.model, base_url=place.base, api_key=place.key, **settings)


@at(EMBEDDED, OPENAI)
def test_invoke(place: Place, http: Settings) -> None:
    answer = chat(place, http).invoke(QUESTION)
    assert isinstance(answer, AIMessage)
    assert answer.content == ANSWER
    assert answer.usage_metadata is not None
    assert {name: answer.usage_metadata[name] for name in TOKENS} == TOKENS
    assert answer.response_metadata["finish_reason"] == "stop"
    assert answer.response_metadata["model_provider"] == "openai"


@at(EMBEDDED, TEXT, CHAINED)
def test_stream(place: Place, http: Settings) -> None:
    """Its chunks, which are added up, are those of one answer."""
    model = chat(place, http, max_tokens=10, stream_usage=True)
    chunks = list(model.stream(QUESTION))
    whole = sum(chunks[1:], chunks[0])
    assert isinstance(whole, AIMessageChunk)
    assert len(chunks) > 5
    told = model.invoke(QUESTION)
    assert whole.content == told.content
    assert whole.usage_metadata is not None
    assert whole.usage_metadata["output_tokens"] == told.usage_metadata["output_tokens"]  # type: ignore[index]


@at(EMBEDDED, TEXT)
async def test_async_batch(place: Place, http_async: Settings) -> None:
    model = chat(place, http_async, max_tokens=4)
    said = await model.abatch([QUESTION, QUESTION])
    streamed = [chunk.content async for chunk in model.astream(QUESTION)]
    assert [one.content for one in said] == ["".join(map(str, streamed))] * 2


@at(EMBEDDED)
def test_tools_are_called_and_their_results_read(place: Place, http: Settings) -> None:
    bound = chat(place, http).bind_tools([weather], tool_choice="weather")
    asked = HumanMessage(QUESTION)
    answer = bound.invoke([asked])
    (call,) = answer.tool_calls
    assert (call["name"], call["type"]) == ("weather", "tool_call")
    assert is_weather(call["args"])
    result = weather.invoke(call)
    assert isinstance(result, ToolMessage)
    assert result.tool_call_id == call["id"]
    end = chat(place, http, max_tokens=5).bind_tools([weather]).invoke([asked, answer, result])
    assert end.content


@at(*CALLS_TOOLS)
def test_tool_calls_in_a_stream(place: Place, http: Settings) -> None:
    bound = chat(place, http).bind_tools([weather], tool_choice="any")
    chunks = list(bound.stream(QUESTION))
    pieces = [piece for chunk in chunks for piece in chunk.tool_call_chunks]
    whole = sum(chunks[1:], chunks[0])
    (call,) = whole.tool_calls
    assert len(pieces) > 3
    assert is_weather(call["args"])


@pytest.mark.parametrize(
    ("place", "method"),
    [
        (OPENAI, "json_schema"),
        (EMBEDDED, "function_calling"),
    ],
    indirect=["place"],
)
def test_structured_output(place: Place, http: Settings, method: Any) -> None:
    said = chat(place, http).with_structured_output(Capital, method=method).invoke(QUESTION)
    assert isinstance(said, Capital)


@at(EMBEDDED)
def test_logprobs(place: Place, http: Settings) -> None:
    answer = chat(place, http, logprobs=True, top_logprobs=2, max_tokens=2).invoke(QUESTION)
    told = answer.response_metadata["logprobs"]["content"]
    assert "".join(one["token"] for one in told) == answer.content


@at(EMBEDDED, OPENAI)
def test_responses(place: Place, http: Settings) -> None:
    """LangChain takes /v1/responses where it is told to."""
    model = ChatOpenAI(
        model=place.model, base_url=place.base, api_key=place.key, max_retries=0,
        use_responses_api=True, temperature=0, max_tokens=60, **http,
    )  # fmt: skip
    answer = model.invoke(QUESTION)
    assert answer.text == ANSWER
    assert answer.usage_metadata is not None
    assert {name: answer.usage_metadata[name] for name in TOKENS} == TOKENS
    chunks = list(model.stream(QUESTION))
    assert "".join(chunk.text for chunk in chunks) == ANSWER
    assert len(chunks) > 5


@at(OPENAI)
def test_completions(place: Place, http: Settings) -> None:
    model = OpenAI(
        model=place.model, base_url=place.base, api_key=place.key, temperature=0, max_tokens=1,
        **http,
    )  # fmt: skip
    assert model.invoke("The capital of France is") == " Paris"
    assert next(iter(model.stream("The capital of France is"))) == " Paris"


@at(EMBEDDED, OPENAI)
async def test_embeddings(place: Place, http: Settings, http_async: Settings) -> None:
    """Not by its own tokenizer, which is that of OpenAI's models."""
    model = OpenAIEmbeddings(
        model=place.model, base_url=place.base, api_key=place.key,
        check_embedding_ctx_length=False, **http, **http_async,
    )  # fmt: skip
    one, other = model.embed_documents(["A cat sat there.", "Stocks fell."])
    assert len(one) == len(other) == 576
    assert one != other
    assert await model.aembed_query("A cat sat there.") == pytest.approx(one, abs=2e-3)


@at(OPENAI)
def test_errors_are_the_clients_own(place: Place, http: Settings) -> None:
    with pytest.raises(openai.NotFoundError):
        chat(Place(place.url, place.key, "nobody/knows-it"), http).invoke(QUESTION)
    with pytest.raises(openai.AuthenticationError):
        chat(Place(place.url, "sk-wrong", place.model), http).invoke(QUESTION)
    with pytest.raises(openai.BadRequestError):
        chat(place, http, top_p=7).invoke(QUESTION)
