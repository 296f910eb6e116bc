"""`sagemaker[_chat]:ENDPOINT[:REGION[:PAYLOAD]]`: an endpoint's name, not a URL, and no key.

h2oGPT's form with a field more. The endpoint's name follows the published `EndpointName` of the
SageMaker Runtime API.
"""

from __future__ import annotations

import re

from h2o_relay.serverstring import Field, Reader
from h2o_relay.types import Server

from .payloads import BY_MODEL, PAYLOADS, TEXT_BY_MODEL

PREFIXES = ("sagemaker", "sagemaker_chat")
EXAMPLE = "sagemaker_chat:my-endpoint:us-east-2"
ENDPOINT = re.compile(r"[A-Za-z0-9](-*[A-Za-z0-9]){0,62}")
REGION = re.compile(r"[a-z]{2,5}(-[a-z]+){1,3}-\d{1,2}")
URL_ENV = ("H2O_SAGEMAKER_ENDPOINT_URL",)


def parse(text: str) -> Server | None:
    """The server; None for a foreign prefix. Raises BadServerString."""
    prefix = text.split(":", 1)[0].strip()
    if prefix not in PREFIXES:
        return None
    # Nothing here is a secret; what is pasted into the wrong field may be one.
    reader = Reader(text, prefix, EXAMPLE, secret_from=1)
    endpoint = reader.optional()
    if endpoint is None:
        raise reader.refuse("the endpoint's name is missing", _last(reader))
    if not ENDPOINT.fullmatch(endpoint):
        raise reader.refuse(
            "an endpoint's name is up to 63 letters and digits with hyphens between", _last(reader)
        )
    region = reader.optional()
    if region is not None and not REGION.fullmatch(region):
        raise reader.refuse("the second field is a region such as us-east-2", _last(reader))
    payload = reader.optional()
    if payload is not None and payload not in PAYLOADS:
        raise reader.refuse(f"the payload is one of {', '.join(PAYLOADS)}", _last(reader))
    reader.end()
    given = {"endpoint": endpoint, "region": region, "payload": payload}
    chat = prefix == "sagemaker_chat"
    return Server(
        plugin="sagemaker",
        api="chat" if chat else "text",
        model=endpoint,
        url_env=URL_ENV,
        by_model=BY_MODEL if chat else TEXT_BY_MODEL,
        options={name: value for name, value in given.items() if value is not None},
        shown=reader.shown,
    )


def _last(reader: Reader) -> Field | None:
    """The field that was read last; None where the string has no fields."""
    return reader.fields[reader.at - 1] if reader.at else None
