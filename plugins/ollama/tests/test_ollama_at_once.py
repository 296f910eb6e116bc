"""Lines that bring text alone go to the caller at once, in the bytes of the ordinary way."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import aclosing
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import h2o_relay_ollama
from h2o_relay.errors import RelayError, UpstreamError, UpstreamIncomplete
from h2o_relay.frames import Passage
from h2o_relay.http import HttpClient
from h2o_relay.testing.scripts import Play, chunk, each, play, stream
from h2o_relay.testing.settings import quick
from h2o_relay.testing.upstream import ScriptedUpstream
from h2o_relay.types import Deployment, Kind, Request, Server
from h2o_relay_ollama import answers
from h2o_relay_ollama.answers import Translator, chunk_of
from h2o_relay_ollama.at_once import LINE, framed, taking
from h2o_relay_ollama.lines import Lines, decoded

pytestmark = pytest.mark.usefixtures("leaves_nothing")
WHEN = "2026-11-22T20:00:00.123456Z"
SERVER = Server(plugin="ollama", url="http://h")
HEAD = {"model": "m", "created_at": WHEN}
DONE = {"done": True, "done_reason": "stop", "prompt_eval_count": 3, "eval_count": 7}
LIMIT = 2000


def request(kind: Kind = "chat", server: Server = SERVER, usage: bool = False) -> Request:
    params = {"stream": True, "messages": [{"role": "user", "content": "hi"}], "prompt": "hi"}
    if usage:
        params["stream_options"] = {"include_usage": True}
    deployment = Deployment(name="public", server=server, model="m")
    return Request(kind=kind, params=params, body=None, deployment=deployment)


def said(content: Any = "a", *, more: Any = None, **message: Any) -> dict[str, Any]:
    text = {"role": "assistant", "content": content, **message}
    return {**HEAD, "message": text, "done": False, **(more or {})}


def generated(response: Any = "a", **more: Any) -> dict[str, Any]:
    return {**HEAD, "response": response, "done": False, **more}


def wire(line: Any, **style: Any) -> bytes:
    """As Go writes it: no spaces, and `<`, `>`, `&` and others as escapes; or in another style."""
    text = json.dumps(line, **{"separators": (",", ":"), "ensure_ascii": False, **style})
    for odd in "<>&\u2028\u2029":
        text = text.replace(odd, f"\\u{ord(odd):04x}")
    return text.encode("utf-8", "surrogatepass") + b"\n"


class Taker:
    """What an answer that has begun takes, and hands on."""

    def __init__(self, kind: Kind = "chat", usage: bool = False, full: bool = False) -> None:
        self.translator = Translator(SERVER, request(kind, usage=usage))
        self.translator.events(said())
        self.lines = Lines(LIMIT)
        self.full = full
        self.handed: list[tuple[bytes, int]] = []
        self.take = taking(self._direct, self.lines, self.translator)

    def _direct(self, data: bytes, events: int = 1, /) -> bool:
        if not self.full:
            self.handed.append((data, events))
        return not self.full

    def ordinary(self, *lines: bytes) -> bytes:
        events = [e for line in lines for e in self.translator.events(decoded(line))]
        assert not self.translator.finished
        return chunk_of(events).raw


TEXTS = st.text(min_size=1, max_size=12) | st.lists(
    st.sampled_from(['"', "\\", '"},"done":true', "\n", "\x00", "</b>", "\u2028", "é☃😀", "}\n{"]),
    min_size=1, max_size=4,
).map("".join)  # fmt: skip
STYLES = ({}, {"ensure_ascii": True}, {"separators": (", ", ": ")})


@given(TEXTS, st.sampled_from(STYLES), st.sampled_from(["chat", "text"]), st.booleans())
@example("x" * 1000, {}, "chat", False)
def test_the_bytes_are_those_of_the_ordinary_way(
    text: str, style: dict[str, Any], kind: Kind, usage: bool
) -> None:
    taker = Taker(kind, usage)
    remote = {"remote_model": "r", "remote_host": "https://h"}
    for line in (said(text), said("", thinking=text), said(text, thinking=""), generated(text),
                 generated("", thinking=text), said(text, more=remote)):  # fmt: skip
        data = wire(line, **style)
        assert taker.take(data)
        assert taker.handed.pop() == (taker.ordinary(data), 1)


def test_ordinary_lines_need_no_parser() -> None:
    for data in (wire(said("a")), wire(said(" b?")), wire({**said("a"), "model": "llama3.2:3b"})):
        assert LINE.fullmatch(data)
    assert LINE.fullmatch(wire(said("é"))) is None


@given(st.lists(TEXTS, min_size=2, max_size=5))
def test_several_lines_that_came_together(texts: list[str]) -> None:
    taker = Taker()
    lines = [wire(said(text)) for text in texts]
    assert taker.take(b"".join(lines))
    assert taker.handed == [(taker.ordinary(*lines), len(texts))]


GOOD = wire(said())
OTHERS = [
    wire({**said(""), **DONE}),
    wire({**said("a"), **DONE}),
    wire({"error": "out of memory"}),
    wire(said(more={"error": "out of memory"})),
    wire(said("", tool_calls=[{"function": {"name": "f", "arguments": {}}}])),
    wire(said("a", tool_calls=[])),
    wire(said("a", images=["aGk="])),
    wire(said("a", more={"logprobs": [{"token": "a", "logprob": -1.0, "bytes": [97]}]})),
    wire(said("a", thinking="b")),
    wire(said("a", thinking=5)),
    wire(said("a", thinking=None)),
    wire(said("")),
    wire(said(None)),
    wire(said(5)),
    wire(said(0, thinking="a")),
    wire(said(None, thinking="a")),
    wire(said("", thinking="")),
    wire({**HEAD, "thinking": "a", "done": False}),
    wire({**HEAD, "message": None, "done": False}),
    wire({**HEAD, "message": "a", "done": False}),
    wire(generated(None)),
    wire({**said(), "done": None}),
    wire({**said(), "done": 0}),
    wire(said(), indent=1),
    wire([said()]),
    b"5\n",
    b"{}\n",
    b"\n",
    b"",
    GOOD[:-1],
    GOOD + b"\n",
    GOOD + GOOD[:-1],
    GOOD + wire({**said(""), **DONE}),
    wire({"error": "x"}) + GOOD,
    GOOD[:40],
    GOOD[40:],
    wire(said("x" * LIMIT)),
    wire(said("\ud800")),
    wire(said("@")).replace(b"@", b"\\ud800"),
    wire(said("@")).replace(b"@", b"\xff"),
    wire(said("@")).replace(b"@", b"\xed\xa0\x80"),
    wire(said("@")).replace(b"@", b"\x01"),
    wire(said("@")).replace(b"@", b"\\x"),
    wire(said("@")).replace(b"@", b'"'),
    wire(said("@")).replace(b"@", b"\\"),
    GOOD.replace(b"Z", b"\xff"),
    GOOD.replace(b"Z", b"\t"),
    GOOD.replace(b'Z"', b'Z\\"'),
    GOOD.replace(b"false", b"falsee"),
]


@pytest.mark.parametrize("data", OTHERS)
def test_what_is_not_taken(data: bytes) -> None:
    taker = Taker()
    assert not taker.take(data)
    assert taker.take(GOOD), "what follows may be"
    assert taker.handed == [(taker.ordinary(GOOD), 1)]


def test_nothing_within_a_line() -> None:
    taker = Taker()
    taker.lines.feed(b'{"model":"m",')
    assert not taker.take(GOOD)
    taker.lines.feed(b'"done":false}\n')
    assert taker.take(GOOD)


def test_nothing_for_a_caller_who_reads_too_slowly() -> None:
    taker = Taker(full=True)
    assert not taker.take(GOOD)
    assert not taker.take(GOOD + GOOD)
    taker.full = False
    assert taker.take(GOOD)


class Framed(Taker):
    """What goes on in chunks of HTTP: those handed on, and how many were counted."""

    def __init__(self, rename: Any = None, limit: int = LIMIT) -> None:
        super().__init__()
        self.lines.limit = limit
        self.pieces = 0
        self.last: bytes | None = None
        self.written: list[bytes] = []
        self.write = self.written.append
        take = framed(Passage(self, self, rename), self.lines, self.translator)
        assert take is not None
        self.give_back = take


FRAMED = chunk(GOOD)


@pytest.mark.parametrize("text", ["a", " word", "x" * 300, "\x7f~ !#[]"])
def test_a_chunk_of_http(text: str) -> None:
    for size in (b"%x", b"%X", b"00%x"):
        taker, line = Framed(), wire(said(text))
        assert taker.give_back(size % len(line) + b"\r\n%b\r\n" % line) == b""
        assert taker.written == [chunk(taker.ordinary(line))]
        assert (taker.pieces, taker.last) == (1, taker.written[0])


def test_a_chunk_for_who_knows_the_model_by_another_name() -> None:
    taker = Framed(lambda event: event.replace(b'"m"', b'"another"'))
    assert taker.give_back(FRAMED) == b""
    assert taker.written == [chunk(taker.ordinary(GOOD).replace(b'"m"', b'"another"'))]


@pytest.mark.parametrize(
    "data",
    [
        FRAMED + FRAMED,
        FRAMED[:-1],
        FRAMED[1:],
        FRAMED + b"0",
        FRAMED.replace(b"\r\n", b"\n"),
        FRAMED.replace(b"\r\n", b";a=b\r\n", 1),
        b"1" + FRAMED,
        b"%x\r\n%b\r\n" % (len(GOOD) - 1, GOOD),
        b"%x\r\n%b\r\n" % (len(GOOD) + 1, GOOD),
        chunk(wire(said("x" * LIMIT))),
        *[chunk(data) for data in OTHERS],
        b"0\r\n\r\n",
        b"0\r\nx-end: 1\r\n\r\n",
    ],
)
def test_chunks_that_are_given_back(data: bytes) -> None:
    taker = Framed()
    assert taker.give_back(data) == data
    assert (taker.written, taker.pieces) == ([], 0)
    assert taker.give_back(FRAMED) == b""


def test_no_chunk_within_a_line_or_for_a_slow_caller() -> None:
    taker = Framed()
    taker.lines.feed(b'{"model"')
    assert taker.give_back(FRAMED) == FRAMED
    taker.lines.feed(b":1}\n")
    taker.full = True
    assert taker.give_back(FRAMED) == FRAMED
    taker.full = False
    assert taker.give_back(FRAMED) == b""


class Answered:
    """What a stream gave: all bytes in order, those that went by at once, and how it ended."""

    def __init__(self) -> None:
        self.raw = b""
        self.at_once = 0
        self.error: RelayError | None = None


async def streamed(script: Play, monkeypatch: pytest.MonkeyPatch, every: int = 1) -> Answered:
    """Of the pieces that could go by at once, `every` so many are refused; 0 for all."""
    monkeypatch.setattr(answers, "uuid4", lambda: SimpleNamespace(hex="1" * 32))
    monkeypatch.setattr(answers.time, "time", lambda: 1.0)
    found, offered = Answered(), 0

    def direct(data: bytes, events: int = 1, /) -> bool:
        nonlocal offered
        offered += 1
        if not every or (every > 1 and offered % every == 0):
            return False
        assert data.count(b"\n\n") == events
        found.raw += data
        found.at_once += events
        return True

    async with ScriptedUpstream(script) as upstream, HttpClient(quick()) as client:
        server = Server(plugin="ollama", url=upstream.url)
        asked = request(server=server, usage=True)
        async with aclosing(h2o_relay_ollama.stream(server, client, asked)) as chunks:
            try:
                async for chunk in chunks:
                    found.raw += chunk.raw
                    asked.direct = direct
            except RelayError as error:
                found.error = error
    return found


def answer(lines: Sequence[Any]) -> Play:
    return stream([wire(line) for line in lines], content_type="application/x-ndjson")


WORDS = [f" w{n}" for n in range(12)]
CALL = said("", tool_calls=[{"id": "c1", "function": {"name": "f", "arguments": {"a": 1}}}])
WHOLE = [
    *[said("", thinking=word) for word in WORDS], *map(said, WORDS), said('q"\n<é☃'), CALL,
    *map(said, WORDS), {**said(""), **DONE},
]  # fmt: skip


@pytest.mark.parametrize("every", [1, 2, 3])
async def test_a_whole_answer(monkeypatch: pytest.MonkeyPatch, every: int) -> None:
    """With a line of another shape in between, and callers who cannot take every piece."""
    script = answer(WHOLE).paced(0.01)
    quickly = await streamed(script, monkeypatch, every)
    ordinarily = await streamed(script, monkeypatch, 0)
    assert quickly.raw == ordinarily.raw
    assert (quickly.error, ordinarily.error, ordinarily.at_once) == (None, None, 0)
    assert quickly.at_once > len(WORDS)
    assert quickly.raw.count(b"data: ") == len(WHOLE) + 1  # the usage
    assert b'"usage":{"prompt_tokens":3,"completion_tokens":7' in quickly.raw


@pytest.mark.parametrize("size", [1, 7, 60, 133, 1000, 10_000])
async def test_wherever_it_is_cut(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """In TCP segments, and in HTTP chunks."""
    script = answer(WHOLE)
    ordinarily = await streamed(script, monkeypatch, 0)
    for cut in (script.recut(each(size)), script.rechunk(each(size)).paced(0.001 * (size > 9))):
        assert (await streamed(cut, monkeypatch)).raw == ordinarily.raw


async def test_several_lines_in_an_http_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [wire(line) for line in WHOLE]
    threes = [b"".join(lines[at : at + 3]) for at in range(0, len(lines), 3)]
    script = stream(threes, content_type="application/x-ndjson").paced(0.01)
    quickly = await streamed(script, monkeypatch)
    assert quickly.raw == (await streamed(script, monkeypatch, 0)).raw
    assert quickly.at_once > len(WORDS)


async def test_an_error_after_them(monkeypatch: pytest.MonkeyPatch) -> None:
    script = answer([*map(said, WORDS), {"error": "llama runner process has terminated"}])
    for found in [await streamed(script.paced(0.01), monkeypatch, every) for every in (1, 0)]:
        assert isinstance(found.error, UpstreamError)
        assert [e["choices"][0]["delta"]["content"] for e in payloads(found.raw)] == WORDS


async def test_an_end_without_the_last_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the end of the message comes with the last piece."""
    *steps, last, end = answer(list(map(said, WORDS))).steps
    assert isinstance(last, bytes)
    assert isinstance(end, bytes)
    for script in (play(*steps, last, end), play(*steps, last + end)):
        found = await streamed(script.paced(0.01), monkeypatch)
        assert isinstance(found.error, UpstreamIncomplete)
        assert [e["choices"][0]["delta"]["content"] for e in payloads(found.raw)] == WORDS
        assert found.at_once


def payloads(raw: bytes) -> list[Any]:
    return [orjson.loads(event[6:]) for event in raw.split(b"\n\n") if event]
