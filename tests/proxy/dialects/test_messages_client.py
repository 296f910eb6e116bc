"""What the official client makes of the streams and errors of /messages."""

from __future__ import annotations

import anthropic
import httpx2
import pytest

from h2o_relay.errors import Overloaded, RelayError, UpstreamIncomplete
from h2o_relay_proxy.dialects.messages import DIALECT

from .messages_kit import (
    PROMPTED,
    USER,
    chunks,
    event,
    grown,
    read,
    streamed,
)

TEXT = [
    event({"role": "assistant", "content": ""}),
    event({"content": "Hel"}),
    event({"content": "lo."}),
    event({}, "stop"),
    event(usage=PROMPTED),
]
DESCRIBED = {"name": "look", "input_schema": {"type": "object"}}


def client(status: int, kind: str, body: bytes) -> anthropic.AsyncAnthropic:
    """The official client, to which this is answered."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(status, headers={"content-type": kind}, content=body)

    return anthropic.AsyncAnthropic(
        api_key="k", max_retries=0, base_url="http://relay.test",
        http_client=httpx2.AsyncClient(transport=httpx2.MockTransport(answer)),
    )  # fmt: skip


async def test_the_official_clients_stream_helper() -> None:
    calls = [event({"content": "Let me see."}), event(grown(0, '{"n":1}', id="a", name="look"))]
    body = streamed(chunks([*calls, event({}, "tool_calls"), event(usage=PROMPTED)]))
    helper = {"model": "m", "max_tokens": 9, "messages": USER, "tools": [DESCRIBED]}
    async with client(200, "text/event-stream", body) as sdk, sdk.messages.stream(**helper) as said:
        text = [piece async for piece in said.text_stream]
        message = await said.get_final_message()
    assert text == ["Let me see."]
    assert message.content[1].to_dict()["input"] == {"n": 1}
    assert (message.stop_reason, message.usage.output_tokens) == ("tool_use", 5)


async def test_the_official_client_sees_a_stream_fail() -> None:
    exchanged = read(stream=True)
    body = b"".join(map(exchanged.chunk, chunks(TEXT[:2])))
    body += exchanged.failed(UpstreamIncomplete("It broke off."))
    said = []

    async def listen() -> None:
        helper = {"model": "m", "max_tokens": 9, "messages": USER}
        async with (
            client(200, "text/event-stream", body) as sdk,
            sdk.messages.stream(**helper) as m,
        ):
            async for piece in m.text_stream:
                said.append(piece)  # noqa: PERF401

    with pytest.raises(anthropic.APIError, match=r"It broke off\."):
        await listen()
    assert said == ["Hel"]


@pytest.mark.parametrize("error", [RelayError("No."), Overloaded("No.")])
async def test_the_official_client_sees_a_refusal(error: RelayError) -> None:
    body = DIALECT.error(error, "req-1")
    async with client(error.status, "application/json", body) as sdk:
        with pytest.raises(anthropic.InternalServerError) as caught:
            await sdk.messages.create(model="m", max_tokens=9, messages=USER)
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["request_id"] == "req-1"
