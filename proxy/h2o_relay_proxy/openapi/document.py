"""The document as a whole."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from typing import Any

import orjson

from . import admin, answers, dialects, failures, paths, requests
from .responses import HEADERS, SECURITY_SCHEMES

ABOUT = """OpenAI's API, and Anthropic's Messages, over every server that the relay has.

What a model's server answers passes through as it is. Every other POST below /v1 goes to the
server of the model that its body names, if that server offers the path. All other paths are
OpenAI's 404, all other methods a 405."""


def document() -> dict[str, Any]:
    """The document as data, made anew."""
    schemas = {
        **requests.schemas(), **answers.schemas(), **dialects.schemas(), **failures.SCHEMAS
    }  # fmt: skip
    return {
        "openapi": "3.1.0",
        "info": {"title": "h2o relay", "version": version("h2o-relay"), "description": ABOUT},
        "servers": [{"url": "/"}],
        "paths": {**paths.paths(), **admin.paths()},
        "components": {
            "schemas": dict(sorted(schemas.items())),
            "responses": failures.responses(),
            "headers": HEADERS,
            "securitySchemes": SECURITY_SCHEMES,
        },
    }


@cache
def encoded() -> bytes:
    """The document as it is served."""
    return orjson.dumps(document())
