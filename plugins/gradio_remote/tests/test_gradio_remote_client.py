"""The stand-ins of old servers in front of Gradio's own client: what it reads, we may send."""

from __future__ import annotations

import ast
import asyncio
from typing import Any

import pytest

from h2o_relay.testing.scripts import hang, json, stream
from h2o_relay.testing.upstream import Answer, Received, ScriptedUpstream
from h2o_relay_gradio_remote.standin import CallWire, Housekeeping, QueueWire, WholeQueueWire

pytestmark = pytest.mark.e2e
TEXTS = ("Hel", "lo, ", "wörld")
TEXT = {
    "type": {"type": "string"},
    "component": "Textbox",
    "python_type": {"type": "str", "description": ""},
}
PARAMETER = {"label": "a", "parameter_name": "argument", "parameter_has_default": False, **TEXT}


def info(names: list[str]) -> dict[str, Any]:
    """GET /info, which the client wants beside /config."""
    api = {"parameters": [PARAMETER], "returns": [{"label": "b", **TEXT}], "show_api": True}
    return {"named_endpoints": {f"/{name}": api for name in names}, "unnamed_endpoints": {}}


class Stand:
    """A wire's server, with what only Gradio's own client asks for."""

    def __init__(self, wire: CallWire) -> None:
        self.wire = wire

    async def __call__(self, request: Received, answer: Answer) -> None:
        path = request.path.partition("?")[0]
        if path.endswith("/info"):
            await json(info(["submit_nochat_api"]))(request, answer)
        elif "/heartbeat/" in path:
            await hang(answer)
        elif path == "/queue/data":
            await stream(self.wire.events(TEXTS, True))(request, answer)
        else:
            await Housekeeping((), self.wire.config)(request, answer)


def ask(url: str) -> list[str]:
    """The texts that Gradio's own client makes of the stand-in's stream."""
    from gradio_client import Client

    client = Client(url, verbose=False, analytics_enabled=False)
    job = client.submit("{'instruction_nochat': 'Hello'}", api_name="/submit_nochat_api")
    final = job.result(timeout=20)
    return [ast.literal_eval(output)["response"] for output in [*job.outputs(), final]]


@pytest.mark.parametrize("wire", [QueueWire(), WholeQueueWire()])
async def test_gradios_own_client_reads_the_stand_in(wire: CallWire) -> None:
    pytest.importorskip("gradio_client")
    async with ScriptedUpstream(Stand(wire)) as upstream:
        texts = await asyncio.to_thread(ask, upstream.url)
        (join,) = [item for item in upstream.requests if item.path == "/queue/join"]
    assert texts == ["Hel", "Hello, ", "Hello, wörld", "Hello, wörld"]
    assert join.json()["fn_index"] == 0
    assert join.json()["data"] == [None, "{'instruction_nochat': 'Hello'}"]
