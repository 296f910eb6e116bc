"""The OpenAI SDK's helpers on what the dialect says: streams, parsing, tools, errors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import httpx2
import openai
import orjson
import pytest
from pydantic import BaseModel

from h2o_relay.errors import InvalidRequest, RelayError, UpstreamDisconnected

from .responses_kit import USAGE, Keeping, answered, call, chunk, event, streamed

CLIENT = "http://relay.test/v1"
Respond = Callable[[dict[str, Any], Keeping], bytes]


class Capital(BaseModel):
    city: str


def client(respond: Respond) -> openai.OpenAI:
    """The SDK on a transport that answers with what the dialect makes of each request."""
    keeping = Keeping()

    def handle(request: httpx2.Request) -> httpx2.Response:
        try:
            return httpx2.Response(200, content=found(request))
        except RelayError as error:
            return httpx2.Response(error.status, content=keeping.dialect.error(error, "req"))

    def found(request: httpx2.Request) -> bytes:
        id, *what = [*request.url.path.removeprefix("/v1/responses").split("/")[1:], ""]
        query = request.url.query
        if request.method == "DELETE":
            return keeping.dialect.delete(id, "me")
        if request.method == "GET" and what[:1] == ["input_items"]:
            return keeping.dialect.input_items(id, "me", query)
        if request.method == "GET":
            return keeping.dialect.retrieve(id, "me", query)
        if what[:1] == ["cancel"]:
            return keeping.dialect.cancel(id, "me")
        return respond(orjson.loads(request.content), keeping)

    transport = httpx2.Client(transport=httpx2.MockTransport(handle))
    return openai.OpenAI(api_key="k", base_url=CLIENT, http_client=transport, max_retries=0)


def whole(message: dict[str, Any], finish: str = "stop") -> Respond:
    return lambda params, keeping: keeping.ask(**params).whole(answered(message, finish))


def pieces(*events: dict[str, Any]) -> Respond:
    return lambda params, keeping: streamed(keeping.ask(**params), events)


def said(texts: Sequence[str], finish: str = "stop") -> list[dict[str, Any]]:
    return [*(event({"content": t}) for t in texts), event({}, finish), event(usage=USAGE)]


def test_output_text() -> None:
    with client(whole({"reasoning": "Hm.", "content": "Hello."})) as openai_client:
        assert openai_client.responses.create(model="m", input="hi").output_text == "Hello."


def test_parse() -> None:
    with client(whole({"content": '{"city":"Paris"}'})) as openai_client:
        response = openai_client.responses.parse(model="m", input="hi", text_format=Capital)
    assert response.output_parsed == Capital(city="Paris")


def test_parsed_arguments() -> None:
    tool = openai.pydantic_function_tool(Capital)["function"]
    tools: Any = [{"type": "function", **tool}]
    message = {"tool_calls": [call('{"city":"Paris"}', "a", "Capital")]}
    with client(whole(message, "tool_calls")) as openai_client:
        response = openai_client.responses.parse(model="m", input="hi", tools=tools)
    assert response.output[0].parsed_arguments == {"city": "Paris"}  # type: ignore[union-attr]


def test_the_stream_helper() -> None:
    texts = ['{"city":', '"Paris"}']
    with (
        client(pieces(*said(texts))) as openai_client,
        openai_client.responses.stream(model="m", input="hi", text_format=Capital) as stream,
    ):
        deltas = [e.delta for e in stream if e.type == "response.output_text.delta"]
        final = stream.get_final_response()
    assert deltas == texts
    assert final.output_parsed == Capital(city="Paris")
    assert final.usage is not None
    assert final.usage.output_tokens == 5


def test_the_stream_helper_on_calls_that_come_in_turn() -> None:
    def piece(index: int, arguments: str, **more: Any) -> dict[str, Any]:
        function = {"arguments": arguments, **more.pop("function", {})}
        return event({"tool_calls": [{"index": index, "function": function, **more}]})

    events = [
        event({"reasoning_content": "Hm."}),
        piece(0, "", id="a", function={"name": "one"}),
        piece(1, "", id="b", function={"name": "two"}),
        piece(0, "{"),
        piece(1, "{"),
        piece(0, "}"),
        piece(1, "}"),
        event({}, "tool_calls"),
    ]
    with (
        client(pieces(*events)) as openai_client,
        openai_client.responses.stream(model="m", input="hi") as stream,
    ):
        snapshots = [
            e.snapshot for e in stream if e.type == "response.function_call_arguments.delta"
        ]
        final = stream.get_final_response()
    assert snapshots == ["{", "{", "{}", "{}"]
    assert [item.type for item in final.output] == ["reasoning", "function_call", "function_call"]


def test_a_stream_that_fails_is_an_error_of_the_sdk() -> None:
    def failing(params: dict[str, Any], keeping: Keeping) -> bytes:
        exchanged = keeping.ask(**params)
        sent = exchanged.begin() + exchanged.chunk(chunk(event({"content": "Hel"})))
        return sent + exchanged.failed(UpstreamDisconnected("the server has gone"))

    with client(failing) as openai_client:
        stream = openai_client.responses.create(model="m", input="hi", stream=True)
        seen = []
        with pytest.raises(openai.APIError, match="the server has gone") as caught:
            seen += [one.type for one in stream]
    assert caught.value.code == "upstream_disconnected"


def test_a_conversation_is_kept() -> None:
    with client(whole({"content": "Hello."})) as openai_client:
        responses = openai_client.responses
        first = responses.create(model="m", input="hi")
        second = responses.create(model="m", input="So?", previous_response_id=first.id)
        assert responses.retrieve(first.id) == first
        items = list(responses.input_items.list(second.id, order="asc", limit=1))
        assert [item.role for item in items] == ["user", "assistant", "user"]  # type: ignore[union-attr]
        with pytest.raises(openai.BadRequestError, match="synchronous"):
            responses.cancel(first.id)
        responses.delete(first.id)
        with pytest.raises(openai.NotFoundError):
            responses.retrieve(first.id)


def test_a_refused_request() -> None:
    tools: Any = [{"type": "web_search"}]
    with (
        client(whole({"content": "a"})) as openai_client,
        pytest.raises(openai.BadRequestError) as caught,
    ):
        openai_client.responses.create(model="m", input="hi", tools=tools)
    assert (caught.value.param, caught.value.code) == ("tools[0].type", "unsupported_parameter")
    assert InvalidRequest.type == caught.value.type
