"""Two relays, each started once, and the places behind them that the clients are sent to."""

from __future__ import annotations

import json
from collections.abc import Iterator

import anthropic
import openai
import pytest

from ..conftest import KEY, Relay, relay
from .kit import CHAINED, CLIENT_KEY, EMBEDDED, NO_KEY, OPENAI, SECOND, TEXT, TUNED, VLLM, Place


@pytest.fixture(scope="session")
def several(
    llama_server: str, embedded: Relay, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Relay]:
    """`h2o run` that wants a key, in front of the llama.cpp server, by two plugins and as one that
    only completes texts, and of the relay with the embedded model.
    """
    host = llama_server.removeprefix("http://").removesuffix("/v1")
    vllm = f"vllm_chat:{host}:/v1:{KEY}"
    lock = [
        {"inference_server": vllm, "base_model": VLLM},
        {"inference_server": f"openai_chat:None:{llama_server}:None:{KEY}", "base_model": OPENAI},
        {"inference_server": vllm, "base_model": TUNED, "max_max_new_tokens": 1800},
        {"inference_server": f"vllm:{host}:/v1:{KEY}", "base_model": TEXT, "prompt_type": "qwen"},
        {"inference_server": f"openai_chat:None:{embedded.url}/v1", "base_model": CHAINED},
    ]
    file = tmp_path_factory.mktemp("clients") / "lock.json"
    file.write_text(json.dumps(lock))
    with relay(f"--model-lock=@{file}", env={"H2O_API_KEY": CLIENT_KEY}) as running:
        for name in SECOND:
            running.wait_for(rf"Model +{name} ")
        yield running


@pytest.fixture(scope="session")
def places(embedded: Relay, several: Relay) -> dict[str, Place]:
    """By the model's name."""
    behind = {name: Place(several.url, CLIENT_KEY, name) for name in SECOND}
    return {EMBEDDED: Place(embedded.url, NO_KEY, EMBEDDED), **behind}


@pytest.fixture(scope="session")
def clients(places: dict[str, Place]) -> Iterator[dict[str, openai.OpenAI]]:
    """OpenAI's client for each relay, by its address."""
    made = {
        place.url: openai.OpenAI(base_url=place.base, api_key=place.key, max_retries=0)
        for place in places.values()
    }
    yield made
    for client in made.values():
        client.close()


@pytest.fixture
def place(request: pytest.FixtureRequest, places: dict[str, Place]) -> Place:
    """The place that a test is parametrized with, by its model (`kit.at`)."""
    return places[request.param]


@pytest.fixture
def client(place: Place, clients: dict[str, openai.OpenAI]) -> openai.OpenAI:
    """OpenAI's client for the test's place."""
    return clients[place.url]


@pytest.fixture(scope="session")
def direct(llama_server: str) -> Iterator[openai.OpenAI]:
    """The llama.cpp server without a relay."""
    with openai.OpenAI(base_url=llama_server, api_key=KEY, max_retries=0) as made:
        yield made


@pytest.fixture(scope="session")
def by_url(places: dict[str, Place]) -> Iterator[dict[str, anthropic.Anthropic]]:
    made = {
        place.url: anthropic.Anthropic(base_url=place.url, api_key=place.key, max_retries=0)
        for place in places.values()
    }
    yield made
    for client in made.values():
        client.close()


@pytest.fixture
def claude(place: Place, by_url: dict[str, anthropic.Anthropic]) -> anthropic.Anthropic:
    """Anthropic's client for the test's place. It sends its key as `x-api-key`."""
    return by_url[place.url]
