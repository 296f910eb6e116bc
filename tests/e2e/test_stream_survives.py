"""A server that is killed in the middle of a stream: the client reads on as if nothing had been.

Two real llama.cpp servers in a pool with `resume`; whichever answers is killed with SIGKILL after a
number of pieces, twenty times over (five times without the slow tests). Greedy, and asked for words
that are far likelier than any others: a prompt that is computed at once rounds otherwise than token
after token.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from .conftest import KEY, Llama, Relay, relay

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
LEFT = 20  # pieces that the server has still to make when it is killed, at least
BACK = 10.0  # seconds for a server that answers again to be used again
GREEDY = {"temperature": 0, "seed": 1, "max_tokens": 96, "stream_options": {"include_usage": True}}
BEGUN = "1, 2, 3, 4, 5, 6, 7, 8, 9,"
TALK = {
    "messages": [
        {"role": "user", "content": "Count from 1 to 90."},
        {"role": "assistant", "content": BEGUN},
    ],
    "continue_final_message": True,
    "add_generation_prompt": False,
}
MORE = {name: value for name, value in TALK.items() if name != "messages"}
ASKED: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": ("/v1/chat/completions", TALK),
    "text": ("/v1/completions", {"prompt": BEGUN}),
}


@dataclass
class Town:
    """A relay in front of two servers in a pool, `both`."""

    relay: Relay
    servers: dict[str, Llama]
    """By the names of their deployments."""

    def revive(self, name: str) -> None:
        """Start a server again and wait until the relay knows it."""
        self.servers[name].start()
        self.servers[name].wait()
        deadline = time.monotonic() + BACK
        while self.state(name) not in ("healthy", "unknown"):  # the next request is a trial
            assert time.monotonic() < deadline, f"{name} does not come back"
            time.sleep(0.05)

    def state(self, name: str) -> str:
        models = httpx.get(f"{self.relay.url}/v1/models").json()["data"]
        return next(str(model["h2o"]["state"]) for model in models if model["id"] == name)


@pytest.fixture(scope="module")
def town(model_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    servers = {name: Llama(model_file, slots=2) for name in ("one", "two")}
    models = [
        {"inference_server": f"http://any:{KEY}@127.0.0.1:{server.port}",
         "base_model": "smollm2", "display_name": name}
        for name, server in servers.items()
    ]  # fmt: skip
    config = tmp_path_factory.mktemp("survives") / "h2o.yaml"
    pools = {"both": {"members": ["one", "two"], "resume": True}}
    config.write_text(json.dumps({"models": models, "pools": pools}))
    try:
        for server in servers.values():
            server.start()
        for server in servers.values():
            server.wait()
        with relay("--config", str(config)) as running:
            yield Town(running, servers)
    finally:
        for server in servers.values():
            server.kill()


@dataclass
class Seen:
    """A stream as its client saw it."""

    server: str = ""
    events: list[dict[str, Any]] = field(default_factory=list)
    comments: list[str] = field(default_factory=list)
    done: int = 0
    seam: int = 0
    """Characters that were there when the server was killed."""

    @property
    def choices(self) -> list[dict[str, Any]]:
        return [choice for event in self.events for choice in event["choices"]]

    @property
    def text(self) -> str:
        return "".join(map(text_of, self.choices))

    @property
    def reasons(self) -> list[str]:
        return [c["finish_reason"] for c in self.choices if c["finish_reason"]]

    @property
    def roles(self) -> int:
        return sum("role" in choice.get("delta", {}) for choice in self.choices)

    @property
    def usage(self) -> dict[str, int]:
        [usage] = [event["usage"] for event in self.events if event.get("usage")]
        return dict(usage)


def text_of(choice: dict[str, Any]) -> str:
    return str(choice.get("text") or choice.get("delta", {}).get("content") or "")


def ask(
    town: Town, way: str, at: int | None = None, kill: Callable[[str], None] | None = None
) -> Seen:
    """A stream read to its end; after `at` pieces of text, `kill` is called with who answers."""
    seen, pieces = Seen(), 0
    path, asked = ASKED[way]
    body = {"model": "both", "stream": True, **asked, **GREEDY}
    with httpx.stream("POST", town.relay.url + path, json=body, timeout=60) as response:
        assert response.status_code == 200, response.read()
        seen.server = response.headers["x-h2o-server"]
        for line in response.iter_lines():
            if line.startswith(":"):
                seen.comments.append(line)
            elif line == "data: [DONE]":
                seen.done += 1
            elif line.startswith("data: "):
                assert not seen.done, "an event after [DONE]"
                event = json.loads(line.removeprefix("data: "))
                assert "error" not in event, event
                seen.events.append(event)
                pieces += any(map(text_of, event["choices"]))
                if kill is not None and pieces == at:
                    seen.seam, at = len(seen.text), None
                    kill(seen.server)
    return seen


def tokens(server: Llama, text: str) -> list[int]:
    url = server.url.removesuffix("/v1")
    headers = {"authorization": f"Bearer {KEY}"}
    answer = httpx.post(f"{url}/tokenize", json={"content": text}, headers=headers)
    return list(answer.json()["tokens"])


@pytest.mark.parametrize(
    ("way", "kills"),
    [
        ("chat", 5),
        pytest.param("chat", 10, marks=pytest.mark.slow),
        pytest.param("text", 10, marks=pytest.mark.slow),
    ],
)
def test_twenty_killed_servers(town: Town, way: str, kills: int) -> None:
    undisturbed = ask(town, way)
    assert undisturbed.reasons == ["length"] or undisturbed.reasons == ["stop"]
    pieces = sum(1 for choice in undisturbed.choices if text_of(choice))
    assert pieces > LEFT + kills
    exact = 0
    for number in range(kills):
        at = 1 + number * (pieces - LEFT) // kills
        seen = ask(town, way, at, kill=lambda name: town.servers[name].kill())
        [other] = [server for name, server in town.servers.items() if name != seen.server]
        assert (seen.done, len(seen.reasons), seen.roles) == (1, 1, way == "chat")
        assert [c for c in seen.comments if "h2o-resumed" in c] == seen.comments[-1:] != []
        assert len({(event["id"], event["model"]) for event in seen.events}) == 1
        assert seen.text[: seen.seam] == undisturbed.text[: seen.seam]
        said, rest = seen.text[: seen.seam], undisturbed.text[seen.seam :]
        if tokens(other, said + rest) == tokens(other, said) + tokens(other, rest):
            assert seen.text == undisturbed.text, number
            assert seen.reasons == undisturbed.reasons
            assert seen.usage["prompt_tokens"] == undisturbed.usage["prompt_tokens"]
            told = seen.usage["completion_tokens"] - undisturbed.usage["completion_tokens"]
            assert abs(told) <= 1, number
            exact += 1
        town.revive(seen.server)
    assert exact > kills / 2, "most prefixes are made of the same tokens again"


def test_the_sdk_notices_nothing(town: Town) -> None:
    client = openai.OpenAI(base_url=f"{town.relay.url}/v1", api_key="none", max_retries=0)
    undisturbed = ask(town, "chat").text
    text, reasons, killed = "", [], False
    with client:
        raw = client.chat.completions.with_raw_response.create(
            model="both",
            messages=TALK["messages"],
            extra_body=MORE,
            stream=True,
            **GREEDY,  # type: ignore[call-overload]
        )
        name = raw.headers["x-h2o-server"]
        for chunk in raw.parse():
            for choice in chunk.choices:
                text += choice.delta.content or ""
                reasons += [choice.finish_reason] if choice.finish_reason else []
            if len(text) > 20 and not killed:
                killed = True
                town.servers[name].kill()
    town.revive(name)
    assert (text, len(reasons)) == (undisturbed, 1)


def test_without_it_the_stream_ends_as_an_error(town: Town) -> None:
    """A deployment asked for by its own name has nobody to go on."""
    url = f"{town.relay.url}/v1/chat/completions"
    body = {"model": "one", "stream": True, **TALK, **GREEDY}
    lines = []
    with httpx.stream("POST", url, json=body, timeout=60) as response:
        for line in response.iter_lines():
            lines.append(line)
            if len(lines) == 11:
                town.servers["one"].kill()
    town.revive("one")
    events = [line for line in lines if line]
    assert json.loads(events[-1].removeprefix("data: "))["error"]["code"] == "upstream_disconnected"
    assert "data: [DONE]" not in events
