"""The plugin asks, and the stand-in answers, as AWS's own service model of the runtime API has it.

The model is botocore's (see `sagemaker_model.py`), of the version that constraints.txt pins. What a
container is asked and says is no part of it; TGI's is held against TGI's own OpenAPI document,
where lists of answers are those of POST /.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from published_spec import Published
from recorded import Recorder

from h2o_relay.errors import RelayError
from h2o_relay.testing.upstream import Answer, Received, Script
from h2o_relay_sagemaker.standin import (
    Llama2Container,
    LmiContainer,
    OpenAIContainer,
    RuntimeWire,
    TgiContainer,
    exception,
    model_error,
    part,
    refused,
    streamed,
)

from .sagemaker_kit import ENDPOINT, HELLO, LLAMA2, REGION, asked
from .sagemaker_model import SERVICE, operation_of, unlike

WHOLE, STREAMED = "InvokeEndpoint", "InvokeEndpointWithResponseStream"
ERRORS = [
    (name, shape.name, shape.metadata["error"]["httpStatusCode"])
    for name in (WHOLE, STREAMED)
    for shape in SERVICE.operation_model(name).error_shapes
    if "error" in shape.metadata
]
TGI = Published.read(Path(__file__).parents[2] / "tgi" / "tests" / "tgi_published.json")
PART = part(b'data: {"choices": []}\n\n')


def answering(container: RuntimeWire) -> Script:
    async def script(request: Received, answer: Answer) -> None:
        await container.reply(request, ["Hel", "lo"])(request, answer)

    return script


def test_the_model_is_the_one_that_the_stand_in_names() -> None:
    assert SERVICE.api_version == "2017-05-13"
    assert {WHOLE, STREAMED} < set(SERVICE.operation_names)


@pytest.mark.parametrize(
    ("container", "payload"),
    [(OpenAIContainer(), "openai"), (TgiContainer(), "tgi"), (LmiContainer(), "tgi")],
)
async def test_answers(
    container: RuntimeWire, payload: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("H2O_SAGEMAKER_CUSTOM_ATTRIBUTES", "accept_eula=true")
    monkeypatch.setenv("H2O_SAGEMAKER_INFERENCE_COMPONENT", "part-1")
    recorder = Recorder(answering(container))
    kind: Any = "chat" if payload == "openai" else "text"
    async with asked(recorder, f"sagemaker:{ENDPOINT}:{REGION}:{payload}") as relay:
        await relay.generate(kind, max_tokens=5, temperature=0.5)
        await relay.stream(kind, max_tokens=5)
    assert unlike(recorder.exchanges) == set()
    operations = [operation_of(exchange) for exchange in recorder.exchanges]
    assert [(found[0].name, found[1]) for found in operations if found] == [
        (WHOLE, ENDPOINT), (STREAMED, ENDPOINT),
    ]  # fmt: skip


async def test_llama_2s_answers() -> None:
    recorder = Recorder(answering(Llama2Container()))
    async with asked(recorder, base_model=LLAMA2) as relay:
        await relay.generate(messages=HELLO)
    assert unlike(recorder.exchanges) == set()
    assert "x-amzn-sagemaker-custom-attributes" in recorder.exchanges[0].request.headers


async def test_a_container_of_tgis() -> None:
    container = TgiContainer()
    recorder = Recorder(answering(container))
    async with asked(recorder, f"sagemaker:{ENDPOINT}:{REGION}:tgi") as relay:
        sampling = {"temperature": 0.5, "top_p": 0.9, "top_k": 4, "seed": 3, "typical_p": 0.5}
        await relay.generate("text", max_tokens=5, **sampling)
        await relay.stream("text", max_tokens=5, temperature=0, stop=["a", "b", "c", "d", "e"])
        request = relay.last
    spec = TGI.document["paths"]["/"]["post"]
    for exchange in recorder.exchanges:
        body = spec["requestBody"]["content"]["application/json"]["schema"]
        assert list(TGI.wrong(body, exchange.request.json())) == []
    answers = spec["responses"]["200"]["content"]
    whole = container.whole(request, ["Hel", "lo"], "stop")
    assert list(TGI.wrong(answers["application/json"]["schema"], whole)) == []
    for event in container.events(request, ["Hel", "lo"]):
        said = orjson.loads(event.removeprefix(b"data:"))
        assert list(TGI.wrong(answers["text/event-stream"]["schema"], said)) == []


@pytest.mark.parametrize(("operation", "code", "status"), ERRORS)
async def test_every_error_of_the_model(operation: str, code: str, status: int) -> None:
    made = refused(status, code, {"Message": "why"})
    recorder = Recorder(model_error(400, "why") if code == "ModelError" else made)
    async with asked(recorder) as relay:
        error = await relay.failure("generate" if operation == WHOLE else "stream")
    assert unlike(recorder.exchanges) == set()
    assert isinstance(error, RelayError)
    assert error.status >= 400


async def test_errors_in_streams() -> None:
    for last in (
        exception("ModelStreamError", "slow", ErrorCode="ModelInvocationTimeExceeded"),
        exception("InternalStreamFailure", "why"),
    ):
        recorder = Recorder(streamed([PART, last]))
        async with asked(recorder) as relay:
            await relay.failure("stream")
        assert unlike(recorder.exchanges) == set()


async def test_what_is_common_to_all_of_aws_is_not_in_the_model() -> None:
    recorder = Recorder(refused(400, "ThrottlingException", {"Message": "Rate exceeded"}))
    async with asked(recorder) as relay:
        await relay.failure("generate")
    assert unlike(recorder.exchanges) == {
        f"{WHOLE} answers 400 ThrottlingException, which is not in the model"
    }


@pytest.mark.parametrize(
    ("script", "how", "difference"),
    [
        (refused(429, "ServiceUnavailable", {"Message": "x"}), "generate",
         "ServiceUnavailable with 429, not 503"),
        (refused(400, "ValidationError", {"message": "x"}), "generate",
         'ValidationError Unknown parameter in input: "message", must be one of: Message'),
        (refused(424, "ModelError", {"OriginalStatusCode": "422"}), "generate",
         "ModelError Invalid type for parameter OriginalStatusCode, value: 422"),
        (refused(429, "ModelNotReadyException", {}), "stream",
         "429 ModelNotReadyException, which is not in the model"),
        (streamed([PART, exception("ModelError", "x")]), "stream",
         "a frame of exception ModelError"),
        (streamed([PART, exception("InternalStreamFailure", "x", ErrorCode="E")]), "stream",
         'InternalStreamFailure Unknown parameter in input: "ErrorCode"'),
        (streamed([exception("InternalStreamFailure", "x")], "text/\xe9"), "stream",
         "ContentType 'text/\xe9'"),
    ],
)  # fmt: skip
async def test_a_wrong_answer_is_caught(script: Script, how: str, difference: str) -> None:
    recorder = Recorder(script)
    async with asked(recorder) as relay:
        await relay.failure(how)
    (found,) = unlike(recorder.exchanges)
    operation = WHOLE if how == "generate" else STREAMED
    assert found.startswith(f"{operation} answers {difference}")


@pytest.mark.parametrize(
    ("variable", "value", "difference"),
    [
        ("H2O_SAGEMAKER_INFERENCE_COMPONENT", "part_1", "InferenceComponentName 'part_1'"),
        ("H2O_SAGEMAKER_INFERENCE_COMPONENT", "p" * 64, "InferenceComponentName of length 64"),
        ("H2O_SAGEMAKER_CUSTOM_ATTRIBUTES", "a" * 1025, "CustomAttributes of length 1025"),
    ],
)
async def test_a_wrong_request_is_caught(
    variable: str, value: str, difference: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an operator may write, since SageMaker says what is wrong with it."""
    monkeypatch.setenv(variable, value)
    recorder = Recorder(answering(OpenAIContainer()))
    async with asked(recorder) as relay:
        await relay.generate()
    assert unlike(recorder.exchanges) == {f"{WHOLE} asks {difference}"}
