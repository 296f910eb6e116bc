"""The page's side of Gradio, as its own script in a browser speaks it (protocol sse_v3).

A quick event is one request. Any other is joined to the session's queue; one stream for the session
brings what becomes of it: `process_generating` with the changes of each output since the last,
`process_completed` at the end.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx
import orjson

API = "/gradio_api"
Rows = list[dict[str, Any]]


class Browser:
    """One open page. Components go by their `elem_id`."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http
        self.session = secrets.token_hex(8)
        self.config: dict[str, Any] = {}
        self.shown: dict[str, Any] = {}
        """What the components hold, as far as an event has said so."""

    async def open(self, id: str = "") -> None:
        """Open the page, at the address of a conversation."""
        response = await self.http.get("/config")
        response.raise_for_status()
        self.config = response.json()
        await self.quick("", "load", "", query={"c": id} if id else {})

    def component(self, kind: str) -> dict[str, Any]:
        return next(dict(c["props"]) for c in self.config["components"] if c["type"] == kind)

    def ids(self) -> dict[int, str]:
        """The components' `elem_id`s, "" for those that have none."""
        return {c["id"]: c["props"].get("elem_id") or "" for c in self.config["components"]}

    def _event(self, elem_id: str, name: str) -> dict[str, Any]:
        """The event of a component that draws the chat."""
        ids = self.ids()
        thread = next(id for id, elem in ids.items() if elem == "chat-thread")
        for event in self.config["dependencies"]:
            if event["backend_fn"] and thread in event["outputs"]:
                for target, trigger in event["targets"]:
                    if trigger == name and ids.get(target, "") == elem_id:
                        return dict(event)
        raise KeyError(f"{elem_id}.{name}")

    async def quick(
        self, elem_id: str, name: str, *data: Any, query: dict[str, str] | None = None
    ) -> None:
        """An event that is answered at once, and those that follow it; what they draw is in
        `shown`.
        """
        event = self._event(elem_id, name)
        await self._predict(event, data, query)
        for then in self.config["dependencies"]:
            if then["trigger_after"] == event["id"]:
                ids = self.ids()
                await self._predict(then, [self.shown.get(ids[at], "") for at in then["inputs"]])

    async def _predict(
        self, event: dict[str, Any], data: Sequence[Any], query: dict[str, str] | None = None
    ) -> None:
        body = {"data": data, "fn_index": event["id"], "session_hash": self.session}
        response = await self.http.post(f"{API}/run/predict", json=body, params=query)
        response.raise_for_status()
        ids = self.ids()
        named = [ids[output] for output in event["outputs"]]
        for output, value in zip(named, response.json()["data"], strict=True):
            if not isinstance(value, dict) or "__type__" not in value:
                self.shown[output] = value
            elif "value" in value:
                self.shown[output] = value["value"]

    async def send(self, text: str, model: str | None = None) -> None:
        given = {"text": text, "files": []}
        model = model or self.shown["chat-model"]
        id = self.shown.get("chat-id", "")
        await self.quick("chat-box", "submit", given, "", id, model, *[""] * 7)

    async def follow(self) -> AsyncIterator[Rows]:
        """The thread each time it changes, until the answer's end."""
        event = self._event("chat-turn", "change")
        data = [self.shown["chat-id"], self.shown["chat-turn"]]
        body = {"data": data, "fn_index": event["id"], "session_hash": self.session}
        joined = await self.http.post(f"{API}/queue/join", json=body)
        joined.raise_for_status()
        params = {"session_hash": self.session}
        rows: Any = None
        async with self.http.stream("GET", f"{API}/queue/data", params=params) as stream:
            async for line in stream.aiter_lines():
                if not line.startswith("data:"):
                    continue
                message = orjson.loads(line[5:])
                if message["msg"] == "process_generating":
                    change = message["output"]["data"][0]
                    rows = change if rows is None else changed(rows, change)
                    yield rows
                if message["msg"] == "process_completed":
                    assert message["success"], message
                    return

    async def ask(self, text: str, model: str | None = None) -> list[Rows]:
        """All that the thread was while a question was answered."""
        await self.send(text, model)
        return [orjson.loads(orjson.dumps(rows)) async for rows in self.follow()]


def texts(rows: Rows) -> list[str]:
    """The rows' texts, without the backslashes that escape markup."""
    return [part.get("text", "").replace("\\", "") for row in rows for part in row["content"]]


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
