"""The stand-in is what AWS's own client takes for SageMaker, and we ask as that client does."""

import asyncio
from collections.abc import Callable
from contextlib import closing
from typing import Any, TypeVar

import orjson
import pytest

from h2o_relay.testing.upstream import Answer, Received, Script, ScriptedUpstream
from h2o_relay_sagemaker.standin import (
    OpenAIContainer,
    TgiContainer,
    exception,
    model_error,
    part,
    signed_right,
    streamed,
)

from .sagemaker_kit import HELLO, asked

boto3 = pytest.importorskip("boto3", reason="boto3 judges the stand-in; it is not installed")
BODY = orjson.dumps({"messages": HELLO, "stream": True})
T = TypeVar("T")


async def by_boto3(script: Script, call: Callable[[Any], T]) -> tuple[T, Received]:
    """What `call` made of the stand-in's answer, and the request that the client sent."""
    from botocore.config import Config

    async with ScriptedUpstream(script) as upstream:

        def run() -> T:
            client = boto3.client(
                "sagemaker-runtime", region_name="us-east-2", endpoint_url=upstream.url,
                config=Config(retries={"total_max_attempts": 1}, read_timeout=5),
            )  # fmt: skip
            try:
                return call(client)
            finally:
                client.close()

        made = await asyncio.to_thread(run)
        return made, upstream.requests[-1]


def streaming(client: Any) -> tuple[bytes, str]:
    answer = client.invoke_endpoint_with_response_stream(
        EndpointName="test-model", Body=BODY, ContentType="application/json"
    )
    with closing(answer["Body"]) as events:
        found = b"".join(event["PayloadPart"]["Bytes"] for event in events)
    return found, answer["ContentType"]


def invoking(client: Any) -> bytes:
    answer = client.invoke_endpoint(
        EndpointName="test-model", Body=BODY, ContentType="application/json",
        Accept="application/json", CustomAttributes="accept_eula=true",
        InferenceComponentName="part",
    )  # fmt: skip
    body: bytes = answer["Body"].read()
    return body


@pytest.mark.parametrize("container", [OpenAIContainer(), TgiContainer()])
async def test_streams(container: Any) -> None:
    async def script(request: Received, answer: Answer) -> None:
        await container.reply(request, ["Hel", "lo"])(request, answer)

    (found, media), request = await by_boto3(script, streaming)
    assert found == b"".join(container.events(request, ["Hel", "lo"]))
    assert media == "text/event-stream"
    assert signed_right(request)


async def test_parts_cut_anywhere() -> None:
    body = b"".join(TgiContainer().events(Received("", "", {}, BODY, 0.0), ["Hi"]))
    parts = streamed([part(body[:5]), part(body[5:6]), part(body[6:])])
    (found, _), _ = await by_boto3(parts, streaming)
    assert found == body


@pytest.mark.parametrize("kind", ["ModelStreamError", "InternalStreamFailure"])
async def test_exceptions_in_a_stream(kind: str) -> None:
    from botocore.exceptions import EventStreamError

    def call(client: Any) -> Any:
        with pytest.raises(EventStreamError) as caught:
            streaming(client)
        return caught.value.response

    broken = streamed([part(b"x"), exception(kind, "why", ErrorCode="StreamBroken")])
    response, _ = await by_boto3(broken, call)
    assert response["Error"]["Code"] == kind
    assert response["Error"]["Message"] == "why"


async def test_model_errors() -> None:
    def call(client: Any) -> Any:
        with pytest.raises(client.exceptions.ModelError) as caught:
            invoking(client)
        return caught.value.response

    response, _ = await by_boto3(model_error(422, "too long"), call)
    assert (response["OriginalStatusCode"], response["OriginalMessage"]) == (422, "too long")


async def test_our_request_is_the_one_that_boto3_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("H2O_SAGEMAKER_CUSTOM_ATTRIBUTES", "accept_eula=true")
    monkeypatch.setenv("H2O_SAGEMAKER_INFERENCE_COMPONENT", "part")

    async def script(request: Received, answer: Answer) -> None:
        await OpenAIContainer().reply(request, ["Hi"])(request, answer)

    _, theirs = await by_boto3(script, invoking)
    async with asked(script) as relay:
        await relay.generate()
        ours = relay.last
    assert (ours.method, ours.path) == (theirs.method, theirs.path)
    wanted = {
        name for name in theirs.headers
        if name.startswith("x-amzn-") or name in ("content-type", "accept")
    }  # fmt: skip
    assert len(wanted) == 4
    assert {name: ours.headers[name] for name in wanted} == {
        name: theirs.headers[name] for name in wanted
    }
    for request in (ours, theirs):
        fields = request.headers["authorization"].partition("SignedHeaders=")[2]
        assert {"content-type", "host", "x-amz-date"} <= set(fields.split(",")[0].split(";"))
