"""A Markov chain for h2o relay: an example of a plugin that has no server and needs no network.

Each word is chosen by the one before it, as often as it followed it in a text: `markov` learns from
a few sentences of its own, `markov:FILE` from a text file.
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from h2o_relay.chunks import Chunk, Completion
from h2o_relay.errors import InvalidRequest, UpstreamUnavailable
from h2o_relay.hookspecs import hookimpl
from h2o_relay.serverstring import Reader
from h2o_relay.types import Capabilities, Model, Request, Server

PREFIX = "markov"
EXAMPLE = "markov:/path/to/a-text.txt"
WORDS = 60  # of an answer, where a request names no limit
ENDS = (".", "!", "?")
TEXT = """
The relay asks the server and the server answers the relay. The server is slow but the relay waits.
A word follows a word and a sentence follows a sentence. The chain has no plan and no memory. A plan
is a chain of words. The answer is a sentence that ends. A model is a chain that learned more words.
The relay knows no model and no server. A plugin knows the server and tells the relay. The plugin
has no memory and needs no network. A network is slow and a chain is quick. The words are few but
the answer ends.
"""

Chain = dict[str, list[str]]
"""What followed each word; '' stands before a sentence."""


@hookimpl
def parse_server_string(text: str) -> Server | None:
    if text.split(":", 1)[0].strip() != PREFIX:
        return None
    reader = Reader(text, PREFIX, EXAMPLE)
    file = reader.optional() if reader.fields else None
    if reader.fields and file is None:
        raise reader.refuse("the name of a text file is missing")
    reader.end()
    model = Path(file).stem if file else "markov"
    return Server(plugin="markov", model=model, options={"file": file}, shown=reader.shown)


@hookimpl
def capabilities() -> Capabilities:
    return Capabilities(
        fields=frozenset(
            {"model", "messages", "prompt", "stream", "stream_options", "max_tokens", "seed"}
        )
    )


@hookimpl
@asynccontextmanager
async def connect(server: Server) -> AsyncIterator[Chain]:
    """Learn the text once; the other hooks are given the chain as their `client`."""
    file = server.options["file"]
    try:
        text = await asyncio.to_thread(Path(file).read_text, "utf-8") if file else TEXT
    except (OSError, ValueError) as error:
        raise UpstreamUnavailable(f"the text of {server.shown} cannot be read") from error
    chain = await asyncio.to_thread(learn, text)
    if not chain:
        raise UpstreamUnavailable(f"the text of {server.shown} has no words")
    yield chain


@hookimpl
async def list_models(server: Server) -> list[Model]:
    return [Model(id=server.model or PREFIX)]


@hookimpl
async def generate(client: Chain, request: Request) -> Completion:
    words = []
    async for word in answer(client, request):
        words.append(word)  # noqa: PERF401 - the loop has its turn between two words
    return Completion.of(
        ["".join(words)], **about(request), finish_reasons=[reason(words)], usage=usage(words)
    )


@hookimpl
async def stream(client: Chain, request: Request) -> AsyncIterator[Chunk]:
    words = []
    async for word in answer(client, request):
        words.append(word)
        yield Chunk.of(word, **about(request))
    yield Chunk.of("", **about(request), finish_reason=reason(words))
    if (request.params.get("stream_options") or {}).get("include_usage"):
        yield Chunk.of(None, **about(request), usage=usage(words))


def learn(text: str) -> Chain:
    chain: defaultdict[str, list[str]] = defaultdict(list)
    before = ""
    for word in text.split():
        chain[before].append(word)
        before = "" if word.endswith(ENDS) else word
    return dict(chain)


async def answer(chain: Chain, request: Request) -> AsyncIterator[str]:
    """The words, each but the first with its space; others get their turn between two."""
    for number, word in enumerate(walk(chain, request)):
        yield f" {word}" if number else word
        await asyncio.sleep(0)


def walk(chain: Chain, request: Request) -> Iterator[str]:
    """Whole sentences until the limit is reached, or one where the request names no limit."""
    limit = request.params.get("max_tokens")
    if limit is not None and (type(limit) is not int or limit < 1):
        raise InvalidRequest("max_tokens must be a whole number above 0", param="max_tokens")
    choose = random.Random(request.params.get("seed")).choice  # a seed gives the same words again
    word = last_word(request)
    for _ in range(limit or WORDS):
        word = choose(chain.get(word) or chain[""])
        yield word
        if word.endswith(ENDS):
            if limit is None:
                return
            word = ""


def last_word(request: Request) -> str:
    """What the answer goes on from, if the chain knows it."""
    said = request.prompt or request.params.get("prompt")
    if said is None:
        said = request.params["messages"][-1].get("content")
    if isinstance(said, list):
        said = " ".join(part.get("text", "") for part in said if isinstance(part, dict))
    words = str(said or "").split()
    return words[-1] if words else ""


def reason(words: list[str]) -> str:
    return "stop" if words[-1].endswith(ENDS) else "length"


def usage(words: list[str]) -> dict[str, int]:
    """Words count as tokens; what was asked plays no part but for its last word."""
    return {"prompt_tokens": 1, "completion_tokens": len(words), "total_tokens": 1 + len(words)}


def about(request: Request) -> dict[str, Any]:
    return {"id": f"markov-{uuid4().hex[:12]}", "model": request.deployment.model,
            "kind": request.kind}  # fmt: skip
