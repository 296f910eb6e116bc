"""What containers answer, however it is cut into payload parts."""

from collections.abc import Sequence
from typing import Any

import orjson
import pytest

from h2o_relay.errors import (
    RelayError,
    UpstreamBadResponse,
    UpstreamDisconnected,
    UpstreamIncomplete,
    UpstreamResponseTooLarge,
)
from h2o_relay.testing.scripts import Play, each, json, whole
from h2o_relay.testing.settings import quick
from h2o_relay.testing.upstream import Received
from h2o_relay_sagemaker.event_stream import Events, Frames
from h2o_relay_sagemaker.shapes import Generated, OpenAI
from h2o_relay_sagemaker.standin import (
    LmiContainer,
    OpenAIContainer,
    TgiContainer,
    frame,
    part,
    streamed,
)

from .sagemaker_kit import HELLO, LLAMA2, asked, request_of, server_of

TEXTS = ["é", "\U0001f99c "]
CHAT = Received("POST", "/x", {}, orjson.dumps({"messages": HELLO, "stream": True}), 0.0)
TGI = "sagemaker:test-model:us-east-2"


def events_of(pieces: Sequence[bytes], limit: int = 10_000) -> list[Any]:
    events = Events(limit, "ep")
    found = [event for piece in pieces for _, event in events.feed(piece)]
    return found + [event for _, event in events.end()]


def parts(body: bytes) -> Play:
    """The bytes of a container, one payload part each."""
    return streamed([part(bytes([byte])) for byte in body])


class TestPayloadParts:
    @pytest.mark.parametrize("container", [OpenAIContainer(), TgiContainer(), LmiContainer()])
    def test_may_be_cut_anywhere(self, container: Any) -> None:
        body = b"".join(container.events(CHAT, TEXTS))
        expected = events_of([body])
        assert len(expected) >= 2
        assert events_of(each(1)(body)) == expected
        for place in range(1, len(body)):
            assert events_of([body[:place], body[place:]]) == expected, place

    async def test_one_byte_each_through_the_relay(self) -> None:
        body = b"".join(TgiContainer().events(CHAT, TEXTS))
        async with asked(parts(body), TGI) as relay:
            chunks = await relay.stream("text")
        assert "".join(chunk.text for chunk in chunks) == "".join(TEXTS)
        assert chunks[-1].finish_reason == "stop"

    async def test_openai_events_keep_their_bytes(self) -> None:
        payloads = OpenAIContainer.inner.payloads(CHAT, TEXTS)
        body = b"".join(OpenAIContainer().events(CHAT, TEXTS))
        async with asked(parts(body)) as relay:
            chunks = await relay.stream()
        assert [item for chunk in chunks for item in chunk.payloads()] == payloads

    @pytest.mark.parametrize(
        "body",
        [
            b'data:{"a":1}\n\ndata:{"a":2}\n\n',
            b'data: {"a":1}\r\n\r\ndata: {"a":2}\r\n\r\n',
            b'data: {"a":1}\ndata: {"a":2}\n',
            b': hi\nevent: x\nid: 1\ndata: {"a":1}\n\nretry: 5\ndata: {"a":2}\n\ndata: [DONE]\n\n',
            b'data: {"a":\ndata: 1}\n\ndata: {"a": 2}\n\n',
            b'\xef\xbb\xbfdata: {"a":1}\n\ndata: {"a":2}',
            b'{"a":1}\n{"a":2}\n',
            b'\n{"a":1}\n\n{"a":2}',
            b'{\n  "a": 1\n}\n{\n  "a": 2\n}\n',
        ],
    )
    def test_formats(self, body: bytes) -> None:
        assert events_of([body]) == events_of(each(1)(body)) == [{"a": 1}, {"a": 2}]

    @pytest.mark.parametrize("body", [b"It works!\n", b"It works!", b"data: hm\n\n", b"<p>\n\n"])
    def test_what_is_no_event_is_an_error(self, body: bytes) -> None:
        with pytest.raises(UpstreamBadResponse, match="neither server-sent events nor JSON lines"):
            events_of([body])

    def test_half_an_event_is_incomplete(self) -> None:
        with pytest.raises(UpstreamIncomplete):
            events_of([b'data: {"a":1}\n\ndata: {"a"'])

    @pytest.mark.parametrize("start", [b"data: {", b"{", b'{"a":1}\n{\n'])
    def test_an_endless_event_is_too_large(self, start: bytes) -> None:
        with pytest.raises(UpstreamResponseTooLarge):
            events_of([start, *[b"x" * 50] * 3], limit=100)


