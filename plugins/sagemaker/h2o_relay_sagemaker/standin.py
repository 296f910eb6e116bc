"""A stand-in for SageMaker's runtime API, written from the published protocol.

Operations: botocore's service model sagemaker-runtime 2017-05-13. Frames: "Amazon event stream" of
the Smithy specification (prelude of three 32-bit words, headers of type 7, CRC-32 over prelude and
message). Signatures: "Signature Version 4" of AWS's reference, computed here without botocore.
The plugin's tests have the real boto3 client judge it.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import orjson
import pytest

from h2o_relay.testing.scripts import Play, json, stream
from h2o_relay.testing.upstream import Received
from h2o_relay.testing.wire import OpenAIWire, Wire

ACCESS_KEY, SECRET_KEY = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
EVENT_STREAM = "application/vnd.amazon.eventstream"
STREAMED = "/invocations-response-stream"


def only_these_keys(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """Keys of nobody's, and no other AWS configuration around; `folder` is an empty one."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL"):
        patch.delenv(name, raising=False)
    patch.delenv("AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME", raising=False)
    patch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    patch.setenv("AWS_CONFIG_FILE", str(folder / "config"))
    patch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(folder / "credentials"))
    patch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def frame(headers: Mapping[str, str], payload: bytes) -> bytes:
    """One message of an event stream."""
    packed = b"".join(
        bytes([len(name)]) + name.encode() + b"\x07" + struct.pack("!H", len(value)) + value
        for name, value in ((name, value.encode()) for name, value in headers.items())
    )
    prelude = struct.pack("!II", 16 + len(packed) + len(payload), len(packed))
    begin = prelude + struct.pack("!I", crc32(prelude)) + packed + payload
    return begin + struct.pack("!I", crc32(begin))


def part(data: bytes) -> bytes:
    """A PayloadPart: a piece of what the container wrote."""
    about = {":event-type": "PayloadPart", ":content-type": "application/octet-stream"}
    return frame({**about, ":message-type": "event"}, data)


def exception(kind: str, message: str, **more: str) -> bytes:
    """An exception that ends a stream."""
    about = {":exception-type": kind, ":content-type": "application/json"}
    payload = orjson.dumps({"Message": message, **more})
    return frame({**about, ":message-type": "exception"}, payload)


def streamed(frames: Sequence[bytes], container: str = "text/event-stream") -> Play:
    """The answer to InvokeEndpointWithResponseStream."""
    headers = {
        "x-amzn-sagemaker-content-type": container,
        "x-amzn-invoked-production-variant": "AllTraffic",
    }
    return stream(frames, content_type=EVENT_STREAM, headers=headers)


def refused(
    status: int, code: str, body: Mapping[str, Any], headers: Mapping[str, str] | None = None
) -> Play:
    """The answer that AWS itself gives instead of the container's."""
    return json(dict(body), status, {"x-amzn-errortype": code, **(headers or {})})


def model_error(status: int, original: str, headers: Mapping[str, str] | None = None) -> Play:
    """The container's own refusal, as AWS wraps it."""
    body = {
        "Message": f'Received client error ({status}) from primary with message "{original}"',
        "OriginalStatusCode": status,
        "OriginalMessage": original,
        "LogStreamArn": "arn:aws:logs:us-east-2:123456789012:log-group:/aws/sagemaker/Endpoints/x",
    }
    return refused(424, "ModelError", body, headers)


def signed_right(request: Received) -> bool:
    """Whether the request carries the Signature Version 4 that it should."""
    given = request.headers["authorization"].removeprefix("AWS4-HMAC-SHA256 ")
    fields = dict(item.strip().split("=", 1) for item in given.split(","))
    key, date, region, service, last = fields["Credential"].split("/")
    names = fields["SignedHeaders"].split(";")
    headers = "".join(f"{name}:{' '.join(request.headers[name].split())}\n" for name in names)
    body = hashlib.sha256(request.body).hexdigest()
    path, _, query = request.path.partition("?")
    canonical = "\n".join([request.method, path, query, headers, ";".join(names), body])
    scope = f"{date}/{region}/{service}/{last}"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = "\n".join(["AWS4-HMAC-SHA256", request.headers["x-amz-date"], scope, digest])
    secret = f"AWS4{SECRET_KEY}".encode()
    for piece in (date, region, service, last):
        secret = hmac.digest(secret, piece.encode(), "sha256")
    expected = hmac.new(secret, text.encode(), "sha256").hexdigest()
    return (
        key == ACCESS_KEY and service == "sagemaker" and {"host", "x-amz-date"} <= set(names)
        and hmac.compare_digest(expected, fields["Signature"])
    )  # fmt: skip


