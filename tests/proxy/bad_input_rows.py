"""Section 3.2 of the acceptance plan, "Bad inputs: proxy", as tables.

A row says what is wrong with a request, in the words of each path that has it, and what is
answered. Where the rows are that are no body is in `test_bad_input_plan.py`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .kit import CHAT, MESSAGES, MODEL, TEXT

RESPONSES = "/v1/responses"
ANTHROPIC = "/v1/messages"
COUNTING = "/v1/messages/count_tokens"
EMBEDDINGS = "/v1/embeddings"
GOOD: Mapping[str, dict[str, Any]] = {
    CHAT: {"model": MODEL, "messages": MESSAGES},
    TEXT: {"model": MODEL, "prompt": "hi"},
    RESPONSES: {"model": MODEL, "input": "hi"},
    ANTHROPIC: {"model": MODEL, "messages": MESSAGES, "max_tokens": 5},
    COUNTING: {"model": MODEL, "messages": MESSAGES},
    EMBEDDINGS: {"model": MODEL, "input": "hi"},
}
"""A request of each path that has nothing wrong."""
IN_ANTHROPICS_SHAPE = frozenset({ANTHROPIC, COUNTING})
GENERATING = (CHAT, TEXT, RESPONSES, ANTHROPIC)
OPENAIS = (CHAT, TEXT)


@dataclass(frozen=True, slots=True)
class Raw:
    """Bytes in place of a request's body, made of a good one's."""

    id: str
    make: Callable[[bytes], bytes]
    code: str
    param: str | None = None
    paths: tuple[str, ...] = tuple(GOOD)


@dataclass(frozen=True, slots=True)
class Fields:
    """Fields in place of a good request's. `error` is `param code`; `named` says what the first
    field is called on paths where it has another name, and None where there is no such field.
    """

    id: str
    fields: Mapping[str, Any]
    error: str
    paths: tuple[str, ...] = (CHAT,)
    status: int = 400
    named: Mapping[str, str] = field(default_factory=dict)

    def on(self, path: str) -> tuple[dict[str, Any], str, str]:
        """The body, the field at fault and the code on this path."""
        name, new = next(iter(self.fields)), self.named.get(path)
        param, code = self.error.split(" ")
        fields = dict(self.fields)
        if new is not None:
            fields[new] = fields.pop(name)
            param = new + param.removeprefix(name)
        return {**GOOD[path], **fields}, param, code


def inside(more: bytes) -> Callable[[bytes], bytes]:
    """One more field."""
    return lambda good: good[:-1] + b"," + more + b"}"


def always(body: bytes) -> Callable[[bytes], bytes]:
    return lambda _: body


def nested(levels: int) -> Callable[[bytes], bytes]:
    """A request that is so deep, itself included."""
    inner = levels - 1
    return inside(b'"extra":' + b"[" * inner + b"]" * inner)


def model_twice(good: bytes) -> bytes:
    return b'{"model":"x",' + good[1:]


def many_biases(good: bytes) -> bytes:
    return inside(b'"logit_bias":' + written({str(k): 1 for k in range(10**6)}))(good)


def written(body: Mapping[str, Any]) -> bytes:
    """As JSON, with numbers of any size."""
    return json.dumps(body).encode()


NO_JSON: tuple[Callable[[bytes], bytes], ...] = (
    always(b""), always(b" "), always(b"{bad"), lambda good: good[:-1] + b",}",
    lambda good: good + good, lambda good: good + b"x", lambda good: b"\xef\xbb\xbf" + good,
    always(b"[]"), always(b"null"), always(b'"x"'), always(b"7"), always(b"{'model':'m'}"),
    always(b"{model:1}"), always(b"{"), lambda good: good[:-1],
)  # fmt: skip
DEEP: tuple[Callable[[bytes], bytes], ...] = (
    nested(65), nested(1023), nested(5000), nested(100_000),
    always(b'{"messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    always(b'{"messages":' + b"[" * 100_000),
    always(b'{"a":' * 5000 + b"1" + b"}" * 5000),
    inside(b'"extra":' + b'{"a":[' * 32 + b"]}" * 32),
)  # fmt: skip
NO_TEXT = (
    b'"a":"\\ud800"', b'"\\ud800":1', b'"a":"\\ud83d x"', b'"a":"\xff"', b'"a":"\xed\xa0\x80"',
    b'"a":{"\\udc00":1}',
)  # fmt: skip
TWICE: tuple[Callable[[bytes], bytes], ...] = (
    model_twice, inside(b'"\\u006dodel":"x"'), inside(b'"a":{"b":1,"b":2}'),
)  # fmt: skip
RAW: tuple[Raw, ...] = (
    *(Raw("B01" if n < 2 else "B02", make, "invalid_json") for n, make in enumerate(NO_JSON)),
    *(Raw("B05", make, "nesting_too_deep") for make in DEEP),
    *(
        Raw("B07", inside(b'"temperature":' + number), "invalid_value", "temperature")
        for number in (b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-1e999")
    ),
    *(Raw("B08", inside(text), "invalid_encoding") for text in NO_TEXT),
    *(Raw("B10", make, "invalid_json") for make in TWICE),
    Raw("B29", inside(b'"logit_bias":{"1":NaN}'), "invalid_value", "logit_bias.1", OPENAIS),
    Raw("B29", many_biases, "array_too_long", None, OPENAIS),
    Raw("B29", inside(b'"extra":[0,[1e999]]'), "invalid_value", "extra[1][0]"),
)
MODELS = (
    "", "x", "a,b", "../m", "m/../m", "ok\nX: y", "m\x00", "\r\nSet-Cookie: a", "<script>&", "M",
    " m", "x" * 10_240, "\u2028é",
)  # fmt: skip
"""B11, B13 and B14: names that nobody has."""
USER = {"role": "user", "content": "x"}
CONTENTS: tuple[tuple[Any, str], ...] = (
    (5, " invalid_type"), ({}, " invalid_type"), (True, " invalid_type"),
    (["x"], "[0] invalid_type"), ([{"type": "bogus"}], "[0].type invalid_value"),
    ([{"type": "text"}], "[0].text invalid_type"),
    ([{"type": "text", "text": "x"}, {"type": "text", "text": 1}], "[1].text invalid_type"),
    ([{}], "[0].type invalid_value"), ([{"type": ["text"]}], "[0].type invalid_value"),
)  # fmt: skip
URLS: tuple[tuple[Any, str], ...] = (
    *(({"url": url}, "invalid_value") for url in
      ("file:///etc/passwd", "javascript:alert(1)", "/etc/passwd", "FILE:///etc/passwd",
       " file:///x", "ftp://host/x", "")),
    ("file:///etc/passwd", "invalid_value"), ({"url": 7}, "invalid_type"),
)  # fmt: skip
LIMIT = {RESPONSES: "max_output_tokens"}
STOPS = {ANTHROPIC: "stop_sequences"}


def each(
    id: str, name: str, wrong: Iterable[tuple[Any, str]], paths: tuple[str, ...] = (CHAT,),
    named: Mapping[str, str] | None = None,
) -> list[Fields]:  # fmt: skip
    """A row for each wrong value of a field. What is said of it begins with a path below the field,
    if that is at fault.
    """
    return [Fields(id, {name: v}, f"{name}{error}", paths, named=named or {}) for v, error in wrong]


FIELDS: tuple[Fields, ...] = (
    *each("B13", "model", [(v, " invalid_type") for v in (1.5, ["m"], {}, True)], tuple(GOOD)),
    *each("B16", "messages", [
        (None, " missing_required_parameter"), ("hi", " invalid_type"), ([], " empty_array"),
        (["hi"], "[0] invalid_type"),
        ([{"content": "x"}], "[0].role missing_required_parameter"),
        ([{"role": "root", "content": "x"}], "[0].role invalid_value"),
        ([{"role": 3, "content": "x"}], "[0].role invalid_type"),
        ([USER] * 10_001, " array_too_long"),
    ], (CHAT, ANTHROPIC, COUNTING)),
    *each("B17", "messages", [
        ([{**USER, "content": content}], f"[0].content{error}") for content, error in CONTENTS
    ]),
    *each("B17", "messages", [
        ([{**USER, "content": content}], f"[0].content{error}")
        for content, error in CONTENTS[:4]
    ], (ANTHROPIC, COUNTING)),
    *each("B20", "temperature", [
        *((v, " invalid_type") for v in ("hot", "0.5", True, {})),
        (-1, " below_min_value"), (3, " above_max_value"),
    ], GENERATING),
    *each("B20", "top_p", [(1.01, " above_max_value")], GENERATING),
    *each("B20", "presence_penalty", [(-2.1, " below_min_value")], OPENAIS),
    *each("B22", "max_tokens", [
        (-5, " below_min_value"), (10**12, " above_max_value"), (10**30, " above_max_value"),
        *((v, " invalid_type") for v in (1.5, "10", False)),
    ], GENERATING, LIMIT),
    *each("B22", "max_tokens", [(0, " below_min_value")], (CHAT, RESPONSES, ANTHROPIC), LIMIT),
    *each("B22", "max_completion_tokens", [(0, " below_min_value")]),
    *each("B23", "n", [
        (0, " below_min_value"), (-1, " below_min_value"), (2.5, " invalid_type"),
        (True, " invalid_type"), *((v, " above_max_value") for v in (9, 129, 10**6, 10**30)),
    ], OPENAIS),
    *each("B25", "prompt", [
        (None, " missing_required_parameter"), ([], " empty_array"), ([[]], "[0] empty_array"),
        ([""] * 100_000, " array_too_long"), ([-1], " invalid_value"), ([2**63], " invalid_value"),
        ([[1], "a"], " invalid_type"), (["a", 1], " invalid_type"), ([1.5], " invalid_type"),
        ([True], " invalid_type"), ({}, " invalid_type"), (7, " invalid_type"),
        ([None], " invalid_type"), ([[1, "a"]], "[0] invalid_type"),
    ], (TEXT, EMBEDDINGS), {EMBEDDINGS: "input"}),
    *each("B26", "stream", [("yes", " invalid_type"), (1, " invalid_type")], GENERATING),
    *each("B26", "stream_options", [([], " invalid_type")], OPENAIS),
    *each("B28", "stop", [
        (5, " invalid_type"), ([""], "[0] invalid_value"), (["a", 1], "[1] invalid_type"),
        (["a"] * 10_000, " array_too_long"), (["a" * 2**20], "[0] string_too_long"),
    ], (*OPENAIS, ANTHROPIC), STOPS),
    *each("B28", "stop", [("", " invalid_value"), ("a" * 2**20, " string_too_long")], OPENAIS),
    *each("B29", "logit_bias", [
        ({str(k): 1 for k in range(100_001)}, " array_too_long"), ({"a": 1}, " invalid_value"),
        ({"": 1}, " invalid_value"), ({"²": 1}, " invalid_value"), ({"1": "a"}, " invalid_type"),
        ([1], " invalid_type"),
    ], OPENAIS),
    *each("B31", "tools", [
        ([{}] * 10_000, " array_too_long"), ({}, " invalid_type"), ([7], "[0] invalid_type"),
    ], (CHAT, RESPONSES, ANTHROPIC)),
    *each("B34", "messages", [
        ([{**USER, "content": [{"type": kind, kind: url}]}], f"[0].content[0].{kind}.url {code}")
        for url, code in URLS for kind in ("image_url", "video_url")
    ]),
    *each("B34", "messages", [
        ([{**USER, "content": [{"type": "image", "source": {"type": "url", "url": url}}]}],
         "[0].content[0].source.url invalid_value")
        for url in ("file:///etc/passwd", "javascript:alert(1)")
    ], (ANTHROPIC,)),
    *each("B34", "input", [
        ([{"role": "user", "content": [{"type": "input_image", "image_url": url}]}],
         "[0].content[0].image_url invalid_value")
        for url in ("file:///etc/passwd", "javascript:alert(1)")
    ], (RESPONSES,)),
    *(Fields("other types", {name: value}, f"{name} invalid_type") for name, value in (
        ("seed", "x"), ("user", 7), ("response_format", "json"), ("tool_choice", 1),
        ("logprobs", "yes"), ("continue_final_message", "yes"), ("truncation", 1))),
    Fields("other values", {"truncation": "middle"}, "truncation invalid_value"),
    Fields("other values", {"top_logprobs": -1}, "top_logprobs below_min_value"),
    Fields("other values", {"seed": 10**30}, "seed above_max_value"),
)  # fmt: skip


def encoded(path: str) -> bytes:
    """A good request of a path."""
    return written(GOOD[path])
