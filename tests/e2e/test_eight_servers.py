"""One `h2o run` with a model lock of eight servers of eight kinds, of which three are dead."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from h2o_relay.testing import OpenAIWire
from h2o_relay.testing.scripts import json as said
from h2o_relay.testing.upstream import Answer, Received
from h2o_relay_sagemaker import standin as sagemaker

from .conftest import KEY, Relay, relay
from .standins import Street, free_port, module

pytestmark = pytest.mark.e2e
STARTS_WITHIN = 5.0  # seconds
COMES_ALIVE_WITHIN = 30.0
QUICK = 3.0
MESSAGES = [{"role": "user", "content": "Say it."}]
ALIVE = ("llama", "openai", "azure", "ollama", "sagemaker")
DEAD = ("tgi", "replicate", "gradio")


async def openai_server(request: Received, answer: Answer) -> None:
    """OpenAI's API, as the conformance kit has it."""
    wire = OpenAIWire()
    if wire.is_listing(request):
        return await wire.listing(["openai", "another"])(request, answer)
    if not request.path.endswith("/chat/completions"):
        return await said({"error": {"message": "not here"}}, 404)(request, answer)
    return await wire.reply(request, ["Hello ", "from openai"])(request, answer)


class Town:
    """The relay, and the place where a dead server will live."""

    def __init__(self, street: Street, running: Relay, took: float, tgi_port: int) -> None:
        self.street, self.running, self.took, self.tgi_port = street, running, took, tgi_port
        self.listed_after = 0.0
        self.listed: list[str] = []


