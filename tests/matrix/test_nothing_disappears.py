"""No field of a request disappears unreported, on any backend, in any dialect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from .backends import PATHS
from .features import BASES, FEATURES
from .fields import SYNONYMS, UNKNOWN, fields
from .measuring import LOST, NATIVE, REFUSED, REPORTED, TRANSLATED, Measured

pytestmark = pytest.mark.asyncio(loop_scope="module")
DIALECTS = (*FEATURES, "embeddings")
FIELDS = {dialect: fields(dialect) for dialect in DIALECTS}
each_dialect = pytest.mark.parametrize("dialect", DIALECTS)

COLD = ("temperature", 0)
"""Where the likeliest token is taken, there is nothing that `top_p` could do."""


@each_dialect
async def test_every_published_field_arrives_or_is_named(measured: Measured, dialect: str) -> None:
    lost = []
    for name, known in FIELDS[dialect].items():
        for value in known.values:
            base = {**BASES[dialect], **known.beside}
            word = await measured.becomes(dialect, base, {name: value})
            if word == LOST:
                lost.append((name, value))
    assert lost == []


@each_dialect
async def test_strict_refuses_what_would_be_reported(measured: Measured, dialect: str) -> None:
    """Before anything is sent; what would not be reported goes through."""
    plain = await measured.outcome(dialect, BASES[dialect])
    reported = 0
    for name, known in FIELDS[dialect].items():
        base = {**BASES[dialect], **known.beside}
        body = {**base, name: known.first}
        lenient = await measured.outcome(dialect, body)
        if lenient.refused:
            continue
        strict = await measured.outcome(dialect, body, strict=True)
        if not lenient.dropped:
            assert strict.reply.status == 200, (name, strict.reply)
            continue
        reported += 1
        assert strict.reply.status == 400, (name, strict.reply)
        assert dialect == "messages" or strict.error["code"] == "unsupported_parameter", (
            strict.reply
        )
        assert strict.named in lenient.dropped, (name, strict.reply)
        assert strict.sent == (), name
    backend = measured.backend
    assert reported or plain.refused or backend.openai_shaped or backend.invoked


@each_dialect
async def test_what_is_reported_is_not_honoured(measured: Measured, dialect: str) -> None:
    """Or callers would be told that something is missing which is there. TGI and Ollama ignore
    fields that they do not know, so that a request in their own shape goes up with them.
    """
    for name, known in FIELDS[dialect].items():
        base = {**BASES[dialect], **known.beside}
        without = await measured.outcome(dialect, base)
        found = await measured.outcome(dialect, {**base, name: known.first})
        if found.refused or name not in found.dropped - without.dropped:
            continue
        own = any(sent.path.endswith(tuple(PATHS.values())) for sent in found.sent)
        assert own or found.sent == without.sent, name


@each_dialect
async def test_unknown_fields_survive_or_are_reported(measured: Measured, dialect: str) -> None:
    """Servers of OpenAI's shape that speak the dialect get them as they are; TGI takes none."""
    base = dict(BASES[dialect])
    plain = await measured.outcome(dialect, base)
    native = any(measured.backend.is_native(dialect, sent) for sent in plain.sent)
    word = await measured.becomes(dialect, base, {UNKNOWN: {"a": [1]}})
    backend = measured.backend
    if native and (backend.openai_shaped or backend.invoked) and backend.name != "tgi":
        assert word == NATIVE
    else:
        assert word in (REFUSED if plain.refused else REPORTED, TRANSLATED)


ONE_CALL = "parallel_tool_calls"


@st.composite
def requests(draw: st.DrawFn, dialect: str) -> tuple[dict[str, Any], str, Any]:
    """A request with some fields, and one more field with its value."""
    known = FIELDS[dialect]
    name = draw(st.sampled_from(sorted(known)))
    others = draw(st.sets(st.sampled_from(sorted(known)), max_size=4)) - {name}
    for names in SYNONYMS:
        if name in names:
            others -= names
    body = dict(BASES[dialect])
    for other in sorted(others):
        values = [value for value in known[other].values if (other, value) != COLD]
        body |= {**known[other].beside, other: draw(st.sampled_from(values))}
    body |= known[name].beside
    return body, name, draw(st.sampled_from(known[name].values))


def demands(body: Mapping[str, Any]) -> bool:
    """A tool is to be called: the llama_cpp plugin makes one call of that then, never several."""
    return body.get("tool_choice") not in (None, "auto", "none")


@each_dialect
@settings(
    max_examples=10, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
async def test_nor_does_it_among_others(
    measured: Measured, dialect: str, data: st.DataObject
) -> None:
    base, name, value = data.draw(requests(dialect))
    assume(base.get(name) != value)
    assume(not (measured.backend.name == "llama_cpp" and name == ONE_CALL and demands(base)))
    if not (await measured.outcome(dialect, base)).refused:
        assert await measured.becomes(dialect, base, {name: value}) != LOST


async def test_a_response_is_there_later_if_it_is_stored(measured: Measured) -> None:
    """By the relay, where it has translated the request."""
    for store in (True, False):
        asked = {**BASES["responses"], "store": store}
        found = await measured.outcome("responses", asked)
        if any(measured.backend.is_native("responses", sent) for sent in found.sent):
            continue
        later = await measured.bench.get(f"/responses/{found.reply.json()['id']}")
        assert later.status == (200 if store else 404), later
        if store:
            assert later.json()["output"] == found.reply.json()["output"]
