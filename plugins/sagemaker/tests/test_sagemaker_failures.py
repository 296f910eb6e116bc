"""What AWS and the containers refuse, and what that becomes."""

from typing import Any

import orjson
import pytest

from h2o_relay.errors import (
    ContextTooLong,
    RateLimited,
    UpstreamAuthError,
    UpstreamBadResponse,
    UpstreamDisconnected,
    UpstreamRejected,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from h2o_relay.testing.scripts import Play, whole
from h2o_relay_sagemaker.failures import refusal
from h2o_relay_sagemaker.standin import exception, model_error, part, refused, streamed

from .sagemaker_kit import asked

DENIED = (
    "User: arn:aws:iam::123456789012:user/me is not authorized to perform: "
    "sagemaker:InvokeEndpoint on resource: arn:aws:sagemaker:us-east-2:123456789012:endpoint/x"
)
SAID = b'data: {"choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": null}]}\n\n'


def aws(status: int, code: str, message: str = "why", **body: Any) -> Play:
    return refused(status, code, {"Message": message, **body})


@pytest.mark.parametrize("how", ["generate", "stream"])
@pytest.mark.parametrize(
    ("answer", "kind", "status", "says"),
    [
        (aws(403, "AccessDeniedException", DENIED), UpstreamAuthError, 502, "were refused"),
        (aws(403, "ExpiredTokenException"), UpstreamAuthError, 502, "have expired"),
        (aws(403, "UnrecognizedClientException"), UpstreamAuthError, 502, "were refused"),
        (aws(403, "InvalidSignatureException"), UpstreamAuthError, 502, "were refused"),
        (aws(400, "IncompleteSignature"), UpstreamAuthError, 502, "were refused"),
        (aws(400, "ThrottlingException", "Rate exceeded"), RateLimited, 429, "Rate exceeded"),
        (aws(429, "ModelNotReadyException"), UpstreamUnavailable, 503, "test-model"),
        (aws(503, "ServiceUnavailable"), UpstreamUnavailable, 503, "test-model"),
        (aws(500, "InternalFailure"), UpstreamBadResponse, 502, "500"),
        (aws(530, "InternalDependencyException"), UpstreamBadResponse, 502, "530"),
        (
            aws(400, "ValidationError", "Endpoint test-model of account 123456789012 not found."),
            UpstreamRejected, 400, "Endpoint test-model of account *** not found.",
        ),
        (whole(b"<html>bad gateway</html>", 502), UpstreamBadResponse, 502, "502"),
        (model_error(422, '{"error":"`inputs` is too long","error_type":"validation"}'),
         UpstreamRejected, 422, "`inputs` is too long"),
        (model_error(400, '{"object":"error","message":"bad","code":400}'),
         UpstreamRejected, 400, "bad"),
        (model_error(400, '{"error":{"message":"long","code":"context_length_exceeded"}}'),
         ContextTooLong, 400, "long"),
        (model_error(400, "Need to pass custom_attributes='accept_eula=true'"),
         UpstreamRejected, 400, "accept_eula=true"),
        (model_error(429, '{"error":"Model is overloaded"}'), RateLimited, 429, "overloaded"),
        (model_error(424, '{"error":"Request failed during generation"}'),
         UpstreamBadResponse, 502, "failed with 424: Request failed during generation"),
        (model_error(500, "CUDA out of memory"),
         UpstreamBadResponse, 502, "endpoint test-model failed with 500: CUDA out of memory"),
        (aws(424, "ModelError", "Your invocation timed out while waiting for a response"),
         UpstreamBadResponse, 502, "Your invocation timed out"),
    ],
)  # fmt: skip
async def test_refusals(answer: Play, kind: type, status: int, says: str, how: str) -> None:
    async with asked(answer) as relay:
        error = await relay.failure(how)
        assert len(relay.upstream.requests) == 1
    assert type(error) is kind
    assert error.status == status
    assert says in error.message
    assert "123456789012" not in orjson.dumps(error.body()).decode()


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"x-amzn-errortype": "ThrottlingException:http://internal.amazon.com/coral/"}, {}),
        ({}, {"__type": "com.amazon.coral.availability#ThrottlingException"}),
        ({}, {"code": "ThrottlingException", "message": "slow down"}),
    ],
)
def test_where_a_code_stands(headers: dict[str, str], body: Any) -> None:
    made = refusal(400, {**headers, "retry-after": "3"}, orjson.dumps(body), "ep")
    assert isinstance(made, RateLimited)
    assert made.retry_after == 3


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b'{"Message": 1}', b"\xff"])
def test_senseless_bodies(body: bytes) -> None:
    assert isinstance(refusal(400, {}, body, "ep"), UpstreamRejected)
    assert isinstance(
        refusal(424, {"x-amzn-errortype": "ModelError"}, body, "ep"), UpstreamBadResponse
    )


@pytest.mark.parametrize(
    ("last", "kind", "says"),
    [
        (exception("ModelStreamError", "slow", ErrorCode="ModelInvocationTimeExceeded"),
         UpstreamTimeout, "longer than SageMaker allows"),
        (exception("ModelStreamError", "gone", ErrorCode="StreamBroken"),
         UpstreamDisconnected, "gone"),
        (exception("ModelStreamError", "hm"), UpstreamBadResponse, "(ModelStreamError): hm"),
        (exception("InternalStreamFailure", "why"), UpstreamBadResponse, "InternalStreamFailure"),
    ],
)  # fmt: skip
async def test_exceptions_in_a_stream_follow_the_text(last: bytes, kind: type, says: str) -> None:
    async with asked(streamed([part(SAID) + last])) as relay:
        (deployment,) = relay.kernel.models()
        params = {"model": deployment.name, "messages": [], "stream": True}
        async with relay.kernel.stream("chat", params) as answer:
            first = await anext(aiter(answer))
            assert first.text == "Hi"
            with pytest.raises(kind) as caught:
                await anext(aiter(answer))
    assert type(caught.value) is kind
    assert says in caught.value.message  # type: ignore[attr-defined]


async def test_an_exception_before_the_text_is_a_status() -> None:
    async with asked(streamed([exception("InternalStreamFailure", "why")])) as relay:
        assert isinstance(await relay.failure("stream"), UpstreamBadResponse)
