"""What the load and the scripted upstream agree on: requests, events and their numbering.

The shapes are those of OpenAI's API reference: `chat.completion.chunk` for events,
`chat.completion` for whole answers. Each token's text is `<number>@<nanoseconds>`: its place in the
answer and the monotonic clock when the upstream wrote it, which is the same clock in every process
of a machine.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass

NO_KEY = "not-needed"
MODEL = "bench"
PATH = "/v1/chat/completions"
TOKEN = re.compile(rb'"content":\s?"(\d+)@(\d+)"')
FINISH = re.compile(rb'"finish_reason":\s?"stop"')
DONE = b"data: [DONE]"

ANSWER = "The sky looks blue because air scatters short waves of light more than long ones."
_SCRIPT = re.compile(rb"Write (\d+) tokens, one every (\d+) ms")
_STREAM = re.compile(rb'"stream":\s?true')
_USAGE = re.compile(rb'"include_usage":\s?true')
_HEAD = (
    b'{"id":"chatcmpl-5f3a91c27be84d06a1f2","object":"%b","created":1760000000,'
    b'"model":"bench","system_fingerprint":"fp_44709d6fcb","choices":['
)
_EVENT_HEAD = b"data: " + _HEAD % b"chat.completion.chunk"


@dataclass(frozen=True, slots=True)
class Script:
    """What one request asks the upstream to do; `pace` is seconds between tokens."""

    tokens: int
    pace: float
    stream: bool
    usage: bool = False

    @classmethod
    def read(cls, body: bytes) -> Script | None:
        """The script in a request's body; None if it has none."""
        found = _SCRIPT.search(body)
        if found is None:
            return None
        stream, usage = bool(_STREAM.search(body)), bool(_USAGE.search(body))
        return cls(int(found[1]), int(found[2]) / 1000, stream, usage)

    def request(self, host: str, key: str = NO_KEY) -> bytes:
        """The whole HTTP request that asks for it."""
        body = (
            b'{"model":"bench","messages":[{"role":"system","content":"You are a helpful assistant.'
            b' Keep to the facts and be brief."},{"role":"user","content":"Write %d tokens, one '
            b'every %d ms, and say why the sky is blue."}],"temperature":0.7,"max_tokens":%d%b}'
        ) % (self.tokens, round(self.pace * 1000), self.tokens, self._stream_fields())
        head = (
            f"POST {PATH} HTTP/1.1\r\nhost: {host}\r\nuser-agent: h2o-relay-benchmark\r\n"
            f"accept: */*\r\nauthorization: Bearer {key}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    def _stream_fields(self) -> bytes:
        usage = b',"stream_options":{"include_usage":true}' if self.usage else b""
        return (b',"stream":true' if self.stream else b"") + usage


@dataclass(frozen=True, slots=True)
class Shape:
    """How an API writes answers. A stream is made of `begin`, `token` of each number, and `last`,
    which takes the number of tokens and whether usage was asked for; `whole` is a plain answer.
    """

    kind: bytes
    """A stream's content-type."""
    begin: Callable[[], list[bytes]]
    token: Callable[[int], bytes]
    last: Callable[[int, bool], list[bytes]]
    whole: Callable[[int], bytes]


def chunked(data: bytes) -> bytes:
    """One HTTP/1.1 chunk (RFC 9112, 7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def role_event() -> bytes:
    choice = b'{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,'
    return _EVENT_HEAD + choice + b'"finish_reason":null}]}\n\n'


def token_event(number: int) -> bytes:
    return (
        b'%b{"index":0,"delta":{"content":"%d@%d"},"logprobs":null,"finish_reason":null}]}\n\n'
    ) % (_EVENT_HEAD, number, time.monotonic_ns())


def last_events(tokens: int, usage: bool) -> list[bytes]:
    """What follows the last token: finish reason, usage if asked for, and the end marker."""
    finish = b'{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}]}\n\n'
    events = [_EVENT_HEAD + finish]
    if usage:
        events.append(_EVENT_HEAD + b"]," + _usage(tokens) + b"}\n\n")
    return [*events, DONE + b"\n\n"]


def completion(tokens: int) -> bytes:
    choice = (
        b'{"index":0,"message":{"role":"assistant","content":"%b"},"logprobs":null,'
        b'"finish_reason":"stop"}],%b}'
    ) % (ANSWER.encode(), _usage(tokens))
    return _HEAD % b"chat.completion" + choice


def models() -> bytes:
    return (
        b'{"object":"list","data":[{"id":"%b","object":"model","created":1760000000,'
        b'"owned_by":"vllm","root":"%b","max_model_len":32768}]}'
    ) % (MODEL.encode(), MODEL.encode())


def _usage(tokens: int) -> bytes:
    return b'"usage":{"prompt_tokens":31,"completion_tokens":%d,"total_tokens":%d}' % (
        tokens,
        31 + tokens,
    )


OPENAI = Shape(
    b"text/event-stream; charset=utf-8", lambda: [role_event()], token_event, last_events,
    completion,
)  # fmt: skip
