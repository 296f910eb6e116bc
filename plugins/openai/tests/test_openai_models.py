"""Which API a model has, where OpenAI's own reference says so."""

from collections.abc import Sequence

import pytest

from h2o_relay.http import HttpClient
from h2o_relay.plugins import Plugins
from h2o_relay.testing import OpenAIWire, ScriptedUpstream
from h2o_relay.testing.settings import quick
from h2o_relay.types import Model
from h2o_relay_openai import list_models
from h2o_relay_openai.models import is_openai, known

NAMES = ("gpt-4o", "davinci-002", "gpt-3.5-turbo-instruct-0914")


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("gpt-3.5-turbo-instruct", {"text"}),
        ("gpt-3.5-turbo-instruct-0914", {"text"}),
        ("davinci-002", {"text"}),
        ("babbage-002", {"text"}),
        ("ft:babbage-002:our-org::AbC", {"text"}),
        ("gpt-3.5-turbo", None),
        ("gpt-4o", None),
        ("o3", None),
        ("text-embedding-3-large", None),
        ("my-davinci-002", None),
    ],
)
def test_completion_models_are_known(name: str, kinds: set[str] | None) -> None:
    model = Model(id=name, max_context=7)
    assert known(model).kinds == kinds
    assert (known(model).id, known(model).max_context) == (name, 7)


@pytest.mark.parametrize(
    ("url", "own"),
    [
        ("https://api.openai.com/v1", True),
        ("https://eu.api.openai.com/v1", True),
        ("https://notapi.openai.com/v1", False),
        ("https://api.openai.com.example.com/v1", False),
        ("http://127.0.0.1:8000/v1", False),
    ],
)
def test_only_openai_itself_is_known(url: str, own: bool) -> None:
    assert is_openai(url) is own


async def listed(upstream: ScriptedUpstream, server_string: str) -> Sequence[Model]:
    server = Plugins.discover("openai").parse(server_string)
    async with HttpClient(quick(http_proxy=upstream.url)) as client:
        return await list_models(server, client)


async def test_models_of_openai_and_of_others() -> None:
    async with ScriptedUpstream(OpenAIWire().listing(NAMES)) as upstream:
        # A proxy stands in for OpenAI's host, which cannot be had here.
        own = await listed(upstream, "openai:None:http://api.openai.com/v1:None:KEY")
        other = await listed(upstream, f"openai:None:{upstream.url}/v1:None:KEY")
    assert upstream.requests[0].path == "http://api.openai.com/v1/models"
    assert [model.id for model in own] == [model.id for model in other] == list(NAMES)
    assert [model.kinds for model in own] == [None, {"text"}, {"text"}]
    assert [model.kinds for model in other] == [None] * 3
