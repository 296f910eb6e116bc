"""What OpenAI itself says about a few of the models that it lists.

OpenAI's list does not tell which API a model has. Its API reference does for /completions: that
endpoint takes three models (`CreateCompletionRequest.model` in the OpenAPI document) and their
fine-tunes, none of which chats.
"""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import urlsplit

from h2o_relay.types import Model

OPENAI_HOST = "api.openai.com"  # and its regions: us.api.openai.com
COMPLETING = ("gpt-3.5-turbo-instruct", "davinci-002", "babbage-002")


def is_openai(url: str) -> bool:
    """Whether the URL is OpenAI's own."""
    host = urlsplit(url).hostname or ""
    return host == OPENAI_HOST or host.endswith(f".{OPENAI_HOST}")


def known(model: Model) -> Model:
    """The model of OpenAI's own, with its API if that is known."""
    name = model.id.removeprefix("ft:")
    return replace(model, kinds=frozenset({"text"})) if name.startswith(COMPLETING) else model
