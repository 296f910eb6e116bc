"""What `h2o run` says of its models when they have been looked at."""

from __future__ import annotations

import asyncio
import contextlib
import io
import shlex
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import orjson
import pytest

from h2o_relay.accounting.ring import KeyRing
from h2o_relay.kernel import Kernel
from h2o_relay.pools import PoolSpec
from h2o_relay.spec import ServerSpec
from h2o_relay.store import Keys, Store
from h2o_relay.testing.scripts import json, sse
from h2o_relay.testing.settings import quick
from h2o_relay.testing.upstream import Answer, Received, ScriptedUpstream
from h2o_relay_proxy.announce import announce, curl, wanted_key
from h2o_relay_proxy.chat_ui import ChatUI
from h2o_relay_proxy.server import watched

from .kit import listing, said, serving

pytestmark = pytest.mark.asyncio(loop_scope="module")
URL = "http://127.0.0.1:5000"


@pytest.fixture
def dead() -> Iterator[str]:
    """A server that is not there."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"vllm_chat:127.0.0.1:{taken.getsockname()[1]}"


@contextlib.asynccontextmanager
async def upstream(*names: str) -> AsyncIterator[str]:
    """The server string of one that lists these models."""
    async with ScriptedUpstream(serving(sse(said(1)), listing(*names))) as running:
        yield f"vllm_chat:{running.url}/v1"


async def said_of(
    *servers: ServerSpec, key: str | None = None, pools: Sequence[PoolSpec] = ()
) -> list[str]:
    """The lines that are printed, without the addresses."""
    settings, out = quick(api_key=key), io.StringIO()
    async with Kernel(settings, servers, pools=pools) as kernel:
        await announce(kernel, settings, URL, ChatUI(problem="off"), out)
    lines = [line.strip() for line in out.getvalue().splitlines()]
    assert lines[1:3] == ["Chat   h2o chat, in another terminal; UI off", f"API    {URL}/v1"]
    assert lines[-2:] == ["Ctrl-C stops it.", ""]
    return [line for line in lines[3:-2] if line]


async def test_the_curl_line_has_the_variable_of_a_key_where_one_is_needed(
    tmp_path: Path,
) -> None:
    async with Store(f"sqlite:///{tmp_path}/relay.db") as store:
        for settings, expected in ((quick(), ""), (quick(api_key="x"), "H2OGPT_OPENAI_API_KEY")):
            async with KeyRing(settings, Keys(store)) as ring:
                assert await wanted_key(settings, ring) == expected
        await Keys(store).create({"name": "team"})
        async with KeyRing(quick(), Keys(store)) as ring:
            assert ring.unread, "it waits for the store"
            assert await wanted_key(quick(), ring) == "KEY"
    assert '"Authorization: Bearer $KEY"' in curl(URL, "m", "KEY")
    assert "Authorization" not in curl(URL, "m", "")


def asked_for(line: str) -> str:
    """The model that the curl line asks for."""
    words = shlex.split(line)
    assert words[:3] == ["curl", "-N", f"{URL}/v1/chat/completions"]
    return str(orjson.loads(words[words.index("-d") + 1])["model"])


async def test_names_are_those_that_clients_ask_for() -> None:
    async with upstream("up") as server:
        lines = await said_of(
            ServerSpec(server=server, base_model="org/m"),
            ServerSpec(server=server, base_model="org/m"),
            ServerSpec(server=server, base_model="org/m", display_name="nice"),
            ServerSpec(server=server, base_model="secret", visible=False),
        )
    *models, header, curl = lines
    names = ["org/m", "org/m_1", "nice"]
    assert models == [f"Model  {name}   ({server})" for name in names]
    assert header == "Try it:"
    assert asked_for(curl) == "org/m"


async def test_a_server_that_is_away_is_tried_again_and_not_tried_out(dead: str) -> None:
    async with upstream("m", "n") as server:
        first, second, third, fourth, _, curl = await said_of(
            ServerSpec(server=dead, base_model="gone"),
            ServerSpec(server=dead),
            ServerSpec(server=server, base_model="other/o"),
            ServerSpec(server=server),
        )
    assert first.startswith(f"Model  gone   ({dead})   offline: the upstream server could not be")
    assert first.endswith("; it is tried again")
    assert second == first.replace(f"Model  gone   ({dead})", f"Server {dead}")
    assert third == (
        f"Model  other/o   ({server})   mismatch: the server does not list other/o, but m, n; "
        "it is tried again"
    )
    assert fourth == f"Model  m, n   ({server})"
    assert asked_for(curl) == "m"


async def test_pools_are_named_after_the_models(dead: str) -> None:
    away = PoolSpec(name="away", members=("gone",))
    both = PoolSpec(name="both", members=("gone", "m"), strategy="priority")
    async with upstream("m") as server:
        lines = await said_of(
            ServerSpec(server=dead, base_model="gone"), ServerSpec(server=server),
            pools=[away, both],
        )  # fmt: skip
    assert lines[2].startswith("Pool   away   (least-load: gone)   offline: gone: the upstream")
    assert lines[3] == "Pool   both   (priority: gone, m)"


async def test_a_server_that_loads_its_model_is_no_server_that_is_away() -> None:
    async with ScriptedUpstream(json({"error": {"message": "Loading model"}}, 503)) as loading:
        lines = await said_of(ServerSpec(server=f"vllm_chat:{loading.url}/v1", base_model="m"))
    assert "   warming: " in lines[0]


async def test_without_a_model_that_answers_none_is_named(dead: str) -> None:
    lines = await said_of(ServerSpec(server=dead, base_model="gone"))
    assert lines[1:] == ["No model can be asked yet."]


async def test_a_server_that_is_ready_is_named_before_one_that_is_opening(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("h2o_relay_proxy.announce.FIRST_LOOK", 2.5)
    release = asyncio.Event()

    async def slow(request: Received, answer: Answer) -> None:
        await release.wait()
        await listing("late")(request, answer)

    async with ScriptedUpstream(serving(sse(said(1)), slow)) as running, upstream("m") as server:
        late = f"vllm_chat:{running.url}/v1"
        slow_alone = await said_of(ServerSpec(server=late, base_model="late"))
        both = await said_of(ServerSpec(server=late, base_model="late"), ServerSpec(server=server))
        release.set()
    assert slow_alone[0] == f"Model  late   ({late})   listing"
    assert asked_for(slow_alone[-1]) == "late"
    assert both[0] == f"Model  late   ({late})   listing"
    assert asked_for(both[-1]) == "m"


async def test_many_models_are_counted_and_a_key_is_not_shown() -> None:
    names = [f"m{number}" for number in range(8)]
    async with upstream(*names, "evil\x1b[2J\nname") as server:
        models, _, curl = await said_of(ServerSpec(server=server), key="sk-secret")
    assert models == f"Model  m0, m1, m2, m3, m4 and 4 more   ({server})"
    assert "sk-secret" not in curl
    assert "$H2OGPT_OPENAI_API_KEY" in curl


async def test_names_cannot_steer_the_terminal() -> None:
    async with upstream("evil\x1b[2J\nname") as server:
        models, _, curl = await said_of(ServerSpec(server=server))
    assert models == f"Model  evil[2J name   ({server})"
    assert "\x1b" not in curl


async def test_what_nobody_waits_for_fails_aloud(caplog: pytest.LogCaptureFixture) -> None:
    async def fails() -> None:
        raise ZeroDivisionError

    await asyncio.wait([watched(fails())])
    await asyncio.sleep(0)
    assert "ZeroDivisionError" in caplog.text