class RuntimeWire(Wire):
    """The runtime API around some container's answers."""

    container = "text/event-stream"

    def is_listing(self, request: Received) -> bool:
        return False

    def listing(self, names: Sequence[str]) -> Play:
        return json({})  # nobody asks for it

    def reply(self, request: Received, texts: Sequence[str], finish: str | None = "stop") -> Play:
        assert signed_right(request)
        if request.path.endswith(STREAMED):
            return streamed(
                [part(item) for item in self.events(request, texts, finish)], self.container
            )
        assert request.path.endswith("/invocations")
        return json(self.whole(request, texts, finish))

    def refusal(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> Play:
        return model_error(status, orjson.dumps({"error": message}).decode(), headers)

    def failing(self, request: Received, texts: Sequence[str], message: str) -> Play:
        parts = [part(item) for item in self.events(request, texts, None)]
        return streamed([*parts, exception("InternalStreamFailure", message)], self.container)

    def events(
        self, request: Received, texts: Sequence[str], finish: str | None = "stop"
    ) -> list[bytes]:
        """What the container writes, one event an item."""
        raise NotImplementedError

    def whole(self, request: Received, texts: Sequence[str], finish: str | None) -> Any:
        """What the container answers to a request without a stream."""
        raise NotImplementedError


class OpenAIContainer(RuntimeWire):
    """vLLM, and TGI's Messages API."""

    inner = OpenAIWire()

    def events(
        self, request: Received, texts: Sequence[str], finish: str | None = "stop"
    ) -> list[bytes]:
        payloads = self.inner.payloads(request, texts, finish)
        return [b"data: " + payload + b"\n\n" for payload in [*payloads, b"[DONE]"]]

    def whole(self, request: Received, texts: Sequence[str], finish: str | None) -> Any:
        return self.inner.completion(request, texts, finish)


class TgiContainer(RuntimeWire):
    """TGI's own schema: docs/openapi.json of text-generation-inference, StreamResponse and
    GenerateResponse; a special token ends the answer."""

    details = {"finish_reason": "eos_token", "generated_tokens": 6, "seed": None}

    def events(
        self, request: Received, texts: Sequence[str], finish: str | None = "stop"
    ) -> list[bytes]:
        found = [self._event(i, text, False) for i, text in enumerate(texts)]
        if finish is not None:
            found.append(self._event(len(texts), "</s>", True))
            found[-1] |= {
                "generated_text": "".join(texts),
                "details": {**self.details, "input_length": 4},
            }
        return [b"data:" + orjson.dumps(event) + b"\n\n" for event in found]

    def whole(self, request: Received, texts: Sequence[str], finish: str | None) -> Any:
        tokens = [self._event(i, text, False)["token"] for i, text in enumerate(texts)]
        details = {**self.details, "prefill": [], "tokens": tokens}
        return [{"generated_text": "".join(texts), "details": details}]

    def _event(self, index: int, text: str, special: bool) -> dict[str, Any]:
        token = {"id": index, "text": text, "logprob": -0.1, "special": special}
        return {"index": index, "token": token, "generated_text": None, "details": None}


class LmiContainer(TgiContainer):
    """LMI's jsonlines formatter: djl_python/output_formatter.py of djl-serving."""

    container = "application/jsonlines"

    def events(
        self, request: Received, texts: Sequence[str], finish: str | None = "stop"
    ) -> list[bytes]:
        found: list[dict[str, Any]] = [
            {"token": {"id": i, "text": text, "log_prob": -0.1}} for i, text in enumerate(texts)
        ]
        if finish is not None:
            found[-1]["generated_text"] = "".join(texts)
            found[-1]["details"] = {"finish_reason": "eos_token", "generated_tokens": 6}
        return [orjson.dumps(event) + b"\n" for event in found]

    def whole(self, request: Received, texts: Sequence[str], finish: str | None) -> Any:
        return {"generated_text": "".join(texts), "details": {**self.details}}


class Llama2Container(TgiContainer):
    """JumpStart's Llama 2 chat models ("Run Llama 2 Models in SageMaker JumpStart")."""

    def whole(self, request: Received, texts: Sequence[str], finish: str | None) -> Any:
        return [{"generation": {"role": "assistant", "content": "".join(texts)}}]
