"""What a client may see when its upstream misbehaves (docs/errors.md has the contract).

`Http`: an error before the first byte. `Mid`: so many tokens, one error event, no `[DONE]`.
`Intact`: the upstream's text, one finish reason, one `[DONE]`. Unstreamed there is no `Mid`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from h2o_relay.testing.scripts import DONE

from .kit import assert_error
from .raw_client import Reply, error_of


def tokens(count: int) -> str:
    return "".join(f"tok{n}" for n in range(count))


@dataclass(frozen=True)
class Http:
    status: int
    code: str
    type: str = "upstream_error"
    headers: Mapping[str, str] = field(default_factory=dict)

    def check(self, reply: Reply, streamed: bool) -> None:
        assert_error(reply, self.status, self.code, self.type)
        assert self.headers.items() <= reply.headers.items()
        assert reply.complete


@dataclass(frozen=True)
class Mid:
    count: int
    code: str

    def check(self, reply: Reply, streamed: bool) -> None:
        assert streamed
        assert reply.status == 200, reply
        *events, last = reply.payloads
        choices = [choice for event in events for choice in orjson.loads(event)["choices"]]
        assert [choice["delta"]["content"] for choice in choices] == [
            f"tok{n}" for n in range(self.count)
        ]
        assert not any(choice["finish_reason"] for choice in choices)
        assert error_of(last)["code"] == self.code
        assert DONE not in reply.body
        assert reply.complete


@dataclass(frozen=True)
class Intact:
    text: str
    finish: str | None = "stop"

    def check(self, reply: Reply, streamed: bool) -> None:
        said, finishes = heard(reply, streamed)
        assert "".join(message.get("content") or "" for message in said) == self.text
        assert finishes == [self.finish]


@dataclass(frozen=True)
class Called:
    """A tool call, put together from its pieces."""

    arguments: Any

    def check(self, reply: Reply, streamed: bool) -> None:
        said, finishes = heard(reply, streamed)
        calls = [call for message in said for call in message.get("tool_calls", ())]
        joined = "".join(call["function"].get("arguments", "") for call in calls)
        assert orjson.loads(joined) == self.arguments
        assert finishes == ["tool_calls"]


View = Http | Mid | Intact | Called


def heard(reply: Reply, streamed: bool) -> tuple[list[dict[str, Any]], list[str | None]]:
    """The deltas, or the message, of an answer that is whole; and its finish reasons."""
    assert reply.status == 200, (reply.status, reply.body[:300])
    assert reply.complete
    if not streamed:
        choices = reply.json()["choices"]
        return [c["message"] for c in choices], [c["finish_reason"] for c in choices]
    *events, last = reply.payloads
    assert last == b"[DONE]"
    assert reply.body.count(DONE) == 1
    choices = [choice for event in events for choice in orjson.loads(event)["choices"]]
    return [c["delta"] for c in choices], [
        c["finish_reason"] for c in choices if c["finish_reason"]
    ]
