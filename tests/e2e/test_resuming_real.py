"""A real llama.cpp server goes on with what was said: the same words as without a break.

Greedy, so that the text is the undisturbed one wherever the server makes the same tokens of what
was said as it had itself. The words asked for are far likelier than any others: a prompt that is
computed at once rounds otherwise than token after token, and would let another win a near tie.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, cast

import orjson
import pytest

import h2o_relay_llama_cpp as llama
from h2o_relay.chunks import END, PREFIX, Chunk
from h2o_relay.errors import RelayError, UpstreamDisconnected
from h2o_relay.http import HttpClient
from h2o_relay.resuming import Said, continued, resumable, resuming
from h2o_relay.settings import Settings
from h2o_relay.types import Deployment, Kind, Request, Server

from .conftest import KEY

pytestmark = pytest.mark.e2e
EXACT = {"temperature": 0, "seed": 1, "cache_prompt": False, "max_tokens": 32, "stream": True}
ASKED = "Count from 1 to 20."
TALK = [
    {"role": "system", "content": "You are a helpful assistant."},
    {"role": "user", "content": ASKED},
]
PROMPT = "1, 2, 3, 4,"
CHATML = "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in TALK)
ASKINGS: dict[str, tuple[Kind, dict[str, Any], str | None]] = {
    "chat": ("chat", {"messages": TALK}, None),
    "text": ("text", {"prompt": PROMPT}, None),
    "rendered": ("chat", {"messages": TALK}, f"{CHATML}<|im_start|>assistant\n"),
    "begun": (
        "chat",
        {
            "messages": [*TALK, {"role": "assistant", "content": "1. 1\n2. 2\n3."}],
            "continue_final_message": True, "add_generation_prompt": False,
        },
        None,
    ),
}  # fmt: skip


class Asking:
    """One way of asking the server, undisturbed or broken off."""

    def __init__(self, http: HttpClient, url: str, way: str) -> None:
        root = url.removesuffix("/v1")
        self.server = Server(plugin="llama_cpp", url=root, key=KEY)
        self.http = http.at(root, {"authorization": f"Bearer {KEY}"})
        self.can = llama.capabilities(self.server)
        self.kind, self.params, self.prompt = ASKINGS[way]

    def request(self) -> Request:
        return Request(
            kind=self.kind, params={**self.params, **EXACT, "model": "smollm2",
                                    "stream_options": {"include_usage": True}},
            body=None, prompt=self.prompt,
            deployment=Deployment(name="m", server=self.server, model="smollm2"),
        )  # fmt: skip

    async def stream(self, request: Request) -> AsyncGenerator[Chunk, None]:
        """One event to a chunk, however they came."""
        streaming = llama.stream(self.server, self.http, request)
        async with aclosing(cast("AsyncGenerator[Chunk, None]", streaming)) as chunks:
            async for chunk in chunks:
                for payload in chunk.payloads():
                    yield Chunk(PREFIX + payload + END)

    async def broken(self, after: Sequence[int]) -> tuple[Said, list[Chunk]]:
        """The answer of servers of which each breaks off after so many pieces of text."""
        request, said, turns = self.request(), Said(self.kind), iter([*after, 10**6])
        assert resumable(self.kind, request.params, request, self.can)
        said.begin(request, self.can)

        async def upto(request: Request) -> AsyncGenerator[Chunk, None]:
            left = next(turns)
            async with aclosing(self.stream(request)) as chunks:
                async for chunk in chunks:
                    left -= bool(chunk.text)
                    if left < 0:
                        raise UpstreamDisconnected("killed")
                    yield chunk

        async def again(error: RelayError) -> AsyncGenerator[Chunk, None]:
            fresh = self.request()
            params, changes = continued(self.kind, fresh.params, fresh, said, self.can)
            return upto(replace(fresh, params=params, **changes))

        return said, [chunk async for chunk in resuming(upto(request), said, again)]

    async def pieces(self, text: str) -> list[str]:
        """The server's own tokens of a text, as texts."""
        body = orjson.dumps({"content": text, "with_pieces": True})
        async with self.http.request("POST", "/tokenize", headers={}, body=body) as response:
            found = orjson.loads(await response.read(2**20))["tokens"]
        return [str(token["piece"]) for token in found]


@pytest.mark.parametrize("way", ASKINGS)
async def test_it_goes_on_word_for_word(llama_server: str, way: str) -> None:
    async with HttpClient(Settings()) as http:
        asking = Asking(http, llama_server, way)
        undisturbed = [chunk async for chunk in asking.stream(asking.request())]
        whole = "".join(chunk.text for chunk in undisturbed)
        words = [chunk.text for chunk in undisturbed if chunk.text]
        usage = undisturbed[-1].usage
        assert len(words) > 15
        assert usage is not None
        same = 0
        for k in range(1, len(words), 6):
            said, chunks = await asking.broken([k])
            text = "".join(chunk.text for chunk in chunks)
            before = "".join(words[:k])
            assert text.startswith(before)
            assert said.text == text
            if await asking.pieces(before) == words[:k]:
                assert text == whole
                same += 1
            check_shape(chunks, asking.kind)
            assert said.resumed == 1
            if text == whole:
                found = chunks[-1].usage
                assert found is not None
                assert found["completion_tokens"] == usage["completion_tokens"]
                assert found["prompt_tokens"] == usage["prompt_tokens"]
        assert same >= 4


async def test_it_goes_on_again_and_again(llama_server: str) -> None:
    async with HttpClient(Settings()) as http:
        asking = Asking(http, llama_server, "chat")
        undisturbed = [chunk async for chunk in asking.stream(asking.request())]
        said, chunks = await asking.broken([1, 2, 3, 4, 5, 6])
        assert said.resumed == 6
        assert "".join(c.text for c in chunks) == "".join(c.text for c in undisturbed)
        check_shape(chunks, "chat")
        usage = chunks[-1].usage
        assert usage is not None
        assert usage == {**(undisturbed[-1].usage or {}), "prompt_tokens_details": {
            "cached_tokens": 0}}  # fmt: skip


def check_shape(chunks: list[Chunk], kind: Kind) -> None:
    """One answer: one id, one role, one finish, no field that only the relay asked for."""
    events = [event for chunk in chunks for event in chunk.events()]
    assert len({(e["id"], e["model"]) for e in events}) == 1
    choices = [choice for event in events for choice in event["choices"]]
    assert sum(bool(choice["finish_reason"]) for choice in choices) == 1
    if kind == "chat":
        assert sum("role" in choice["delta"] for choice in choices) == 1
    assert not any("timings" in e for e in events if e["choices"][:1] and not e["choices"][0][
        "finish_reason"])  # fmt: skip
