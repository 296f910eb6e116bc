"""The markov plugin: its conformance suite, and what it does with a text."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import h2o_relay_markov
import pytest
from h2o_relay_markov import learn
from h2o_relay_markov_suite import TestMarkov as TheSuite

from h2o_relay.errors import InvalidRequest
from h2o_relay.kernel import Kernel
from h2o_relay.plugins import Plugins
from h2o_relay.settings import Settings

PLUGINS = Plugins.of(markov=h2o_relay_markov)


class TestMarkov(TheSuite):
    module = h2o_relay_markov


@asynccontextmanager
async def serving(text: str) -> AsyncIterator[Kernel]:
    async with Kernel(Settings(), servers=[text], plugins=PLUGINS) as kernel:
        await kernel.settled(5)
        yield kernel


def test_it_learns_what_follows_what() -> None:
    assert learn("One two. One three!") == {"": ["One", "One"], "One": ["two.", "three!"]}
    assert learn(" \n") == {}


def ask(text: str, said: str, **more: Any) -> dict[str, Any]:
    """The whole answer of a markov that learned `text`, by the chat API."""

    async def asked() -> dict[str, Any]:
        async with serving(text) as kernel:
            (model,) = kernel.models()
            messages = [{"role": "user", "content": said}]
            params = {"model": model.name, "messages": messages, **more}
            return (await kernel.generate("chat", params)).data

    return asyncio.run(asked())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "sea.txt"
    path.write_text("The sea is deep and the sea is blue and wide.", encoding="utf-8")
    return path


def test_it_goes_on_from_the_last_word(file: Path) -> None:
    answer = ask(f"markov:{file}", "Is it blue", max_tokens=2)
    assert answer["model"] == "sea"
    assert answer["choices"][0]["message"]["content"].startswith("and ")
    assert answer["usage"]["completion_tokens"] == 2


def test_a_seed_gives_the_same_answer_again() -> None:
    answers = [ask("markov", "Hello", seed=3, max_tokens=30) for _ in range(2)]
    texts = [answer["choices"][0]["message"]["content"] for answer in answers]
    assert texts[0] == texts[1]
    assert len(texts[0].split()) == 30
    other = ask("markov", "Hello", seed=4, max_tokens=30)
    assert other["choices"][0]["message"]["content"] != texts[0]


def test_a_limit_is_told_apart_from_an_end() -> None:
    assert ask("markov", "Hello", max_tokens=1)["choices"][0]["finish_reason"] == "length"
    assert ask("markov", "Hello")["choices"][0]["finish_reason"] == "stop"


def test_nonsense_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="max_tokens"):
        ask("markov", "Hello", max_tokens="many")


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"  "])
def test_a_text_that_cannot_be_used_is_said(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "a.txt"
    if content is not None:
        path.write_bytes(content)

    async def state() -> tuple[str, str]:
        async with serving(f"markov:{path}") as kernel:
            (server,) = kernel.status()
            return server.state, str(server.reason)

    found, why = asyncio.run(state())
    assert found == "offline"
    assert "the text of markov:" in why
