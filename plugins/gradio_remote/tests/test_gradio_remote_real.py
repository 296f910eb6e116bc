"""The plugin in front of real Gradio apps, in a process of their own (`gradio_remote_app.py`)."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conversations import cut_short

from h2o_relay.chunks import Chunk
from h2o_relay.errors import (
    RelayError,
    UpstreamAuthError,
    UpstreamBadResponse,
)
from h2o_relay.kernel import Kernel
from h2o_relay.plugins import Plugins
from h2o_relay.testing.settings import quick

pytestmark = pytest.mark.e2e
APP = Path(__file__).with_name("gradio_remote_app.py")
ANSWER = 'Hello, wörld \U0001f99c "quoted"\nit\'s'
KEY = "sk-remote-canary-3310"
USER, PASSWORD = "ann", "pässword-7781"
HELLO = [{"role": "user", "content": "Hello"}]


class Apps:
    """The addresses of the running apps, and what they wrote down."""

    def __init__(self, urls: dict[str, str], journal: Path) -> None:
        self.urls, self.journal = urls, journal

    def noted(self, name: str) -> list[Any]:
        """What was written under a name, oldest first; taken away."""
        files = sorted(self.journal.glob(f"{name}-*.json"))
        found = [json.loads(file.read_text(encoding="utf-8")) for file in files]
        for file in files:
            file.unlink()
        return found

    async def wait_for(self, name: str, within: float) -> list[Any]:
        for _ in range(round(within / 0.05)):
            found = self.noted(name)
            if found:
                return found
            await asyncio.sleep(0.05)
        raise AssertionError(f"nothing was noted as {name!r} within {within} s")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Apps]:
    """The apps, started once for the module; Gradio's import alone takes seconds."""
    pytest.importorskip("gradio")
    journal = tmp_path_factory.mktemp("journal")
    process = subprocess.Popen(
        [sys.executable, str(APP), str(journal)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        yield Apps(json.loads(process.stdout.readline()), journal)
    finally:
        process.communicate(timeout=20)


@pytest.fixture
def apps(running: Apps) -> Apps:
    for file in running.journal.iterdir():
        file.unlink()
    return running


@asynccontextmanager
async def kernel_for(string: str, key: str | None = None) -> AsyncIterator[Kernel]:
    plugins = Plugins.discover("gradio_remote")
    server = replace(plugins.parse(string), key=key)
    settings = quick(request_timeout=10.0, first_byte_timeout=10.0, answer_timeout=20.0)
    async with Kernel(settings, servers=[server], plugins=plugins) as kernel:
        await kernel.settled(10)
        yield kernel


async def pieces(kernel: Kernel, **params: Any) -> list[Chunk]:
    asked = {"messages": HELLO, "stream": True, **params}
    async with kernel.stream("chat", asked) as answer:
        return [chunk async for chunk in answer]


async def failure(kernel: Kernel, order: str) -> tuple[str, RelayError]:
    """The text that came, and the error after it."""
    return await cut_short(kernel, {"messages": [{"role": "user", "content": order}]})


async def test_h2ogpt_lists_its_models(apps: Apps) -> None:
    async with kernel_for(f"gradio:{apps.urls['h2ogpt']}") as kernel:
        listed = {item.model: item.max_context for item in kernel.models()}
    assert listed == {"big": 4096, "small": None}


async def test_h2ogpt_streams_and_answers_whole(apps: Apps) -> None:
    async with kernel_for(f"gradio:{apps.urls['h2ogpt']}") as kernel:
        usage = {"include_usage": True}
        chunks = await pieces(kernel, model="small", temperature=0, stream_options=usage)
        whole = await kernel.generate("chat", {"messages": HELLO, "model": "big", "max_tokens": 6})
    assert "".join(chunk.text for chunk in chunks) == ANSWER
    assert len([chunk for chunk in chunks if chunk.text]) > 3
    assert [chunk.finish_reason for chunk in chunks if chunk.finish_reason] == ["stop"]
    assert chunks[-1].usage == {"prompt_tokens": 7, "completion_tokens": 6, "total_tokens": 13}
    assert whole.text == ANSWER
    assert whole.finish_reason == "length"
    first, second = apps.noted("asked")
    assert first["visible_models"] == "small"
    assert first["do_sample"] is False
    assert second["visible_models"] == "big"
    assert second["max_new_tokens"] == 6
    assert "h2ogpt_key" not in second


async def test_h2ogpt_is_told_the_conversation(apps: Apps) -> None:
    messages = [
        {"role": "system", "content": "Be {brief}."},
        {"role": "user", "content": "One\n'two'"},
        {"role": "assistant", "content": [{"type": "text", "text": "zwei"}]},
        {"role": "user", "content": "drei \U0001f99c"},
    ]
    async with kernel_for(f"gradio:{apps.urls['h2ogpt']}", key=KEY) as kernel:
        completion = await kernel.generate(
            "chat", {"messages": messages, "seed": 5, "presence_penalty": 0.5, "stop": ["x"]}
        )
        await kernel.generate("text", {"prompt": "Once upon", "temperature": 0.7})
    chat, text = apps.noted("asked")
    assert chat["system_prompt"] == "Be {brief}."
    assert chat["chat_conversation"] == [["One\n'two'", "zwei"]]
    assert chat["instruction_nochat"] == "drei \U0001f99c"
    assert chat["prompt_type"] == ""
    assert chat["seed"] == 5
    assert chat["repetition_penalty"] == 1.25
    assert chat["h2ogpt_key"] == KEY
    assert completion.dropped in ((), ("stop",))
    assert text["instruction_nochat"] == "Once upon"
    assert text["prompt_type"] == "plain"
    assert text["do_sample"] is True


@pytest.mark.parametrize(
    ("order", "text", "said"),
    [("!hidden", "Hel", "out of memory"), ("!raise", "", "the function gave up")],
)
async def test_errors_in_a_success_are_errors(apps: Apps, order: str, text: str, said: str) -> None:
    async with kernel_for(f"gradio:{apps.urls['h2ogpt']}", key=KEY) as kernel:
        came, error = await failure(kernel, order)
        with pytest.raises(UpstreamBadResponse, match=said):
            await kernel.generate("chat", {"messages": [{"role": "user", "content": order}]})
    assert came == text
    assert isinstance(error, UpstreamBadResponse)
    assert said in error.message
    assert KEY not in error.message


async def test_a_refused_key_is_an_error(apps: Apps) -> None:
    async with kernel_for(f"gradio:{apps.urls['h2ogpt']}") as kernel:
        came, error = await failure(kernel, "!key")
    assert came == ""
    assert isinstance(error, UpstreamAuthError)


@pytest.mark.parametrize("how", ["leaving", "cancelling", "generating"])
async def test_leaving_stops_the_function(apps: Apps, how: str) -> None:
    asked = {"messages": [{"role": "user", "content": "!slow"}], "stream": True}
    async with kernel_for(f"gradio:{apps.urls['h2ogpt']}") as kernel:
        if how == "leaving":
            async with kernel.stream("chat", asked) as answer:
                await anext(aiter(answer))
        else:
            work = (
                kernel.generate("chat", asked) if how == "generating" else pieces(kernel, **asked)
            )
            task = asyncio.create_task(work)
            await apps.wait_for("asked", within=5)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        (count,) = await apps.wait_for("stopped", within=5)
    assert count < 100
    assert apps.noted("ended") == []


async def test_a_login_opens_a_closed_app(apps: Apps) -> None:
    url = apps.urls["closed"]
    async with kernel_for(f"gradio:{url}:{USER}:{PASSWORD}") as kernel:
        assert [item.model for item in kernel.models()] == ["big", "small"]
        assert "".join(chunk.text for chunk in await pieces(kernel)) == ANSWER


@pytest.mark.parametrize(
    ("credentials", "said"), [("", "asks for a login"), (":ann:no", "refused")]
)
async def test_without_a_login_it_stays_closed(apps: Apps, credentials: str, said: str) -> None:
    async with kernel_for(f"gradio:{apps.urls['closed']}{credentials}") as kernel:
        (server,) = kernel.status()
    assert server.stage == "offline"
    assert said in server.reason


async def test_a_login_where_none_is_wanted(apps: Apps) -> None:
    async with kernel_for(f"gradio:{apps.urls['h2ogpt']}:{USER}:{PASSWORD}") as kernel:
        assert (await kernel.generate("chat", {"messages": HELLO})).text == ANSWER


@pytest.mark.parametrize("name", ["h2ogpt", "closed", "chat", "custom", "mounted"])
async def test_a_bare_url_is_recognised(apps: Apps, name: str) -> None:
    login = f":{USER}:{PASSWORD}" if name == "closed" else ""
    async with kernel_for(apps.urls[name] + login) as kernel:
        (server,) = kernel.status()
        assert server.stage == "ready", server.reason
        assert (await kernel.generate("chat", {"messages": HELLO})).text


async def test_a_gradio_app_without_a_chat_is_not_ours(apps: Apps) -> None:
    async with kernel_for(apps.urls["image"]) as kernel:
        (server,) = kernel.status()
        assert server.stage == "unidentified"
    async with kernel_for(f"gradio:{apps.urls['image']}") as kernel:
        (server,) = kernel.status()
        assert "no chat API" in server.reason


async def test_a_chat_interface_streams_and_answers_whole(apps: Apps) -> None:
    async with kernel_for(apps.urls["chat"]) as kernel:
        (model,) = kernel.models()
        chunks = await pieces(kernel)
        whole = await kernel.generate("chat", {"messages": HELLO, "temperature": 0.5})
        completed = await kernel.generate("text", {"prompt": "Hello"})
    assert model.model == "respond"
    assert "".join(chunk.text for chunk in chunks) == "You said: Hello"
    assert len([chunk for chunk in chunks if chunk.text]) > 1
    assert whole.text == "You said: Hello"
    assert whole.dropped == ("temperature",)
    assert completed.data["choices"][0]["text"] == "You said: Hello"


async def test_a_chat_interface_is_told_the_conversation(apps: Apps) -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "One"},
        {"role": "assistant", "content": "Two"},
        {"role": "user", "content": "Three"},
    ]
    async with kernel_for(apps.urls["chat"]) as kernel:
        assert (await kernel.generate("chat", {"messages": messages})).text == "You said: Three"
        assert (await kernel.generate("chat", {"messages": HELLO})).text == "You said: Hello"
    first, second = apps.noted("history")
    assert [(turn["role"], turn["content"][0]["text"]) for turn in first] == [
        ("system", "Be brief."), ("user", "One"), ("assistant", "Two"),
    ]  # fmt: skip
    assert second == []


async def test_a_chat_of_its_own_gets_the_history_as_an_argument(apps: Apps) -> None:
    messages = [*HELLO, {"role": "assistant", "content": "Hi"}, *HELLO]
    async with kernel_for(apps.urls["custom"]) as kernel:
        assert [item.model for item in kernel.models()] == ["Parrot"]
        assert (await kernel.generate("chat", {"messages": messages})).text == "2 before Hello"


async def test_words_taken_back_are_an_error_in_a_stream_only(apps: Apps) -> None:
    async with kernel_for(apps.urls["thinking"]) as kernel:
        came, error = await failure(kernel, "Hello")
        whole = await kernel.generate("chat", {"messages": HELLO})
    assert came == "Thinking..."
    assert "changed what it had said" in error.message
    assert whole.text == "No: Hello"
