"""Holds what went over the wire against AWS's own description of the runtime API.

That is the service model `sagemaker-runtime` 2017-05-13 (service-2.json), which botocore ships:
operations, their members and where each stands (path, header, body, event), limits, and which error
has which status. Headers of HTTP and of signing are no part of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

import orjson
from botocore.eventstream import EventStreamBuffer
from botocore.loaders import Loader
from botocore.model import OperationModel, ServiceModel, Shape
from botocore.validate import ParamValidator
from recorded import Exchange

from h2o_relay_sagemaker.standin import EVENT_STREAM

NAME = "sagemaker-runtime"
OUTSIDE = ("x-amzn-errortype", "x-amzn-requestid")
"""Headers of the protocol, not of an operation."""
CLASSES = {r"\p{ASCII}": r"[\x00-\x7f]", r"\p{Print}": r"\x20-\x7e", r"\z": r"\Z"}
"""What Java's patterns have and Python's have not."""


def service() -> ServiceModel:
    return ServiceModel(Loader().load_service_model(NAME, "service-2"), NAME)


SERVICE = service()


def unlike(exchanges: Iterable[Exchange]) -> set[str]:
    """Every difference between what was said and the model."""
    return {difference for exchange in exchanges for difference in _differences(exchange)}


def operation_of(exchange: Exchange) -> tuple[OperationModel, str] | None:
    """What was asked for, and the endpoint in its path."""
    path = urlsplit(exchange.request.path).path
    for name in SERVICE.operation_names:
        operation = SERVICE.operation_model(name)
        method, template = operation.http["method"], operation.http["requestUri"]
        pattern = template.replace("{EndpointName}", "(?P<endpoint>[^/]+)")
        match = re.fullmatch(pattern, path)
        if match and method == exchange.request.method:
            return operation, unquote(match["endpoint"])
    return None


def _differences(exchange: Exchange) -> Iterator[str]:
    found = operation_of(exchange)
    if found is None:
        yield f"{exchange.request.method} {exchange.request.path} is no operation"
        return
    operation, endpoint = found
    headers = exchange.request.headers
    given = {"EndpointName": endpoint, "Body": exchange.request.body}
    known = _by_header(operation.input_shape)
    given |= {known[name]: headers[name] for name in known.keys() & headers.keys()}
    unnamed = [n for n in headers if n.startswith(("x-amzn-", "accept")) and n not in known]
    for name in unnamed:
        if name != "accept-encoding":
            yield f"{operation.name} asks with {name}, which is not in the model"
    for one in wrong(operation.input_shape, given):
        yield f"{operation.name} asks {one}"
    for one in _answered(operation, exchange):
        yield f"{operation.name} answers {one}"


def _answered(operation: OperationModel, exchange: Exchange) -> Iterator[str]:
    status, _, body = exchange.answer()
    headers = exchange.headers()
    if status >= 300:
        yield from _refused(operation, status, headers, body)
        return
    known = _by_header(operation.output_shape)
    said = {known[name]: headers[name] for name in known.keys() & headers.keys()}
    for name in headers:
        if name.startswith("x-amzn-") and name not in known and name not in OUTSIDE:
            yield f"{status} with {name}, which is not in the model"
    if not operation.has_event_stream_output:
        yield from wrong(operation.output_shape, {**said, "Body": body})
        return
    yield from wrong(operation.output_shape, {**said, "Body": {}})
    if headers.get("content-type") != EVENT_STREAM:
        yield f"{status} as {headers.get('content-type')}"
    yield from _events(operation, body)


def _events(operation: OperationModel, body: bytes) -> Iterator[str]:
    """What is wrong with the frames of a stream; botocore decodes them and checks their sums."""
    members = operation.get_event_stream_output().members
    frames = EventStreamBuffer()
    frames.add_data(body)
    for frame in frames:
        kind = frame.headers[":message-type"]
        name = frame.headers[f":{kind}-type"]
        shape = members.get(name)
        fails = bool(shape is not None and shape.metadata.get("exception"))
        if shape is None or fails != (kind == "exception"):
            yield f"a frame of {kind} {name}"
        elif fails:
            yield from (f"{name} {one}" for one in wrong(shape, orjson.loads(frame.payload)))


def _refused(
    operation: OperationModel, status: int, headers: Mapping[str, str], body: bytes
) -> Iterator[str]:
    code = headers.get("x-amzn-errortype", "").partition(":")[0]
    shape = next((one for one in operation.error_shapes if one.name == code), None)
    if shape is None:
        yield f"{status} {code}, which is not in the model"
        return
    wanted = shape.metadata.get("error", {}).get("httpStatusCode")
    if wanted != status:
        yield f"{code} with {status}, not {wanted}"
    yield from (f"{code} {one}" for one in wrong(shape, orjson.loads(body)))


def wrong(shape: Shape, value: Mapping[str, Any]) -> Iterator[str]:
    """How members differ from a structure of the model: names and types, as botocore says it, and
    limits."""
    yield from ParamValidator().validate(value, shape).generate_report().splitlines()
    for name, one in value.items():
        if name in shape.members and isinstance(one, str | bytes):
            yield from _beyond(name, one, shape.members[name].metadata)


def _beyond(name: str, value: str | bytes, limits: Mapping[str, Any]) -> Iterator[str]:
    if not limits.get("min", 0) <= len(value) <= limits.get("max", len(value)):
        yield f"{name} of length {len(value)}"
    pattern = limits.get("pattern")
    if pattern and isinstance(value, str):
        for java, python in CLASSES.items():
            pattern = pattern.replace(java, python)
        if not re.fullmatch(pattern, value):
            yield f"{name} {value!r}"


def _by_header(shape: Shape) -> dict[str, str]:
    """Members that stand in a header, by its lower-case name."""
    return {
        member.serialization["name"].lower(): name
        for name, member in shape.members.items()
        if member.serialization.get("location") == "header"
    }
