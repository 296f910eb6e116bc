"""Servers that speak the caller's dialect: the caller receives the very payloads that the server
sent, but for the model's name, of which the caller has another.
"""

from __future__ import annotations

import orjson
import pytest

from .backends import MODEL, Backend
from .features import BASES, FEATURES
from .kit import NAME
from .measuring import NATIVE, Measured

pytestmark = pytest.mark.asyncio(loop_scope="module")
OURS, THEIRS = b'"model":%b' % orjson.dumps(NAME), b'"model":%b' % orjson.dumps(MODEL)
MENDED = {
    "llama_cpp": {"logprobs, alternatives"},
    "tgi": {
        "tools, several calls", "tools, streamed arguments", "tool_choice, a function",
        "tool_choice, required", "stop",
    },
}  # fmt: skip
"""llama.cpp tells log-probabilities of texts as those of chats. TGI's calls of tools are not quite
OpenAI's, and it leaves stop strings in its answers.
"""


@pytest.mark.parametrize("dialect", FEATURES)
async def test_a_stream_has_the_servers_own_events(measured: Measured, dialect: str) -> None:
    compared = 0
    for feature in FEATURES[dialect]:
        base = {**BASES[dialect], **feature.beside, "stream": True}
        word = await measured.becomes(dialect, base, feature.fields)
        if word != NATIVE or feature.name in MENDED.get(measured.backend.name, ()):
            continue
        compared += 1
        found = await measured.outcome(dialect, {**base, **feature.fields})
        (sent,) = found.answers
        events = lines(found.reply.body)
        assert events
        if measured.backend.invoked:  # the server's events are in frames of Amazon's
            assert [event for event in events if event not in sent] == [], feature.name
        else:
            assert events == lines(sent.replace(THEIRS, OURS)), feature.name
    assert compared >= expected(measured.backend, dialect)


@pytest.mark.parametrize("dialect", FEATURES)
async def test_a_whole_answer_is_the_servers_own(measured: Measured, dialect: str) -> None:
    if measured.backend.name == "llama_cpp" and dialect in ("chat", "text"):
        return  # assembled of a stream, which is all that llama.cpp stops when its caller leaves
    compared = 0
    for feature in FEATURES[dialect]:
        base = {**BASES[dialect], **feature.beside}
        asked = {**base, **feature.fields}
        word = await measured.becomes(dialect, base, feature.fields)
        mended = feature.name in MENDED.get(measured.backend.name, ())
        if word != NATIVE or mended or asked.get("stream"):
            continue
        compared += 1
        found = await measured.outcome(dialect, asked)
        (sent,) = found.answers
        assert found.reply.body == sent.replace(THEIRS, OURS), feature.name
    assert compared >= expected(measured.backend, dialect)


def expected(backend: Backend, dialect: str) -> int:
    """Features that must at least have been compared: most of what an OpenAI-shaped server has."""
    if dialect in ("responses", "messages") or not (backend.openai_shaped or backend.invoked):
        return 0
    if backend.name == "tgi":
        return 10 if dialect == "chat" else 0
    return 15 if backend.name != "vllm, rendered" or dialect == "text" else 0


def lines(body: bytes) -> list[bytes]:
    """The payloads of a stream's events."""
    return [line for line in body.split(b"\n") if line.startswith((b"data: ", b"event: "))]
