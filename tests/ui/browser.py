"""The page's side of Gradio's queue, as its own script in a browser speaks it (protocol sse_v3).

An event is joined to the session's queue; one stream for the session brings what becomes of it:
`process_generating` with the changes of each output since the last, `process_completed` at the end.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from typing import Any

import httpx
import orjson

from h2o_relay_ui.conversation import Message

API = "/gradio_api"


class Browser:
    """One open page."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http
        self.session = secrets.token_hex(8)
        self.config: dict[str, Any] = {}
        self.running = ""
        """The event whose answer is being read."""

    async def open(self) -> None:
        response = await self.http.get("/config")
        response.raise_for_status()
        self.config = response.json()

    def component(self, kind: str) -> dict[str, Any]:
        return next(dict(c["props"]) for c in self.config["components"] if c["type"] == kind)

    def function(self, *trigger: str) -> int:
        """The event that `trigger` starts, or with a second word the one that follows it."""
        found = next(
            d["id"]
            for d in self.config["dependencies"]
            if any(target[1] == trigger[0] for target in d["targets"]) and d["backend_fn"]
        )
        if len(trigger) == 1:
            return int(found)
        then = (d["id"] for d in self.config["dependencies"] if d["trigger_after"] == found)
        return int(next(then))

    async def quick(self, trigger: str, *data: Any) -> list[Any]:
        """An event that is answered at once."""
        body = {
            "data": data,
            "fn_index": self.function(trigger),
            "session_hash": self.session,
        }
        response = await self.http.post(f"{API}/run/predict", json=body)
        response.raise_for_status()
        return list(response.json()["data"])

    async def ask(
        self, history: list[Message], model: str | None = None
    ) -> AsyncIterator[list[Message]]:
        """The thread each time it changes."""
        body = {
            "data": [history, model, "", "", ""],
            "fn_index": self.function("submit", "then"),
            "session_hash": self.session,
        }
        joined = await self.http.post(f"{API}/queue/join", json=body)
        joined.raise_for_status()
        self.running = joined.json()["event_id"]
        thread: Any = None
        params = {"session_hash": self.session}
        async with self.http.stream("GET", f"{API}/queue/data", params=params) as stream:
            async for line in stream.aiter_lines():
                if not line.startswith("data:"):
                    continue
                message = orjson.loads(line[5:])
                if message["msg"] == "process_generating":
                    change = message["output"]["data"][0]
                    first = thread is None
                    thread = change if first else changed(thread, change)
                    yield thread
                if message["msg"] == "process_completed":
                    assert message["success"], message
                    return

    async def stop(self) -> None:
        body = {
            "session_hash": self.session,
            "fn_index": self.function("submit", "then"),
            "event_id": self.running,
        }
        response = await self.http.post(f"{API}/cancel", json=body)
        response.raise_for_status()


def changed(value: Any, changes: list[tuple[str, list[Any], Any]]) -> Any:
    """`value` after Gradio's changes to it, each an action, a path and what is put there."""
    for action, path, new in changes:
        if not path:
            value = value + new if action == "append" else new
            continue
        place = value
        for step in path[:-1]:
            place = place[step]
        if action == "append":
            place[path[-1]] += new
        elif action == "add" and isinstance(place, list):
            place.insert(path[-1], new)
        elif action in ("replace", "add"):
            place[path[-1]] = new
        else:
            assert action == "delete", action
            del place[path[-1]]
    return value
