"""docs/matrix.md says what is so: every cell is measured here."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType
from typing import Any

import orjson
import pytest

import h2o_relay_vllm
from h2o_relay.hookspecs import hookimpl
from h2o_relay.plugins import Plugins
from h2o_relay.types import Call, Server, Target

from .backends import BACKENDS, IDS
from .features import BASES, CALLS, FEATURES
from .kit import bench
from .measuring import LOST, NATIVE, OTHER, REFUSED, REPORTED, TRANSLATED, Measured
from .page import PAGE, TABLES, markdown, written
from .said import comparable

module_loop = pytest.mark.asyncio(loop_scope="module")
WORDS = {NATIVE, TRANSLATED, REPORTED, REFUSED}


@module_loop
@pytest.mark.parametrize("table", TABLES)
async def test_each_cell_is_what_the_page_says(measured: Measured, table: str) -> None:
    said = written(table, PAGE.read_text(encoding="utf-8"))[measured.backend.name]
    assert await measured.column(table) == said, "run docs/generate.py"


def test_the_page_has_every_backend_and_row_and_nothing_is_lost() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for table in TABLES:
        rows = list(CALLS) if table == OTHER else [f.name for f in FEATURES[table]]
        found = written(table, page)
        assert list(found) == IDS
        assert all(list(column) == rows for column in found.values())
        assert {word for column in found.values() for word in column.values()} <= WORDS
        assert markdown(found) in page


@module_loop
@pytest.mark.parametrize("dialect", FEATURES)
@pytest.mark.parametrize("more", [{}, {"stream": True}])
async def test_the_same_request_makes_no_difference(
    measured: Measured, dialect: str, more: dict[str, Any]
) -> None:
    """Or the measure would take any two requests for different ones."""
    asked = {**BASES[dialect], **more}
    first, second = [await measured.ask_anew(dialect, asked) for _ in range(2)]
    assert first.reply.status == 200, first.reply
    assert first.sent == second.sent
    assert comparable(first.reply) == comparable(second.reply)


@module_loop
async def test_a_field_that_a_plugin_drops_is_found() -> None:
    """The measure of a plugin that forgets one field and changes another."""
    (vllm,) = [one for one in BACKENDS if one.name == "vllm"]
    backend = replace(vllm, string="vllm:{url}/v1")
    async with bench(backend, Plugins.of(vllm=forgetful())) as running:
        measured = Measured(running)
        base = BASES["chat"]
        assert await measured.becomes("chat", base, {"seed": 7}) == LOST
        assert await measured.becomes("chat", base, {"user": "ann"}) == TRANSLATED
        assert await measured.becomes("chat", base, {"n": 2}) == NATIVE


def forgetful() -> ModuleType:
    """vLLM's plugin, but for `seed` and `user`."""
    module = ModuleType("forgetful")
    module.__dict__.update(vars(h2o_relay_vllm))

    @hookimpl
    def target(server: Server, call: Call) -> Target:
        if isinstance(call.body, bytes) and call.body:
            body = orjson.loads(call.body)
            body.pop("seed", None)
            if "user" in body:
                body["end_user"] = body.pop("user")
            call.body = orjson.dumps(body)
        return h2o_relay_vllm.target(server, call)

    module.target = target  # type: ignore[attr-defined]
    return module