@pytest.fixture(scope="module")
def town(llama_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    folder = tmp_path_factory.mktemp("eight")
    tgi_port, gone = free_port(), free_port()
    with Street() as street:
        lock, env = eight(street, llama_server, tgi_port, gone)
        file = folder / "lock.json"
        file.write_text(json.dumps(lock))
        env |= {"AWS_CONFIG_FILE": str(folder / "none"), "AWS_EC2_METADATA_DISABLED": "true"}
        start = time.monotonic()
        with relay(f"--model-lock=@{file}", env=env) as running:
            made = Town(street, running, time.monotonic() - start, tgi_port)
            with client_of(running) as client:
                made.listed = [model.id for model in client.models.list()]
            made.listed_after = time.monotonic() - start
            yield made


def eight(
    street: Street, llama_server: str, tgi_port: int, gone: int
) -> tuple[list[dict[str, str]], dict[str, str]]:
    """The lock, and the environment that goes with it. Nobody is at the last three."""
    azure, ollama = module("azure", "azure_standin"), module("ollama", "ollama_standin")
    container = sagemaker.OpenAIContainer()

    async def endpoint(request: Received, answer: Answer) -> None:
        await container.reply(request, ["Hello ", "from sagemaker"])(request, answer)

    resource = f"{street.opened(azure.AzureStandIn()).url}:2024-10-21:{azure.KEY}"
    servers = {
        "llama": f"vllm_chat:{llama_server}:{KEY}",
        "openai": f"openai_chat:None:{street.opened(openai_server).url}/v1:None:sk-test",
        "azure": f"openai_azure_chat:{azure.CHAT}:{resource}",
        "ollama": f"ollama:{street.opened(ollama.StandIn()).url}",
        "sagemaker": "sagemaker_chat:test-model:us-east-2",
        "tgi": f"http://127.0.0.1:{tgi_port}",
        "replicate": "replicate:meta/llama",
        "gradio": f"gradio:http://127.0.0.1:{gone}",
    }
    names = {name: {"base_model": name, "inference_server": text} for name, text in servers.items()}
    names["ollama"] |= {"base_model": ollama.CHATTY, "display_name": "ollama"}
    env = {
        "AWS_ACCESS_KEY_ID": sagemaker.ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": sagemaker.SECRET_KEY,
        "H2O_SAGEMAKER_ENDPOINT_URL": street.opened(endpoint).url,
        "REPLICATE_API_TOKEN": "r8_canary",
        "H2O_REPLICATE_URL": f"http://127.0.0.1:{gone}",
    }
    return list(names.values()), env


def client_of(running: Relay) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{running.url}/v1", api_key="none", max_retries=0)


@pytest.fixture(scope="module")
def client(town: Town) -> Iterator[openai.OpenAI]:
    with client_of(town.running) as made:
        yield made


def ask(client: openai.OpenAI, model: str, **more: Any) -> Any:
    greedy = {"messages": MESSAGES, "max_tokens": 8, "temperature": 0}
    return client.chat.completions.create(model=model, **greedy, **more)  # type: ignore[call-overload]


def streamed(client: openai.OpenAI, model: str) -> tuple[str, list[str], Any]:
    """Text, finish reasons and usage."""
    text, reasons, usage = "", [], None
    with ask(client, model, stream=True, stream_options={"include_usage": True}) as stream:
        for chunk in stream:
            usage = chunk.usage or usage
            for choice in chunk.choices:
                text += (choice.delta and choice.delta.content) or ""
                reasons += [choice.finish_reason] if choice.finish_reason else []
    return text, reasons, usage


def test_it_starts_at_once_and_lists_all_eight(town: Town) -> None:
    assert town.took < STARTS_WITHIN, town.running.output
    assert town.listed_after < STARTS_WITHIN
    assert town.listed == [*ALIVE, *DEAD]


@pytest.mark.parametrize("model", ALIVE)
def test_every_living_one_answers(client: openai.OpenAI, model: str) -> None:
    whole = ask(client, model)
    text, reasons, usage = streamed(client, model)
    assert text == whole.choices[0].message.content != ""
    assert reasons == [whole.choices[0].finish_reason]
    assert usage.completion_tokens > 0
    assert whole.usage.completion_tokens == usage.completion_tokens


@pytest.mark.parametrize("how", [ask, streamed])
@pytest.mark.parametrize(
    ("model", "status", "code"),
    [
        ("tgi", 503, "upstream_unavailable"),
        ("replicate", 502, "upstream_unreachable"),
        ("gradio", 502, "upstream_unreachable"),
    ],
)
def test_a_dead_one_says_so_quickly(
    client: openai.OpenAI, model: str, status: int, code: str, how: Any
) -> None:
    """A server whose string says what it is, is tried; one that nobody has recognised cannot be."""
    start = time.monotonic()
    with pytest.raises(openai.APIStatusError) as caught:
        how(client, model)
    assert time.monotonic() - start < QUICK
    assert (caught.value.status_code, caught.value.code) == (status, code)
    assert "could not be reached" in caught.value.message
    assert "canary" not in caught.value.message


def test_a_dead_one_that_is_started_later_comes_alive(town: Town, client: openai.OpenAI) -> None:
    """By itself: a request for a server that nobody has recognised yet changes nothing."""
    standin = module("tgi", "tgi_standin").TgiStandIn(says="Hello from tgi")
    with town.street.moved_in(standin, town.tgi_port):
        deadline = time.monotonic() + COMES_ALIVE_WITHIN
        while not is_there(client, "tgi"):
            assert time.monotonic() < deadline, town.running.output
            time.sleep(0.1)
        assert ask(client, "tgi").choices[0].message.content == "Hello from tgi"
        assert streamed(client, "tgi")[:2] == ("Hello from tgi", ["stop"])
        assert ask(client, "openai").choices[0].message.content == "Hello from openai"


def is_there(client: openai.OpenAI, model: str) -> bool:
    """Whether it answers; what is wrong with it can only be that it is not known yet."""
    try:
        ask(client, model)
    except openai.InternalServerError as error:
        if error.status_code != 503:
            raise
        return False
    return True


def test_no_secret_was_printed(town: Town) -> None:
    for secret in (KEY, "r8_canary", "sk-test"):
        assert secret not in town.running.output
