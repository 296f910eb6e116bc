"""Whom the chat page asks for: people with limits of their own, and keys of h2oGPT's calls. The
page's process is a `RemoteKernel` with the internal key; its headers do nothing beside another.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from h2o_relay.accounting.limits import Limits
from h2o_relay.accounting.ring import KeyRing
from h2o_relay.administration import Administration
from h2o_relay.behalf import HOLDER, KEY, LONGEST, USER, behalf, headers, read, written
from h2o_relay.errors import RelayError
from h2o_relay.kernel import Kernel
from h2o_relay.remote import RemoteKernel
from h2o_relay.store import Keys, Store
from h2o_relay.testing.scripts import sse
from h2o_relay.testing.settings import quick
from h2o_relay.testing.upstream import Answer, Received, Script, ScriptedUpstream, until
from h2o_relay_proxy.app import create_app
from h2o_relay_proxy.behind_page import BehindPage
from h2o_relay_proxy.desk import Desk
from h2o_relay_proxy.ports import address, bind
from h2o_relay_proxy.seeing.metrics import Metrics
from h2o_relay_proxy.server import running

from .desk_kit import MASTER, PRICES, Desked, Sink, bearing
from .kit import MODEL, assert_error, chat, get, post, said, serving

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("leaves_nothing")]
INTERNAL, LISTED = "internal-canary-5f0e", "listed-canary-0123456789"
QUESTION = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "stream": True}
ODD = "Jürgen {O'Neil}: 50% \U0001f600"


@contextlib.asynccontextmanager
async def paged(
    folder: Path, script: Script | None = None, **changes: Any
) -> AsyncIterator[tuple[Desked, RemoteKernel]]:
    """A relay with its desk, as `opening` makes it, and its chat page's kernel."""
    settings = quick(**{"admin_pass": MASTER, **changes})
    sink, stored, metrics = Sink(), Sink(), Metrics()
    async with (
        ScriptedUpstream(serving(script or sse(said(3)), None)) as upstream,
        Kernel(settings, [f"vllm_chat:{upstream.url}/v1"]) as kernel,
        Store(f"sqlite:///{folder}/relay.db") as store,
        KeyRing(settings, Keys(store), internal=INTERNAL, shut=not settings.serves_api) as ring,
    ):
        await asyncio.gather(kernel.settled(5), ring.settled(5))
        page = BehindPage(settings, ring)
        sinks = [sink, metrics]
        desk = Desk(kernel, ring, Limits(), lambda: PRICES, sinks, stored, metrics, page)
        app = create_app(kernel, settings, kernel.instance, Administration(kernel), None, desk)
        sock = bind("127.0.0.1", 0)
        async with running(app, settings, sock) as server:
            relay = Desked(
                sock.getsockname()[1], kernel, settings, upstream, server, [], Keys(store), ring,
                stored, stored, metrics,
            )  # fmt: skip
            async with RemoteKernel(address(sock), INTERNAL, quick()) as remote:
                await remote.settled(5)
                yield relay, remote


async def asked(remote: RemoteKernel, user: str = "", key: str = "", holder: str = "") -> str:
    """The answer's text."""
    with behalf(user=user, key=key, holder=holder):
        async with remote.stream("chat", QUESTION) as answer:
            return "".join([chunk.text async for chunk in answer])


async def code(remote: RemoteKernel, user: str = "", key: str = "", holder: str = "") -> str | None:
    """The code that an answer is refused with; None for none."""
    try:
        await asked(remote, user, key, holder)
    except RelayError as error:
        return error.code
    return None


async def whose(remote: RemoteKernel, key: str = "", holder: str = "") -> str | None:
    found = await remote.caller(key=key, holder=holder)
    return None if found is None else found.id


async def callers(relay: Desked, count: int) -> list[str]:
    """Of so many requests."""
    await until(lambda: len(relay.stored.records) >= count, within=5)
    return [record.key for record in relay.stored.records]


