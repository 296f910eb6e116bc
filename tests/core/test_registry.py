"""From configured servers to names: a snapshot that never changes under a request."""

import pytest

from h2o_relay.entry import Entry
from h2o_relay.errors import InvalidRequest, ModelNotFound, UpstreamUnavailable
from h2o_relay.http import HttpClient
from h2o_relay.links import Link
from h2o_relay.registry import EMPTY, build
from h2o_relay.testing.settings import quick
from h2o_relay.types import Model, Server

from . import plain


def entry(*ids: str, base_model: str | None = None, model: str | None = None) -> Entry:
    """A server that was looked at and lists these models."""
    server = Server(plugin="plain", model=model)
    link = Link(plain.plugin(), server, HttpClient(quick()))
    models = [Model(id=name, max_context=len(name)) for name in ids]
    return Entry(server, base_model, link, models, listed=True, stage="ready")


def pairs(*entries: Entry) -> dict[str, str]:
    return {n: route.deployment.model for n, route in build(entries).routes.items()}


async def test_names() -> None:
    assert pairs() == {}
    assert pairs(entry("a", "b")) == {"a": "a", "b": "b"}
    assert pairs(entry("a", "a")) == {"a": "a"}
    assert pairs(entry("a"), entry("a"), entry("a")) == {"a": "a", "a_1": "a", "a_2": "a"}
    assert pairs(entry("a"), entry("a"), entry("a_1")) == {"a": "a", "a_1": "a", "a_1_1": "a_1"}


async def test_base_models() -> None:
    assert pairs(entry("a", base_model="m")) == {"m": "a"}
    assert pairs(entry("a", "m", base_model="m")) == {"m": "m"}
    assert pairs(entry("a", "b", base_model="m")) == {"m": "m"}
    assert pairs(entry(base_model="m")) == {"m": "m"}
    assert pairs(entry("a", base_model="m"), entry("b", base_model="m")) == {"m": "a", "m_1": "b"}


async def test_a_string_that_names_its_model() -> None:
    assert pairs(entry(model="s")) == {"s": "s"}
    assert pairs(entry("a", "b", model="s")) == {"a": "a", "b": "b"}
    assert pairs(entry("a", "b", model="s", base_model="m")) == {"m": "s"}


async def test_what_is_known_of_a_model() -> None:
    snapshot = build([entry("abc"), entry("abcd", base_model="m")], created=7)
    deployment = snapshot.find("abc").deployment
    assert (deployment.max_context, deployment.owned_by, deployment.created) == (3, "plain", 7)
    assert snapshot.find("m").deployment.max_context == 4
    assert snapshot.find("m").deployment.base_model == "m"


async def test_pending() -> None:
    unseen = Entry(Server(plugin="plain"))
    assert build([entry("a"), unseen]).pending
    unseen.stage = "offline"
    assert not build([entry("a"), unseen]).pending
    unseen.stage = "unidentified"
    assert not build([unseen]).pending
    listed = entry("a")
    listed.stage = "opening"
    assert not build([listed]).pending


async def test_this_relay_itself_offers_nothing() -> None:
    itself = entry("a", base_model="m")
    itself.itself = True
    assert pairs(itself, entry("b")) == {"b": "b"}


async def test_a_snapshot_does_not_change() -> None:
    first = entry("a")
    snapshot = build([first])
    first.models.append(Model(id="b"))
    assert list(snapshot.routes) == ["a"]
    with pytest.raises(TypeError):
        snapshot.routes["x"] = snapshot.routes["a"]  # type: ignore[index]


async def test_finding() -> None:
    snapshot = build([entry("llama-3.1-8b", "mistral-7b")])
    assert snapshot.find(None).deployment.name == "llama-3.1-8b"
    assert snapshot.find("mistral-7b").deployment.name == "mistral-7b"
    with pytest.raises(ModelNotFound, match=r"Did you mean mistral-7b\?"):
        snapshot.find("mistral")
    with pytest.raises(ModelNotFound, match=r"Did you mean llama-3.1-8b, mistral-7b\?"):
        snapshot.find("\u2603")
    with pytest.raises(ModelNotFound, match="No model is available"):
        EMPTY.find("a")
    with pytest.raises(UpstreamUnavailable):
        EMPTY.find(None)


@pytest.mark.parametrize("name", [5.0, True, ["a"], {"a": 1}, b"a"])
async def test_a_name_that_is_no_text(name: object) -> None:
    with pytest.raises(InvalidRequest, match="must be a string") as caught:
        build([entry("a")]).find(name)  # type: ignore[arg-type]
    assert (caught.value.status, caught.value.code) == (400, "invalid_type")


@pytest.mark.parametrize("name", ["<script>", "a\nb", "\x1b[31m", "x" * 10_000, "\u202eabc", ""])
async def test_a_name_is_shown_safely(name: str) -> None:
    with pytest.raises(ModelNotFound) as caught:
        build([entry("a")]).find(name)
    shown = caught.value.message
    assert shown.isprintable()
    assert "<" not in shown
    assert len(shown) < 250
