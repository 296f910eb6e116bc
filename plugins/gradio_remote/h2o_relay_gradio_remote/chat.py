"""A plain Gradio chat, such as gr.ChatInterface: a message in, a text out.

A ChatInterface keeps its history as a state of the session (gradio 6.31 `chat_interface.py`). To
tell it another conversation we open a session of our own and use the endpoint by which its page
copies the shown messages into that state.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from h2o_relay.errors import InvalidRequest, UpstreamBadResponse
from h2o_relay.types import Model, Request

from .app import Api, App, Part
from .messages import Talk, Turn, pairs, talk_of
from .update import Update

FIELDS = frozenset({"model", "messages", "stream", "stream_options"})
NAMELESS = ("", "Gradio")


class Order(NamedTuple):
    """A call of the chat endpoint, and what goes before it: the endpoint that sets the session's
    history, and its data.
    """

    data: list[Any]
    seed: Api | None = None
    history: list[Any] | None = None


def order(app: App, api: Api, request: Request) -> Order:
    """Raises InvalidRequest for a prompt, and for a history that the app cannot be told."""
    if request.kind == "text" or request.prompt is not None:
        raise InvalidRequest("this Gradio app takes messages, not a prompt")
    talk = talk_of(request.params.get("messages"))
    message, *others = api.visible
    said: Any = {"text": talk.last, "files": []} if message.kind != "textbox" else talk.last
    past = bool(talk.past or talk.system)
    given = [_history(app, part, talk) if part.kind == "chatbot" else part.value for part in others]
    data = api.data(said, *given)
    if not past or any(part.kind == "chatbot" for part in others):
        return Order(data)
    seed = app.seed_api(api)
    if seed is None:
        raise InvalidRequest(
            "this Gradio app can be told no history and no system message, only one message",
            param="messages",
        )
    return Order(data, seed, seed.data(_history(app, seed.inputs[0], talk)))


def _history(app: App, part: Part, talk: Talk) -> list[Any]:
    """The conversation as that chatbot keeps it: pairs, or messages."""
    if part.tuples:
        system = [Turn("assistant", talk.system)] if talk.system else []
        return [list(pair) for pair in pairs([*system, *talk.past])]
    turns = ([Turn("system", talk.system)] if talk.system else []) + talk.past
    if app.version >= (6,):
        return [
            {"role": turn.role, "content": [{"type": "text", "text": turn.text}]} for turn in turns
        ]
    return [{"role": turn.role, "content": turn.text} for turn in turns]


def update(value: Any, last: bool) -> Update:
    """The answer so far. Raises UpstreamBadResponse for what is no text."""
    return Update(text_of(value), last=last)


def text_of(value: Any) -> str:
    """The text of a ChatInterface's answer: a text, a message, or several; of a whole history,
    what comes after the user's last words.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return text_of(value.get("content", value.get("text")))
    if isinstance(value, list):
        if value and all(isinstance(turn, list) and len(turn) == 2 for turn in value):
            return text_of(value[-1][1])
        return "".join(text_of(item) for item in _after_user(value))
    if value is None:
        return ""
    raise UpstreamBadResponse("the Gradio app's answer is no text")


def _after_user(items: list[Any]) -> list[Any]:
    asked = [i for i, m in enumerate(items) if isinstance(m, Mapping) and m.get("role") == "user"]
    return items[asked[-1] + 1 :] if asked else items


def models(app: App, api: Api) -> list[Model]:
    """The app itself, by its title if it has one of its own, else by its endpoint."""
    name = app.title if app.title not in NAMELESS else api.name
    return [Model(id=name, kinds=frozenset({"chat"}))]