async def held(request: Received, answer: Answer) -> None:
    """One token, and never the next."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
    await answer.send(head + b"data: %b\n\n" % said(1, None)[0])
    await answer.hang()


class TestPeople:
    async def test_they_are_told_apart(self, tmp_path: Path) -> None:
        async with paged(tmp_path) as (relay, remote):
            for user in ("ann", ODD, ""):
                assert await asked(remote, user)
            assert await callers(relay, 3) == ["user:ann", f"user:{ODD}", "page"]

    async def test_each_has_the_limits(self, tmp_path: Path) -> None:
        async with paged(tmp_path, user_requests_per_minute=2) as (relay, remote):
            for _ in range(2):
                assert await code(remote, "ann") is None
            with behalf(user="ann"), pytest.raises(RelayError) as caught:
                async with remote.stream("chat", QUESTION):
                    pass
            assert (caught.value.status, caught.value.code) == (429, "rate_limit_exceeded")
            assert "2 requests a minute are allowed. Try again in " in caught.value.message
            assert await code(remote, "bob") is None, "others are not held up"
            assert [await code(remote) for _ in range(3)] == [None, None, "rate_limit_exceeded"]
            assert (await callers(relay, 7))[-4:] == ["user:bob", *["page"] * 3]
            reply = await relay.ask(post(chat()))
            assert reply.status == 200
            assert "x-ratelimit-limit-requests" not in reply.headers, "keys have their own limits"

    async def test_tokens_and_answers_at_the_same_time(self, tmp_path: Path) -> None:
        changes = {"user_concurrent": 1, "user_tokens_per_minute": 3000}
        async with paged(tmp_path, held, **changes) as (_, remote):
            with behalf(user="ann"):
                async with remote.stream("chat", QUESTION):
                    assert await code(remote, "ann") == "concurrency_exceeded"
                    with behalf(user="bob"):
                        async with remote.stream("chat", QUESTION):
                            pass
            big = {**QUESTION, "max_tokens": 3000}
            with behalf(user="cleo"), pytest.raises(RelayError, match="3000 a minute are allowed"):
                async with remote.stream("chat", big):
                    pass

    async def test_the_headers_do_nothing_with_another_key(self, tmp_path: Path) -> None:
        changes = {"api_key": "own-canary", "h2ogpt_api_keys": f"['{LISTED}']",
                   "user_requests_per_minute": 1}  # fmt: skip
        async with paged(tmp_path, **changes) as (relay, _):
            id, secret = await relay.key()
            claims = dict(written(user="ann", key=LISTED))
            for key in (secret, "own-canary", secret, "own-canary"):
                reply = await relay.ask(post(chat(), headers=bearing(key, **claims)))
                assert reply.status == 200
            assert await callers(relay, 4) == [id, "env", id, "env"]
            for given in ({}, bearing("wrong"), bearing(MASTER)):
                reply = await relay.ask(post(chat(), headers={**given, **claims}))
                assert reply.status == 401

    async def test_nor_without_a_key(self, tmp_path: Path) -> None:
        async with paged(tmp_path, user_requests_per_minute=1) as (relay, _):
            for _ in range(3):
                reply = await relay.ask(post(chat(), headers=dict(written(user="ann"))))
                assert reply.status == 200
            assert await callers(relay, 3) == ["open"] * 3

    async def test_they_are_not_passed_on(self, tmp_path: Path) -> None:
        async with paged(tmp_path, h2ogpt_api_keys=f"['{LISTED}']") as (relay, remote):
            await asked(remote, "ann", LISTED)
            [request] = [each for each in relay.upstream.requests if each.method == "POST"]
        assert not {USER, KEY} & set(request.headers)
        assert LISTED not in str(request.headers)


class TestKeys:
    async def test_calls_count_for_their_key(self, tmp_path: Path) -> None:
        async with paged(tmp_path, h2ogpt_api_keys=f"['{LISTED}']") as (relay, remote):
            id, secret = await relay.key(requests_per_minute=1)
            listed = await whose(remote, LISTED)
            assert listed is not None
            assert listed.startswith("list-")
            assert await whose(remote, secret) == id
            for wrong in ("", "wrong", INTERNAL, MASTER, "x" * 2 * LONGEST, "\ud800"):
                assert await whose(remote, wrong) is None
            assert await code(remote, "ann", secret) is None
            assert await code(remote, "ann", LISTED) is None
            assert await callers(relay, 2) == [id, listed]
            assert await code(remote, "", secret) == "rate_limit_exceeded"
            await relay.keys.revoke(id)
            await relay.ring.refresh()
            assert await whose(remote, secret) is None
            assert await code(remote, "", secret) == "invalid_api_key"

    async def test_who_signed_in_with_one_is_asked_for_as_its_holder(self, tmp_path: Path) -> None:
        """And has its models, its limits and its end; `--user_*` are for who has no key."""
        async with paged(tmp_path, user_requests_per_minute=1) as (relay, remote):
            id, secret = await relay.key(requests_per_minute=2)
            found = await remote.caller(holder=id)
            assert found is not None
            assert (found.id, found.allowance.models) == (id, ())
            for wrong in ("key_0", "page", "admin", "open", "env", secret):
                assert await whose(remote, holder=wrong) is None
                assert await code(remote, holder=wrong) == "invalid_api_key"
            told = [await code(remote, "ann", "", id) for _ in range(3)]
            assert told == [None, None, "rate_limit_exceeded"]
            assert (await callers(relay, 9))[-3:] == [id] * 3
            limited, _ = await relay.key(name="few", models=["other-*"])
            assert await code(remote, holder=limited) == "model_not_allowed"
            found = await remote.caller(holder=limited)
            assert found is not None
            assert found.allowance.models == ("other-*",)
            reply = await relay.ask(post(chat(), headers=bearing(secret, **{HOLDER: limited})))
            assert_error(reply, 429, "rate_limit_exceeded")  # the header is the page's alone
            await relay.keys.revoke(id)
            await relay.ring.refresh()
            assert await whose(remote, holder=id) is None
            assert await code(remote, holder=id) == "invalid_api_key"

    async def test_the_first_key_of_the_store_closes_calls(self, tmp_path: Path) -> None:
        async with paged(tmp_path) as (relay, remote):
            assert [await whose(remote, key) for key in ("", "any")] == ["open", "open"]
            id, secret = await relay.key()
            assert [await whose(remote, key) for key in ("", "any", secret)] == [None, None, id]

    @pytest.mark.parametrize(
        ("changes", "any_key"),
        [
            ({"api_key": "own-canary"}, False),
            ({"api_key": "own-canary", "enforce_h2ogpt_api_key": False}, True),
            ({"h2ogpt_api_keys": f"['{LISTED}']", "enforce_h2ogpt_api_key": True}, False),
        ],
    )
    async def test_what_is_enforced(
        self, tmp_path: Path, changes: dict[str, Any], any_key: bool
    ) -> None:
        async with paged(tmp_path, **changes) as (_, remote):
            assert await whose(remote, "any") == ("open" if any_key else None)
            assert await whose(remote, "") == ("open" if any_key else None)

    async def test_they_are_good_for_calls_where_the_api_is_shut(self, tmp_path: Path) -> None:
        changes = {"openai_server": False, "h2ogpt_api_keys": f"['{LISTED}']"}
        async with paged(tmp_path, **changes) as (relay, remote):
            id, secret = await relay.key(admin=True)
            assert await whose(remote, secret) == id
            for key in (LISTED, secret, MASTER, "wrong"):
                for path in ("/v1/models", "/admin/deployments"):
                    reply = await relay.ask(get(path, **bearing(key)))
                    assert_error(reply, 401, "invalid_api_key")
            assert await code(remote, "", secret) is None
            assert await callers(relay, 1) == [id]

    async def test_only_the_page_may_ask_about_them(self, tmp_path: Path) -> None:
        async with paged(tmp_path) as (relay, _):
            _, secret = await relay.key(admin=True)
            for key in (secret, MASTER):
                reply = await relay.ask(get("/admin/caller", **bearing(key)))
                assert_error(reply, 404, "unknown_url")
            reply = await relay.ask(get("/admin/caller", **bearing("wrong")))
            assert reply.status == 401


async def test_headers_are_those_of_a_block() -> None:
    assert headers() == {}
    with behalf(user=ODD, key="k"):
        told = {name.encode(): value.encode("ascii") for name, value in headers().items()}
        assert (read(told, USER), read(told, KEY)) == (ODD, "k")
        with behalf():
            assert headers() == {}
        assert await asyncio.create_task(_headers_of_a_task()) == headers()
    assert headers() == {}
    assert written(user="x" * (LONGEST + 1)) == {}


async def _headers_of_a_task() -> Any:
    return headers()