class TestFrames:
    def test_may_be_cut_anywhere(self) -> None:
        wire = part(b"one") + frame({":message-type": "event", ":event-type": "New"}, b"?")
        wire += part(b"") + part(b"two")
        for cut in (each(1), each(7), each(10_000)):
            frames = Frames("ep")
            assert [p for data in cut(wire) for p in frames.feed(data)] == [b"one", b"two"]
            frames.end()

    def test_damage_is_noticed(self) -> None:
        good = part(b"hello")
        for place in range(len(good)):
            bad = good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :]
            frames = Frames("ep")
            with pytest.raises(UpstreamBadResponse, match="damaged"):
                list(frames.feed(bad))

    def test_an_end_within_a_frame(self) -> None:
        frames = Frames("ep")
        assert list(frames.feed(part(b"one") + part(b"two")[:-1])) == [b"one"]
        with pytest.raises(UpstreamDisconnected):
            frames.end()


class TestContainers:
    async def test_finish_reasons_and_usage_of_tgi(self) -> None:
        body = b"".join(TgiContainer().events(CHAT, TEXTS)).replace(b"eos_token", b"length")
        async with asked(parts(body), TGI) as relay:
            *_, last, usage = await relay.stream("text", stream_options={"include_usage": True})
        assert last.finish_reason == "length"
        assert usage.usage == {"prompt_tokens": 4, "completion_tokens": 6, "total_tokens": 10}

    async def test_no_usage_where_the_prompt_was_not_counted(self) -> None:
        body = b"".join(LmiContainer().events(CHAT, TEXTS))
        async with asked(parts(body), TGI) as relay:
            chunks = await relay.stream("text", stream_options={"include_usage": True})
        *said, last = chunks
        assert said[-1].finish_reason == "stop"
        assert all(chunk.usage is None for chunk in said)
        assert (last.usage or {})["estimated"] is True  # the relay's own

    async def test_lmis_static_batching_has_no_finish_reason(self) -> None:
        async with asked(parts(b'{"outputs": ["Hel"]}\n{"outputs": ["lo"]}\n'), TGI) as relay:
            chunks = await relay.stream("text")
        assert "".join(chunk.text for chunk in chunks) == "Hello"
        assert chunks[-1].finish_reason == "stop"

    async def test_lmis_chat_lines_get_openais_finish_reason(self) -> None:
        choice = {"index": 0, "delta": {"content": "Hi"}, "finish_reason": "eos_token"}
        line = orjson.dumps({"id": "chatcmpl-0", "choices": [choice]}) + b"\n"
        for media in ("application/jsonlines", "application/json"):
            async with asked(streamed([part(line)], media)) as relay:
                (chunk,) = await relay.stream()
            assert (chunk.text, chunk.finish_reason) == ("Hi", "stop")

    @pytest.mark.parametrize(
        ("answer", "text"),
        [
            ([{"generated_text": "Hi"}], "Hi"),
            ({"generated_text": "Hi", "details": None}, "Hi"),
            ([{"generation": "Hi"}], "Hi"),
            ([{"generation": {"role": "assistant", "content": " Hi"}}], " Hi"),
        ],
    )
    async def test_whole_answers(self, answer: Any, text: str) -> None:
        async with asked(json(answer), base_model=LLAMA2) as relay:
            completion = await relay.generate()
        assert (completion.text, completion.finish_reason) == (text, "stop")
        assert completion.data["object"] == "chat.completion"
        assert completion.data["model"] == LLAMA2

    @pytest.mark.parametrize("answer", [{}, [], [{}], "Hi", None, {"generated_text": 1}])
    async def test_answers_without_a_text(self, answer: Any) -> None:
        async with asked(json(answer), TGI) as relay:
            error = await relay.failure("generate", kind="text")
        assert isinstance(error, UpstreamBadResponse)
        assert "without a text" in error.message

    async def test_errors_in_a_stream(self) -> None:
        events = TgiContainer().events(CHAT, TEXTS, None)
        said = b'data:{"error":"CUDA is out of memory","error_type":"generation"}\n\n'
        async with asked(parts(b"".join(events) + said), TGI) as relay:
            error = await relay.failure("stream", kind="text")
        assert isinstance(error, UpstreamBadResponse)
        assert "CUDA is out of memory" in error.message

    async def test_lmis_failed_generation(self) -> None:
        body = b'{"token":{"id":-1,"text":"","special_token":true},"generated_text":"",'
        body += b'"details":{"finish_reason":"error"}}\n'
        async with asked(parts(body), TGI) as relay:
            error = await relay.failure("stream", kind="text")
        assert isinstance(error, UpstreamBadResponse)

    async def test_a_stream_of_nothing(self) -> None:
        async with asked(streamed([])) as relay:
            assert isinstance(await relay.failure("stream"), UpstreamIncomplete)

    async def test_an_event_over_the_limit(self) -> None:
        body = b'data: {"x": "' + b"x" * 5000 + b'"}\n\n'
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("H2O_MAX_EVENT", "4096")
            async with asked(streamed([part(body)]), settings=quick(max_event=4096)) as relay:
                error = await relay.failure("stream")
        assert isinstance(error, UpstreamResponseTooLarge)


