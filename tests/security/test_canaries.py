"""Secrets and prompts appear nowhere they should not, whatever goes wrong."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from base64 import b64encode
from collections.abc import Awaitable, Callable
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from h2o_relay.testing.scripts import end, json, play, reset, sse
from h2o_relay.testing.upstream import Answer, Received, Script, ScriptedUpstream

from ..proxy.kit import completion, said
from .canaries import Canaries
from .process import H2O, Running, h2o

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(sys.platform != "linux", reason="what a process shows is read in /proc"),
]
FAULTS = ("good", "echo", "forbidden", "broken", "cut", "reset", "redirect", "html", "event",
          "huge", "limited", "compressed")  # fmt: skip
PATHS = ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages",
         "/v1/embeddings", "/v1/tokenize")  # fmt: skip
NEWS = ("/v1/models", "/health", "/readyz", "/openapi.json", "/metrics", "/docs", "/debug")
ADMIN = ("deployments", "series", "system", "config", "keys", "usage")
KEPT = ("added in relay.db", "added key in relay.db")
"""A model that was added is asked with its key after a restart too: the store, which nobody else
can read (S51), keeps it as it was written."""
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def upstream_script(of: dict[str, str]) -> Script:
    """A server that fails in the way its model is called, and says all that it was told."""

    async def run(request: Received, answer: Answer) -> None:
        if request.method == "GET":
            data = {"object": "list", "data": [{"id": name} for name in FAULTS]}
            await json(data)(request, answer)
            return
        told = f"{request.headers.get('authorization')} {request.body.decode(errors='replace')}"
        fault = next((name for name in FAULTS if f'"{name}"' in told), "good")
        await script(fault, told, of)(request, answer)

    return run


def script(fault: str, told: str, of: dict[str, str]) -> Script:
    """`told` is what the request was, its key included."""
    error = {"error": {"message": f"bad: {told}", "type": told[:60], "code": told[:60]}}
    event = b"data: " + told.encode()
    scripts: dict[str, Script] = {
        "good": json(completion()),
        "echo": json(error, 400),
        "forbidden": json(error, 401),
        "limited": json(error, 429, headers={"retry-after": told[:30]}),
        "broken": json({"choices": told.partition(" {")[2]}),  # a good answer is passed on as it is
        "cut": sse(said(2, None), done=False),
        "reset": play(HEAD + b"%x\r\n" % (len(event) + 9) + event, reset),
        "redirect": json({}, 302, headers={"location": f"http://x.example/?key={of['url']}"}),
        "html": play(b"HTTP/1.1 502 Bad\r\ncontent-length: %d\r\n\r\n" % len(event) + event),
        "event": sse([b'{"error": {"message": "' + of["upstream"].encode() + b'"}}'], done=False),
        "huge": play(b"HTTP/1.1 200 OK\r\nx: " + told.encode()[:40] * 2000 + b"\r\n\r\n", end),
        "compressed": json(error, headers={"content-encoding": "gzip"}),
    }
    return scripts[fault]


def body(path: str, model: str, prompt: str, **more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": prompt}]
    return {
        "/v1/chat/completions": {"messages": messages},
        "/v1/completions": {"prompt": prompt},
        "/v1/responses": {"input": prompt},
        "/v1/messages": {"messages": messages, "max_tokens": 9},
        "/v1/embeddings": {"input": prompt},
        "/v1/tokenize": {"prompt": prompt},
    }[path] | {"model": model, **more}


@contextlib.asynccontextmanager
async def sent(client: httpx.AsyncClient, canaries: Canaries, what: str) -> Any:
    """`ask(method, path)`, whose answers are kept, whatever they are."""

    async def ask(method: str, path: str, **more: Any) -> httpx.Response | None:
        try:
            reply = await client.request(method, path, **more)
        except httpx.HTTPError as error:
            canaries.seen(f"{what} {path}: error", str(error))
            return None
        canaries.seen(f"{what} {path}: body", reply.content)
        head = f"{reply.status_code} {reply.headers.raw!r}"
        canaries.seen(f"{what} {path}: head", head)
        return reply

    yield ask


async def busy(api: str, canaries: Canaries) -> None:
    """Requests of every kind, of which most fail."""
    of = canaries.words
    async with (
        httpx.AsyncClient(base_url=api, timeout=20, trust_env=False) as client,
        sent(client, canaries, "API") as ask,
    ):
        good = {"authorization": f"Bearer {of['key']}"}
        bad = of["wrong"]
        for wrong in ({}, {"authorization": f"Bearer {bad}"}, {"x-api-key": bad},
                      {**good, "api-key": bad}, {"cookie": f"key={bad}"}):  # fmt: skip
            await ask("POST", PATHS[0], json=body(PATHS[0], "good", of["prompt"]), headers=wrong)
        for fault in FAULTS:
            for stream in (False, True):
                for path in PATHS[: 4 if stream else None]:
                    asked = body(path, fault, of["prompt"], stream=stream)
                    await ask("POST", path, json=asked, headers=good)
                    # So that no breaker opens, and every fault is met.
                    well = body(PATHS[0], "good", of["prompt"])
                    await ask("POST", PATHS[0], json=well, headers=good)
        for other in ("second", "third"):
            await ask("POST", PATHS[0], json=body(PATHS[0], other, of["prompt"]), headers=good)
        await misread(ask, good, of)
        for path in NEWS:
            await ask("GET", path, headers=good)
            await ask("GET", f"{path}?key={quote(of['wrong'])}")
        await administered(ask, of)


async def misread(
    ask: Callable[..., Awaitable[Any]], good: dict[str, str], of: dict[str, str]
) -> None:
    """Requests that are refused here, each with a canary where it is wrong."""
    chat, prompt = PATHS[0], of["prompt"]
    broken: list[Any] = [
        {**body(chat, "good", prompt), "h2ogpt_key": of["wrong"]},
        {**body(chat, "good", prompt), "api_key": of["wrong"]},
        {**body(chat, "good", prompt), "temperature": prompt},
        {**body(chat, "good", prompt), "stop": [prompt, 5]},
        {**body(chat, "good", prompt), prompt: prompt},
        {"model": "good", "messages": [{"role": prompt, "content": prompt}]},
    ]
    for one in broken:
        await ask("POST", chat, json=one, headers=good)
    for data in (f'{{"model": "good", "messages": "{prompt}"', prompt, f'"{prompt}"'):
        kind = {"content-type": "application/json"}
        await ask("POST", chat, content=data, headers={**good, **kind})
    await ask("POST", chat, content=prompt, headers=good)
    await ask("POST", f"/v1/{prompt}", json={"prompt": prompt}, headers=good)


async def administered(ask: Callable[..., Awaitable[Any]], of: dict[str, str]) -> None:
    admin = {"authorization": f"Bearer {of['admin']}"}
    added = {"inference_server": f"vllm_chat:127.0.0.1:9:/v1:{of['added']}",
             "base_model": "away", "h2ogpt_key": of["added key"]}  # fmt: skip
    made = await ask("POST", "/admin/deployments", json=added, headers=admin)
    assert made is not None
    assert made.status_code == 201, made.text
    await ask("GET", f"/admin/deployments/{made.json()['id']}", headers=admin)
    await ask("POST", "/admin/identify", json=added, headers=admin)
    bad = {"inference_server": f"vllm_chat:h:99999:/v1:{of['added']}"}
    await ask("POST", "/admin/deployments", json=bad, headers=admin)
    await ask("POST", "/admin/test", json={"model": "echo"}, headers=admin)
    for name in ADMIN:
        await ask("GET", f"/admin/{name}", headers=admin)
        await ask("GET", f"/admin/{name}", headers={"authorization": f"Bearer {of['wrong']}"})


async def visited(page: str, canaries: Canaries) -> None:
    """The page, before and after signing in."""
    of = canaries.words
    async with (
        httpx.AsyncClient(base_url=page, timeout=30, trust_env=False) as client,
        sent(client, canaries, "page") as ask,
    ):
        for password in (of["wrong"], of["password"]):
            form = {"username": "ann", "password": password}
            await ask("POST", "/login", data=form)
            for path in ("/", "/config", "/gradio_api/info", "/theme.css", "/nope"):
                await ask("GET", path)
        await ask("POST", "/gradio_api/queue/join", json={"data": [of["prompt"]], "fn_index": 1})


def planted(folder: Path, url: str) -> tuple[Canaries, Path, dict[str, str]]:
    """Canaries, a configuration and an environment with them."""
    canaries = Canaries()
    new = canaries.new
    for name in ("key", "listed", "admin", "wrong", "prompt", "password", "url", "added",
                 "added key", "system", "proxy"):  # fmt: skip
        new(name)
    upstream, entry = new("upstream"), new("entry key")
    odd = new("odd", odd=True)
    keys = folder / "keys.json"
    keys.write_text(f'["{canaries.words["listed"]}"]')
    config = folder / "h2o.yaml"
    port = url.rpartition(":")[2]
    config.write_text(
        "models:\n"
        f"  - inference_server: 'vllm_chat:127.0.0.1:{port}:/v1:{upstream}'\n"
        f"  - {{inference_server: 'http://ann:{quote(odd, safe='')}@127.0.0.1:{port}/v1', "
        f"display_name: second, base_model: echo, "
        f"system_prompt: '{canaries.words['system']}'}}\n"
        f"  - {{inference_server: 'vllm_chat:127.0.0.1:{port}:/v1', display_name: third, "
        f"h2ogpt_key: {entry}, base_model: echo}}\n"
        "settings: {log_level: debug, retries: 1, first_byte_timeout: 3, idle_timeout: 3, "
        "answer_timeout: 5, request_timeout: 3, queue_timeout: 1}\n"
    )
    env = {
        "H2OGPT_OPENAI_API_KEY": canaries.words["key"],
        "H2O_H2OGPT_API_KEYS": str(keys),
        "ADMIN_PASS": canaries.words["admin"],
        "H2O_AUTH": f"[('ann', '{canaries.words['password']}')]",
        "H2O_HTTP_PROXY": f"http://u:{canaries.words['proxy']}@127.0.0.1:9",
        "OPENAI_API_KEY": new("environment"),
    }
    return canaries, config, env


def command_of(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


async def shown(relay: Running, canaries: Canaries) -> None:
    """What anybody on the machine can see of the processes, before and after they are ended."""
    for pid in relay.family():
        with contextlib.suppress(OSError):
            canaries.seen(f"ps {pid}", command_of(pid))
    os.kill(relay.process.pid, signal.SIGABRT)  # what a crash leaves behind
    await relay.ended()


async def test_s32_no_secret_is_anywhere(tmp_path: Path) -> None:
    async with ScriptedUpstream(json({})) as upstream:
        canaries, config, env = planted(tmp_path, upstream.url)
        upstream.script = upstream_script(canaries.words)
        words = ("run", "--config", str(config), "--port", "0", "--openai-port", "0")
        async with h2o(tmp_path, *words, env=env) as relay:
            api = await relay.address("API")
            await asyncio.wait_for(busy(api, canaries), 120)
            page = (await relay.says(r"chat UI is ready: (\S+)"))[1]
            await asyncio.wait_for(visited(page, canaries), 60)
            await shown(relay, canaries)
        asked = "".join(f"{r.headers} {r.body!r}" for r in upstream.requests)
        canaries.seen("stdout", relay.out)
        canaries.seen("stderr", relay.err)
    canaries.folder(tmp_path / "data")
    for command in (("config", "show"), ("check", "--parse-only"), ("run", "--help")):
        async with h2o(tmp_path, *command, env=env) as other:
            await other.ended()
        canaries.seen(f"h2o {' '.join(command)}", bytes(other.out + other.err))
    assert len(canaries.places) > 200
    heads = {data[:3] for place, data in canaries.places if place.endswith("head")}
    assert heads >= {b"200", b"201", b"400", b"401", b"404", b"429", b"502"}
    reached = {name for name, word in canaries.words.items() if word in asked}
    assert reached >= {"upstream", "entry key", "odd", "prompt", "system"}
    told = ("prompt", "system")
    canaries.meant = KEPT
    found = canaries.found(but=told)
    assert not found, "\n".join(found)
    # A caller may be told what he said himself; nobody else is, now or later (S33, S50).
    elsewhere = ("stdout", "stderr", "ps", "relay.db", "API /v1/models", "API /health",
                 "API /readyz", "API /metrics", "API /openapi.json", "page")  # fmt: skip
    found = canaries.found(within=elsewhere)
    assert not found, "\n".join(found)
    admins = [place for place, _ in canaries.places if place.startswith("API /admin/")]
    found = canaries.found(but=("system",), within=tuple(admins))
    assert not found, "\n".join(found)


@pytest.mark.parametrize("leak", [
    "x {} y", "…{end}", "key={url}", "Basic {base64}", "hash {sha256}", "{UPPER}",
])  # fmt: skip
def test_s32_the_search_finds_what_is_there(leak: str) -> None:
    canaries = Canaries()
    word = canaries.new("key", odd=True)
    coded = b64encode(f"user:{word}".encode()).decode()
    text = leak.format(
        word, end=word[-8:], url=quote(word, safe=""), base64=coded,
        sha256=sha256(word.encode()).hexdigest(), UPPER=word.upper(),
    )  # fmt: skip
    canaries.seen("log", f"before {text} after")
    canaries.seen("other", "nothing here")
    assert canaries.found()
    assert all(hit.startswith("key in log") for hit in canaries.found())
    assert canaries.found(but=("key",)) == []
    assert canaries.found(within=("other",)) == []


def test_the_command_is_there() -> None:
    assert H2O.exists()
