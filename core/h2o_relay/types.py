"""The vocabulary of the contract: what hooks are given and what they return.

Everything here is a value: nobody changes one that was given to them. Those that are made for each
request are not frozen, which would cost microseconds. `Chunk` and `Completion` live in `chunks.py`
and are published here too.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol

from .chunks import Chunk, Completion
from .frames import Passage
from .strict import unsupported

__all__ = [
    "ALL",
    "Call",
    "Capabilities",
    "Chunk",
    "Completion",
    "Deployment",
    "Direct",
    "Endpoint",
    "Everything",
    "Identified",
    "Kind",
    "Load",
    "Model",
    "Progress",
    "Reply",
    "Request",
    "Server",
    "Target",
    "Tuning",
]

Kind = Literal["chat", "text"]
"""`chat` is OpenAI's /chat/completions, `text` its /completions."""


class Everything(frozenset[str]):
    """The set that contains every field name."""

    def __contains__(self, item: object) -> bool:
        return True

    def __repr__(self) -> str:
        return "ALL"


ALL: Final = Everything()


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One upstream, as a plugin parsed it. Its repr and `shown` hold no secret."""

    plugin: str | None
    """Entry-point name of the owner; None for a bare URL that is still to be identified."""
    url: str | None = None
    """Base URL, as written; None where the plugin has a default or finds it on opening."""
    api: Kind | None = None
    """Which of the two APIs the string asked for, if it did."""
    key: str | None = field(default=None, repr=False)
    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Headers to send with every request; lower-case names."""
    model: str | None = None
    """The model, if the string itself names one."""
    max_seq_len: int | None = None
    """Tokens of context that the operator set (see `Tuning`), for plugins that start an engine."""
    key_env: tuple[str, ...] = ()
    """Environment variables that may hold the key, the first one set wins (see `resolve`)."""
    url_env: tuple[str, ...] = ()
    """The same for the base URL."""
    option_env: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The same for options, by their names; `H2O_<PLUGIN>_<OPTION>` wins."""
    chat_only: tuple[str, ...] = ()
    """Base models beginning with one of these are promoted from `text` to `chat`, unless they
    have `-instruct` in their name (h2oGPT's rule for OpenAI)."""
    needs: tuple[Literal["key", "url"], ...] = ()
    """What must be known once the environment was looked at; `resolve` refuses without it."""
    vendor: str | None = None
    """The product, where one plugin serves several and this is not the plugin's own: `groq`."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The plugin's own fields."""
    by_model: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    """Options for base models that a regular expression finds something in, ignoring case: the
    first that fits, an empty one for all. Those of the environment and of the string win."""
    shown: str = ""
    """The server string with its secrets masked, for people and logs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model as a server lists it."""

    id: str
    max_context: int | None = None
    """Tokens that prompt and answer may have together, if the server says so."""
    kinds: frozenset[Kind] | None = None
    """Which APIs the server has for this model, if it says so; else what `capabilities` says."""
    raw: Mapping[str, Any] = field(default_factory=dict)
    """The server's own entry, whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """What the operator set for one deployment; None where nothing was set."""

    prompt_type: str | int | None = None
    prompt_dict: Mapping[str, Any] | None = None
    chat_template: str | None = None
    """The text of a Jinja chat template."""
    system_prompt: str | None = None
    """For conversations that bring none."""
    max_seq_len: int | None = None
    """Tokens of context, in place of what the server says."""
    max_new_tokens: int | None = None
    """The answer's limit in tokens where a request names none."""
    max_max_new_tokens: int | None = None
    """No request gets more tokens than this."""
    concurrency: int | None = None
    """Requests that run at the same time; others wait their turn."""
    overrides: Mapping[str, Any] = field(default_factory=dict)
    """Request fields, by OpenAI's names, that every request gets whatever it says (h2oGPT's rule
    for sampling parameters in a lock)."""

    @property
    def renders(self) -> bool:
        """The operator says how a conversation becomes a prompt."""
        return (self.prompt_type, self.prompt_dict, self.chat_template) != (None, None, None)


UNTUNED: Final = Tuning()


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """A model on a server under the name that clients ask for."""

    name: str
    server: Server
    model: str
    """The server's own name for it."""
    base_model: str | None = None
    max_context: int | None = None
    """Tokens of context: what was set, else what the server says."""
    kinds: frozenset[Kind] | None = None
    """As in `Model`."""
    tuning: Tuning = UNTUNED
    visible: bool = True
    """Listed for everybody; what is hidden can still be asked for by name."""
    owned_by: str = ""
    created: int = 0
    """Unix time in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a server can do, as far as its plugin can tell without asking it."""

    kinds: frozenset[Kind] = frozenset({"chat", "text"})
    fields: frozenset[str] = ALL
    """Request fields that are honoured; what is not in it is reported to the caller."""
    paths: frozenset[str] = frozenset({"/chat/completions", "/completions", "/models"})
    """OpenAI paths below /v1 that `forward` answers."""
    cancels: frozenset[Literal["stream", "generate"]] = frozenset({"stream", "generate"})
    """Which of the two stop the server's work when their connection is closed. Without
    `generate` the kernel streams from the server and assembles the answer."""
    finishes: bool = True
    """False for servers that end a complete stream without a finish reason."""
    stops: int | None = None
    """The most stop strings that a request may have; the kernel sees to the others."""
    continues_text: bool = False
    """The server can continue a text that it is given as the beginning of its answer."""
    trims_text: bool = False
    """White space at the end of that text may be lost, as transformers' chat templates lose it."""
    tells_tokens: Mapping[str, Any] = field(default_factory=dict)
    """Request fields that make a stream tell its tokens as it goes: vLLM's `return_token_ids`,
    llama.cpp's `timings_per_token`. Asked for where a stream may have to be continued; what they
    add is not shown to the caller."""
    keeps_responses: bool = False
    """Its /responses keeps what it is told to, so that `previous_response_id` works."""
    truncates: bool = False
    """The server takes `truncation: auto` itself (another relay)."""
    tokenizer: bool = False
    """`count_tokens` works."""


class Direct(Protocol):
    """Takes so many whole events, each with a piece of text and no more, or says that it cannot
    take them now."""

    def __call__(self, data: bytes, events: int = 1, /) -> bool: ...


@dataclass(slots=True)  # not kw_only: the kernel makes one for each request, which names make slow
class Request:
    """A generation request in OpenAI's terms."""

    kind: Kind
    params: Mapping[str, Any]
    """The request's fields by OpenAI's names, unknown ones included, `model` and `stream` too."""
    body: bytes | None
    """The caller's own bytes for `params`; None where there are none or they no longer fit."""
    deployment: Deployment
    prompt: str | None = None
    """What `messages` became, where the kernel rendered them: the plugin completes this text, and
    shapes its answer after `kind` all the same. None: the plugin sends the messages."""
    stops: tuple[str, ...] = ()
    """Stop strings that rendering added."""
    continue_from: str | None = None
    """Text that the answer so far consists of, to be continued."""
    notes: dict[str, str] | None = None
    """What the caller is told beside the answer, as headers `x-h2o-<name>`: see `tell`."""
    unread: tuple[str, ...] = ()
    """Fields that are not honoured, beyond what `Capabilities` says: see `drop`."""
    strict: bool = False
    """The caller wants no field ignored."""
    direct: Direct | None = None
    """Sends on what needs no look: a plugin that has such an event from its connection may use it
    instead of a chunk (`Response.offer`). It is there once the first chunk was taken, or never."""
    passage: Passage | None = None
    """Where whole chunks of HTTP may go as they are, once the first token is told of."""

    def tell(self, name: str, value: str) -> None:
        """Add a note, before the first chunk."""
        self.notes = {**(self.notes or {}), name: value}

    def drop(self, *fields: str) -> None:
        """Report request fields as not honoured, before anything is sent: for plugins that learn
        from a server what it takes. Raises InvalidRequest if the caller wants none ignored.
        """
        if self.strict and fields:
            raise unsupported(fields[0])
        self.unread = (*self.unread, *(field for field in fields if field not in self.unread))


@dataclass(slots=True, kw_only=True)
class Call:
    """An HTTP request in OpenAI's shape, before a plugin says where it goes."""

    method: str
    path: str
    """Below /v1, with its leading slash: `/chat/completions`."""
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    """From the kernel's allow-list; lower-case names."""
    body: bytes | AsyncIterable[bytes] = b""
    params: Mapping[str, Any] | None = None
    """The decoded body, where the kernel has it."""
    strict: bool = False
    """Fields that are not honoured are refused before anything is sent (`translated.left_out`)."""


@dataclass(slots=True, kw_only=True)
class Target:
    """Where and how a `Call` is sent. A relative `url` is joined to the client's base."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | AsyncIterable[bytes] = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """What a plugin's `connect` yields to let the kernel's HTTP client do the rest: the base that
    relative `Target` URLs are joined to, and headers for every request to it."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(slots=True, kw_only=True)
class Reply:
    """An upstream's answer, not yet read."""

    status: int
    headers: Mapping[str, str]
    chunks: AsyncIterator[bytes]
    dropped: tuple[str, ...] = ()
    """Fields of the request that are not honoured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identified:
    """A plugin recognised the server behind a bare URL; the highest rank decides."""

    server: Server
    rank: int
    """10 for any OpenAI-compatible server, 50 for a particular product."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """How busy a server is, in its own words."""

    running: int | None = None
    waiting: int | None = None
    cache_use: float | None = None
    """Share of the KV cache that is taken, 0 to 1."""
    loaded: frozenset[str] | None = None
    """Models that are in the server's memory, where it says so."""


class Progress(Protocol):
    """Told how a download goes: bytes so far, bytes in all (None: unknown), what is being done."""

    def __call__(self, done: int, total: int | None, what: str) -> None: ...


Getter = Callable[[str], Awaitable[tuple[int, Mapping[str, str], bytes]]]
"""`await get(path)` GETs a path below a bare URL: status, headers, at most 1 MiB of body."""
