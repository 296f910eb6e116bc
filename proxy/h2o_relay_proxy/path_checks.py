"""The light checks of `checks.py` for other paths: tokens, scores, speech, images.

What is required is what OpenAI's API reference requires, and for /tokenize, /detokenize, /rerank
and /score vLLM's request models. Fields that are not named travel untouched.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from h2o_relay.errors import InvalidRequest

from .checking import (
    MAX_INT,
    Check,
    empty,
    integer,
    missing,
    number,
    of,
    says,
    too_long,
    wrong_type,
)
from .checks import CHAT, MODEL
from .fields import IDS, messages, tools

Params = Mapping[str, Any]
MAX_TOKENS = 262_144  # as many as a long context has; `body.ITEMS` lets no more in
MAX_DOCUMENTS = 10_000
MAX_IMAGES = 10  # OpenAI's own limit of `n`
TEXT = of(str, "a string")
FLAG = of(bool, "true or false")


@says({**IDS, "minItems": 0, "maxItems": MAX_TOKENS})
def token_ids(name: str, value: Any) -> None:
    if type(value) is not list:
        raise wrong_type(name, "an array of token ids")
    if len(value) > MAX_TOKENS:
        raise too_long(name, MAX_TOKENS)
    for token in value:
        if type(token) is not int:
            raise wrong_type(name, "an array of token ids")
        if not 0 <= token <= MAX_INT:
            raise InvalidRequest(f"'{name}' has a token id out of range.", param=name)


def scored(*wanted: type) -> Check:
    """A text, or an object of one (a picture, say), or where `list` is wanted several of them."""
    one = {"anyOf": [{"type": "string"}, {"type": "object"}]}
    several = {"type": "array", "minItems": 1, "maxItems": MAX_DOCUMENTS, "items": one}

    @says({"anyOf": [one, several]} if list in wanted else one)
    def checker(name: str, value: Any) -> None:
        if type(value) not in wanted:
            raise wrong_type(name, "a string or an array" if list in wanted else "a string")
        if type(value) is not list:
            return
        if not value:
            raise empty(name, "empty_array")
        if len(value) > MAX_DOCUMENTS:
            raise too_long(name, MAX_DOCUMENTS)
        for place, document in enumerate(value):
            if type(document) not in (str, dict):
                raise wrong_type(f"{name}[{place}]", "a string or an object")

    return checker


@says({"type": "string", "minLength": 1})
def words(name: str, value: Any) -> None:
    TEXT(name, value)
    if not value:
        raise empty(name)


@says({"anyOf": [{"type": "string", "minLength": 1}, {"type": "object"}]})
def voice(name: str, value: Any) -> None:
    """A voice's name, or an object with its id."""
    if type(value) is not dict:
        words(name, value)


ONE, ANY = scored(str, dict), scored(str, dict, list)
TOKENIZE: dict[str, Check] = {
    "model": MODEL,
    "prompt": TEXT,
    "messages": messages,
    "add_special_tokens": FLAG,
    "return_token_strs": FLAG,
    "add_generation_prompt": FLAG,
    "continue_final_message": FLAG,
    "chat_template_kwargs": of(dict, "an object"),
    "tools": tools,
}
DETOKENIZE: dict[str, Check] = {"model": MODEL, "tokens": token_ids}
RERANK: dict[str, Check] = {
    "model": MODEL,
    "query": ONE,
    "documents": ANY,
    "texts": ANY,
    "top_n": integer(0, MAX_INT),
    "return_documents": FLAG,
}
SCORE: dict[str, Check] = {
    "model": MODEL,
    **dict.fromkeys(("text_1", "text_2", "data_1", "data_2"), ANY),
    **dict.fromkeys(("queries", "documents", "items"), ANY),
}
SPEECH: dict[str, Check] = {
    "model": MODEL,
    "input": words,
    "voice": voice,
    "instructions": TEXT,
    "response_format": TEXT,
    "speed": number(0.25, 4),
    "stream_format": TEXT,
}
IMAGES: dict[str, Check] = {
    "model": MODEL,
    "prompt": words,
    "n": integer(1, MAX_IMAGES),
    "size": TEXT,
    "quality": TEXT,
    "style": TEXT,
    "background": TEXT,
    "response_format": TEXT,
    "stream": FLAG,
    "user": TEXT,
}
PAIRS = (("text_1", "text_2"), ("data_1", "data_2"), ("queries", "documents"), ("queries", "items"))


def _text_or_messages(params: Params) -> None:
    given = [name for name in ("prompt", "messages") if params.get(name) is not None]
    if not given:
        raise missing("prompt")
    if len(given) > 1:
        raise InvalidRequest("'prompt' and 'messages' exclude each other.", param="messages")
    if params.get("continue_final_message") and params.get("add_generation_prompt"):
        raise InvalidRequest(
            "'continue_final_message' and 'add_generation_prompt' exclude each other.",
            param="continue_final_message",
        )


def _a_pair(params: Params) -> None:
    if not any(all(params.get(name) is not None for name in pair) for pair in PAIRS):
        first = next((n for n in ("text_1", "data_1", "queries") if params.get(n) is not None), "")
        second = {"": "text_1", "text_1": "text_2", "data_1": "data_2"}.get(first, "documents")
        raise missing(second)


def needs(*names: str) -> Callable[[Params], None]:
    """All of these; `a|b` is one of two."""

    def checker(params: Params) -> None:
        for name in names:
            if all(params.get(one) is None for one in name.split("|")):
                raise missing(name.split("|")[0])

    return checker


PATHS: dict[str, tuple[dict[str, Check], Callable[[Params], None]]] = {
    "/tokenize": (TOKENIZE, _text_or_messages),
    "/detokenize": (DETOKENIZE, needs("tokens")),
    "/rerank": (RERANK, needs("query", "documents|texts")),
    "/score": (SCORE, _a_pair),
    "/chat/completions/input_tokens": (CHAT, needs("messages")),
    "/audio/speech": (SPEECH, needs("input")),
    "/images/generations": (IMAGES, needs("prompt")),
}
"""The fields of each path, and what must be among them. `texts` is llama.cpp's other name for a
rerank's documents; `voice` has a default on servers other than OpenAI's."""


def check_path(path: str, params: Params) -> None:
    """Raises InvalidRequest with `param` and `code`; a field that is null is one that is not there.
    Paths that are not ours to know pass.
    """
    found = PATHS.get(path)
    if found is None:
        return
    table, required = found
    for name, value in params.items():
        checker = table.get(name)
        if checker is not None and value is not None:
            checker(name, value)
    required(params)
