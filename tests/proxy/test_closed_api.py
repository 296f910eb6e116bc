"""An API that only the chat page may use: h2oGPT's `--openai_server` and `--allow_api`."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import re
import socket
import sys
from collections.abc import AsyncIterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import orjson
import pytest

from h2o_relay.administration import Administration
from h2o_relay.http import HttpClient
from h2o_relay.kernel import Kernel
from h2o_relay.plugins import Plugins
from h2o_relay.settings import SettingError
from h2o_relay.testing import echo
from h2o_relay.testing.scripts import sse
from h2o_relay.testing.settings import quick
from h2o_relay.testing.upstream import ScriptedUpstream, until
from h2o_relay_proxy.app import create_app
from h2o_relay_proxy.ports import address, api_socket
from h2o_relay_proxy.server import closed, running, serve

from .kit import (
    said,
    serving,
)
from .test_process import process

pytestmark = pytest.mark.asyncio(loop_scope="module")
INTERNAL, THEIRS, ADMIN = "internal-canary", "caller-canary", "admin-canary"


@contextlib.asynccontextmanager
async def shut() -> AsyncIterator[tuple[str, HttpClient]]:
    """The address of such an API, and a client."""
    settings = quick(openai_server=False, api_key=THEIRS, admin_pass=ADMIN,
                     h2ogpt_api_keys=repr(["listed-canary"]))  # fmt: skip
    async with Kernel(settings, ["echo:m"], Plugins.of(echo=echo)) as kernel:
        await kernel.settled(20)
        told, admin = closed(settings, INTERNAL), Administration(kernel)
        app = create_app(kernel, told, kernel.instance, admin, INTERNAL)
        with contextlib.closing(api_socket(settings)) as sock:
            async with running(app, told, sock), HttpClient(settings) as http:
                yield address(sock), http


async def test_only_the_internal_key_opens_it() -> None:
    async with shut() as (url, http):
        assert url.startswith("http://127.0.0.1:")
        for path in ("/v1/models", "/admin/deployments"):
            for key in (None, THEIRS, ADMIN, "listed-canary", "", INTERNAL):
                headers = {} if key is None else {"authorization": f"Bearer {key}"}
                async with http.request("GET", url + path, headers=headers) as response:
                    assert response.status == (200 if key == INTERNAL else 401), (path, key)


@pytest.mark.parametrize("changes", [{"openai_server": False}, {"allow_api": False}])
async def test_nothing_listens_for_others(changes: dict[str, Any]) -> None:
    settings = quick(host="0.0.0.0", allow_open=True, openai_port=5999, **changes)
    with contextlib.closing(api_socket(settings)) as sock:
        host, port = sock.getsockname()
    assert host == "127.0.0.1"
    assert port != 5999


@pytest.mark.parametrize("changes", [{"openai_server": False}, {"allow_api": False}])
async def test_a_relay_that_nobody_could_use_does_not_start(changes: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match=r"nobody could use this relay.*--no-ui"):
        serve(quick(ui=False, **changes), ["echo"], Plugins.of(echo=echo))


@pytest.mark.e2e
@pytest.mark.timeout(240)
@pytest.mark.skipif(find_spec("gradio") is None, reason="Gradio is not installed")
@pytest.mark.skipif(sys.platform == "win32", reason="there are no signals on Windows")
@pytest.mark.parametrize("flag", ["openai_server", "allow_api"])
async def test_the_chat_page_works_without_an_api_for_others(tmp_path: Path, flag: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    flags = {"ui": True, "port": 0, "openai_port": port, flag: False}
    async with (
        ScriptedUpstream(serving(sse(said(3)))) as upstream,
        process(upstream, tmp_path, **flags) as running,
    ):
        assert f"API    not served (--no-{flag.replace('_', '-')})" in running.output
        assert "curl" not in running.output
        await until(lambda: "The chat UI is" in running.output, within=180)
        found = re.search(r"The chat UI is ready: (\S+)", running.output)
        assert found, running.output
        with pytest.raises(OSError, match=r"refused|Connect call failed"):
            await asyncio.open_connection("127.0.0.1", port)
        async with HttpClient(quick(request_timeout=30)) as http:
            names = await named(http, found[1])
            assert ("/submit_nochat_api" in names) is (flag == "openai_server")
            if names:
                assert await called(http, found[1], "model_names") == ["m"]
    assert "Traceback" not in running.output


async def named(http: HttpClient, page: str) -> set[str]:
    """The calls that a page's Gradio answers by name."""
    async with http.request("GET", f"{page}/gradio_api/info") as response:
        info = orjson.loads(await response.read(2**20))
    assert info["unnamed_endpoints"] == {}
    return set(info["named_endpoints"])


async def called(http: HttpClient, page: str, name: str) -> list[str]:
    """The models that the page's process knows of, which it asks the API for."""
    headers = {"content-type": "application/json"}
    url = f"{page}/gradio_api/call/{name}"
    async with http.request("POST", url, headers=headers, body=b'{"data": []}') as response:
        event = orjson.loads(await response.read(2**20))["event_id"]
    async with http.request("GET", f"{url}/{event}") as response:
        text = (await response.read(2**20)).decode()
    (data,) = [line[6:] for line in text.splitlines() if line.startswith("data: ")]
    return [model["display_name"] for model in ast.literal_eval(orjson.loads(data)[0])]
