"""What a Gradio app says of itself in GET /config: its version, protocol and endpoints.

The fields are those that gradio_client 2.7.2 reads (`client.py`), which covers Gradio 3 to 6.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from h2o_relay.errors import UpstreamBadResponse

NOCHAT, NOCHAT_PLAIN, MODEL_NAMES = "submit_nochat_api", "submit_nochat_plain_api", "model_names"
STREAMING = frozenset({"sse_v1", "sse_v2", "sse_v2.1", "sse_v3"})
TEXT_INPUTS = ("textbox", "multimodaltextbox")
HIDDEN = frozenset({"state", "browserstate"})


@dataclass(frozen=True, slots=True)
class Part:
    """A component that an endpoint takes or gives."""

    id: int
    kind: str
    """Gradio's name for it in lower case: `textbox`, `chatbot`, `state`."""
    hidden: bool
    """Kept by the server: callers send null."""
    value: Any
    """What it holds at first."""
    tuples: bool
    """A chatbot whose history is pairs, not messages."""


@dataclass(frozen=True, slots=True)
class Api:
    """An endpoint: one of the config's `dependencies`."""

    id: int
    name: str
    """"" where it has none and is called by its number."""
    inputs: tuple[Part, ...]
    outputs: tuple[int, ...]
    queued: bool
    public: bool

    def data(self, *values: Any) -> list[Any]:
        """The whole list of inputs, given the visible ones in order; those left out keep what
        they hold at first.
        """
        given = iter(values)
        return [None if part.hidden else next(given, part.value) for part in self.inputs]

    @property
    def run_path(self) -> str:
        """Where it is called past the queue; the number in the body decides."""
        return f"/run/{self.name or 'predict'}"

    @property
    def visible(self) -> list[Part]:
        return [part for part in self.inputs if not part.hidden]


@dataclass(frozen=True, slots=True)
class App:
    """A Gradio app as far as a caller must know it."""

    version: tuple[int, ...]
    protocol: str
    prefix: str
    """Before the paths of its API: `/gradio_api` since Gradio 5, "" before."""
    title: str
    chat_interface: bool
    apis: tuple[Api, ...]

    def api(self, name: str) -> Api | None:
        return next((api for api in self.apis if api.name == name), None)

    @property
    def streams(self) -> bool:
        """Its queue speaks server-sent events that one POST and one GET can use."""
        return self.protocol in STREAMING

    @property
    def kind(self) -> Literal["h2ogpt", "chat"] | None:
        """Which API it has that we can use, h2oGPT's before a plain chat."""
        if self.api(NOCHAT) or self.api(NOCHAT_PLAIN):
            return "h2ogpt"
        return "chat" if self.chat_api else None

    @property
    def chat_api(self) -> Api | None:
        """A public endpoint that takes a message: `/chat`, or the one of a ChatInterface, which
        Gradio 6 names after its function.
        """
        able = [
            a
            for a in self.apis
            if a.name and a.public and a.visible and a.visible[0].kind in TEXT_INPUTS
        ]
        named = next((api for api in able if api.name == "chat"), None)
        if named is not None or not self.chat_interface:
            return named
        return next((api for api in able if _keeps_history(api)), None)

    def seed_api(self, chat: Api) -> Api | None:
        """The endpoint that copies the shown conversation to the state that `chat` reads."""
        kept = {part.id for part in chat.inputs if part.kind == "state"}
        for api in self.apis:
            kinds = [part.kind for part in api.inputs]
            if kinds == ["chatbot"] and kept & set(api.outputs) and not api.queued:
                return api
        return None


def _keeps_history(api: Api) -> bool:
    """It takes a state and gives the same back."""
    return any(part.kind == "state" and part.id in api.outputs for part in api.inputs)


def read_config(body: bytes) -> App:
    """The app of a /config document. Raises UpstreamBadResponse for anything else."""
    try:
        config = orjson.loads(body)
        return _app(config)
    except (orjson.JSONDecodeError, TypeError, ValueError, KeyError, AttributeError):
        raise UpstreamBadResponse("the server's /config is not that of a Gradio app") from None


def _app(config: Mapping[str, Any]) -> App:
    """Raises TypeError, ValueError, KeyError or AttributeError for what is no Gradio config."""
    major = version_of(config.get("version"))
    parts = {entry["id"]: _part(entry, major) for entry in config["components"]}
    listed = enumerate(config["dependencies"])
    apis = [_api(entry, entry.get("id", index), parts) for index, entry in listed]
    prefix = str(config.get("api_prefix") or "").strip("/")
    return App(
        version=major,
        protocol=str(config.get("protocol") or "ws"),
        prefix=f"/{prefix}" if prefix else "",
        title=str(config.get("title") or ""),
        chat_interface=config.get("mode") == "chat_interface",
        apis=tuple(apis),
    )


def _part(entry: Mapping[str, Any], version: tuple[int, ...]) -> Part:
    kind, props = str(entry["type"]).lower(), entry.get("props") or {}
    return Part(
        id=entry["id"],
        kind=kind,
        hidden=kind in HIDDEN or bool(entry.get("skip_api")),
        value=props.get("value"),
        tuples=kind == "chatbot" and version < (6,) and props.get("type") != "messages",
    )


def _api(entry: Mapping[str, Any], number: Any, parts: Mapping[int, Part]) -> Api:
    name = entry.get("api_name")
    visibility = entry.get("api_visibility", "public")
    return Api(
        id=int(number),
        name=str(name).strip("/") if name else "",
        inputs=tuple(parts[i] for i in entry.get("inputs") or ()),
        outputs=tuple(entry.get("outputs") or ()),
        queued=entry.get("queue") is not False,
        public=visibility == "public" and entry.get("show_api") is not False,
    )


def version_of(text: Any) -> tuple[int, ...]:
    """`4.44.1` as numbers; () if it does not begin with one."""
    found = re.match(r"\d+(?:\.\d+)*", text) if isinstance(text, str) else None
    return tuple(map(int, found.group().split("."))) if found else ()
