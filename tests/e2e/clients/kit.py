"""What the clients' tests share: where they are sent, what they ask, the tools they bring.

The model has 135 million parameters and talks nonsense. Tests look at protocol, structure, what a
grammar forces and what is counted, and at one fact that it knows.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any, Literal

import httpx
import openai
import pydantic
import pytest

from ..conftest import MODEL

EMBEDDED = MODEL
VLLM, OPENAI, TUNED = "vllm/smollm2", "openai/smollm2", "tuned/smollm2"
TEXT, CHAINED = "text/smollm2", "relay/smollm2"
"""The models of the second relay: ids with slashes. Answers of TUNED are limited, so that its
requests are never forwarded as they are; TEXT is rendered; CHAINED is that of the first relay."""
SECOND = (VLLM, OPENAI, TUNED, TEXT, CHAINED)
UPSTREAM_NAMES = {EMBEDDED: MODEL, CHAINED: MODEL, **dict.fromkeys(SECOND[:4], "smollm2")}
CLIENT_KEY, NO_KEY = "sk-client-7c1e", "none"
CHATS = (EMBEDDED, OPENAI)
"""The embedded model, and the server by one of the plugins that chat with it."""
CALLS_TOOLS = (EMBEDDED, CHAINED)
"""Where a tool that must be called is: llama.cpp's own server does not see to it."""
EVERYWHERE = (EMBEDDED, VLLM, OPENAI, TEXT, CHAINED)
DIALECTS = (EMBEDDED, TUNED, TEXT, CHAINED)
"""Where all of Responses and Messages is to be had, whatever the server is. VLLM and OPENAI may be
forwarded to llama.cpp's own, which have less."""

FRANCE: list[Any] = [{"role": "user", "content": "What is the capital of France?"}]
GREEDY: dict[str, Any] = {"temperature": 0, "seed": 1}
LONG = "Count from one to a thousand."
SOON = 15.0  # seconds


ENDS = " France"
"""Stands in every answer to FRANCE."""


@dataclass(frozen=True, slots=True)
class Place:
    """A model behind a relay."""

    url: str
    key: str
    model: str

    @property
    def base(self) -> str:
        """What OpenAI's clients call the base URL."""
        return f"{self.url}/v1"


def at(*models: str) -> pytest.MarkDecorator:
    """Run a test at each of these."""
    return pytest.mark.parametrize("place", models, indirect=True)


class Capital(pydantic.BaseModel):
    """What a model is held to. Its fields cannot run on until the tokens end."""

    city: Literal["Paris", "Lyon"]
    river: Literal["Seine", "Rhone"]


PARAMETERS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "enum": ["Paris", "Lyon"]},
        "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
    },
    "required": ["city", "unit"],
    "additionalProperties": False,
}
ABOUT = "Tells the weather in a city."
FUNCTION = {"name": "weather", "description": ABOUT, "parameters": PARAMETERS, "strict": True}
TOOLS: list[Any] = [{"type": "function", "function": FUNCTION}]


def is_weather(arguments: str | dict[str, Any]) -> bool:
    """Whether these are arguments of the tool."""
    found = json.loads(arguments) if isinstance(arguments, str) else arguments
    return (
        found.keys() == {"city", "unit"}
        and found["city"] in ("Paris", "Lyon")
        and found["unit"] in ("celsius", "fahrenheit")
    )


def idle(place: Place) -> None:
    """Wait until the relay does nothing for the model: what was left has ended."""
    headers = {"authorization": f"Bearer {place.key}"}
    deadline = time.monotonic() + SOON
    while True:
        answer = httpx.get(f"{place.base}/models/{place.model}", headers=headers)
        if answer.json()["h2o"]["running"] == 0:
            return
        assert time.monotonic() < deadline, "the answer goes on"
        time.sleep(0.02)


def a_message(place: Place, extra: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """What methods of Anthropic's client are given. They know no `temperature`: it is `extra`."""
    asked = {"model": place.model, "messages": FRANCE, "max_tokens": 16, **more}
    return {**asked, "extra_body": {**GREEDY, **(extra or {})}}


def tokens_read(usage: Any) -> int:
    """All tokens of a prompt: those that were found in a cache are counted apart."""
    return int(usage.input_tokens + (usage.cache_read_input_tokens or 0))


def chat(client: openai.OpenAI, place: Place, **more: Any) -> Any:
    request = {"messages": FRANCE, "max_tokens": 16, **GREEDY, **more}
    return client.chat.completions.create(model=place.model, **request)


def joined(chunks: list[Any], index: int = 0) -> str:
    """The text of one choice of a stream."""
    choices = [c for chunk in chunks for c in chunk.choices if c.index == index]
    return "".join(choice.delta.content or "" for choice in choices)


def reasons(chunks: list[Any], index: int = 0) -> list[str]:
    choices = [c for chunk in chunks for c in chunk.choices if c.index == index]
    return [choice.finish_reason for choice in choices if choice.finish_reason]