class TestContainersThatCannotStream:
    @pytest.mark.parametrize(
        ("text", "kind", "answer"),
        [
            (TGI, "text", TgiContainer().whole(CHAT, TEXTS, "stop")),
            (f"{TGI}:llama2", "chat", [{"generation": {"content": "Hi"}}]),
            ("sagemaker_chat:test-model:us-east-2", "chat",
             OpenAIContainer().whole(CHAT, TEXTS, "stop")),
            ("sagemaker_chat:test-model:us-east-2", "text",
             {"object": "text_completion", "choices": [{"text": "Hi", "finish_reason": "stop"}]}),
        ],
    )  # fmt: skip
    async def test_are_reported_by_name(self, text: str, kind: Any, answer: Any) -> None:
        answered = streamed([part(orjson.dumps(answer))], "application/json")
        async with asked(answered, text) as relay:
            error = await relay.failure("stream", kind=kind)
            assert isinstance(error, UpstreamBadResponse)
            assert "endpoint test-model cannot stream" in error.message
            relay.upstream.script = json(answer)
            assert (await relay.generate(kind)).text


class TestRenderedPrompts:
    """Text from the server, shaped as the chat that was asked for."""

    def chunks(self, shape: Any, events: Sequence[bytes]) -> list[Any]:
        found = Events(10_000, "ep")
        made = [c for item in events for raw, e in found.feed(item)
                for c in shape.event(raw, e, False)]  # fmt: skip
        return [*made, *shape.end()]

    @pytest.mark.parametrize("string", ["sagemaker_chat:ep", "sagemaker:ep"])
    def test_a_text_stream_becomes_chat(self, string: str) -> None:
        request = request_of(server_of(string), messages=HELLO, prompt="P",
                             stream_options={"include_usage": True})  # fmt: skip
        asked_text = orjson.dumps({"prompt": "P", "stream_options": {"include_usage": True}})
        received = Received("POST", "/x", {}, asked_text, 0.0)
        openai = string.startswith("sagemaker_chat")
        shape = (OpenAI if openai else Generated)(request, "ep")
        container = OpenAIContainer() if openai else TgiContainer()
        chunks = self.chunks(shape, container.events(received, TEXTS))
        assert {c.events()[0]["object"] for c in chunks} == {"chat.completion.chunk"}
        assert "".join(c.text for c in chunks) == "".join(TEXTS)
        assert [c.finish_reason for c in chunks if c.finish_reason] == ["stop"]
        assert chunks[-1].usage is not None

    def test_a_whole_text_becomes_chat(self) -> None:
        server = server_of()
        received = Received("POST", "/x", {}, orjson.dumps({"prompt": "P"}), 0.0)
        answer = orjson.dumps(OpenAIContainer().whole(received, TEXTS, "length"))
        made = OpenAI(request_of(server, messages=HELLO, prompt="P"), "ep").whole(answer, server)
        assert made.data["object"] == "chat.completion"
        assert (made.text, made.finish_reason) == ("".join(TEXTS), "length")
        assert made.usage is not None

    def test_an_error_in_a_turned_stream(self) -> None:
        request = request_of(server_of(), messages=HELLO, prompt="P")
        with pytest.raises(RelayError, match="too long"):
            self.chunks(OpenAI(request, "ep"), [b'data: {"error": {"message": "too long"}}\n\n'])


async def test_what_is_not_an_event_stream() -> None:
    async with asked(whole(b"data: {}\n\n", content_type="text/event-stream")) as relay:
        assert isinstance(await relay.failure("stream"), UpstreamBadResponse)
