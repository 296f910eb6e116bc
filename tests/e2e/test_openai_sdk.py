"""The official OpenAI client against `h2o run`, in front of the embedded model and of a server."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import openai
import pytest

from .conftest import KEY, MODEL, Relay

pytestmark = pytest.mark.e2e
MESSAGES = [{"role": "user", "content": "What is the capital of France?"}]
GREEDY = {"temperature": 0, "max_tokens": 24, "seed": 1}


@pytest.fixture(scope="module")
def client(embedded: Relay) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{embedded.url}/v1", api_key="none", max_retries=0) as made:
        yield made


@pytest.fixture(scope="module")
def remote_client(remote: Relay) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{remote.url}/v1", api_key="none", max_retries=0) as made:
        yield made


@pytest.fixture(scope="module")
def direct(llama_server: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=llama_server, api_key=KEY, max_retries=0) as made:
        yield made


def streamed(client: openai.OpenAI, model: str) -> tuple[str, list[str]]:
    """The text of a greedy stream, and its finish reasons."""
    text, reasons = "", []
    with client.chat.completions.create(
        model=model, messages=MESSAGES, stream=True, **GREEDY
    ) as stream:
        for chunk in stream:
            for choice in chunk.choices:
                text += choice.delta.content or ""
                reasons += [choice.finish_reason] if choice.finish_reason else []
    return text, reasons


def test_embedded_model_chats(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model=MODEL, messages=MESSAGES, **GREEDY)
    assert "Paris" in (answer.choices[0].message.content or "")
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.completion_tokens > 0
    assert answer.object == "chat.completion"


def test_embedded_model_streams_the_same_text(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model=MODEL, messages=MESSAGES, **GREEDY)
    text, reasons = streamed(client, MODEL)
    assert text == whole.choices[0].message.content
    assert reasons == ["stop"]


def test_embedded_model_completes(client: openai.OpenAI) -> None:
    answer = client.completions.create(model=MODEL, prompt="The capital of France is", **GREEDY)
    assert "Paris" in answer.choices[0].text
    assert answer.object == "text_completion"


def test_models_are_listed_and_retrieved(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == [MODEL]
    model = client.models.retrieve(MODEL)
    assert (model.id, model.object) == (MODEL, "model")
    assert model.created > 0
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("SmolLM")
    assert caught.value.code == "model_not_found"
    assert MODEL in str(caught.value)


def test_server_behind_the_relay_answers_as_it_does_directly(
    remote_client: openai.OpenAI, direct: openai.OpenAI
) -> None:
    through, reasons = streamed(remote_client, "smollm2")
    assert (through, reasons) == streamed(direct, "smollm2")
    assert "Paris" in through
    whole = remote_client.chat.completions.create(model="smollm2", messages=MESSAGES, **GREEDY)
    assert whole.choices[0].message.content == through


def test_server_behind_the_relay_completes_lists_and_retrieves(
    remote_client: openai.OpenAI, direct: openai.OpenAI
) -> None:
    prompt = "The capital of France is"
    text = remote_client.completions.create(model="smollm2", prompt=prompt, **GREEDY)
    assert text.choices[0].text == direct.completions.create(
        model="smollm2", prompt=prompt, **GREEDY
    ).choices[0].text  # fmt: skip
    assert [model.id for model in remote_client.models.list()] == ["smollm2"]
    assert remote_client.models.retrieve("smollm2").id == "smollm2"


def test_streamed_payloads_have_the_upstreams_fields(remote: Relay, llama_server: str) -> None:
    """Field for field what llama.cpp sends: its own extras and usage are not lost."""
    request = {
        "model": "smollm2", "messages": MESSAGES, "stream": True, "logprobs": True,
        "stream_options": {"include_usage": True}, **GREEDY,
    }  # fmt: skip

    def payload_keys(url: str, key: str) -> list[tuple[str, ...]]:
        answer = httpx.post(
            f"{url}/chat/completions", json=request, timeout=60,
            headers={"authorization": f"Bearer {key}"},
        )  # fmt: skip
        lines = [line for line in answer.text.split("\n") if line]
        assert lines[-1] == "data: [DONE]"
        import json

        return [tuple(json.loads(line.removeprefix("data: "))) for line in lines[:-1]]

    through = payload_keys(f"{remote.url}/v1", "none")
    assert through == payload_keys(llama_server, KEY)
    assert "usage" in through[-1]


def test_unknown_fields_reach_the_server(remote_client: openai.OpenAI) -> None:
    """`n_probs` is llama.cpp's own field: only if it arrives is there `completion_probabilities`
    or `probs` in the answer's choice."""
    answer = remote_client.chat.completions.create(
        model="smollm2", messages=MESSAGES, extra_body={"grammar": 'root ::= "Lyon"'}, **GREEDY
    )
    assert answer.choices[0].message.content == "Lyon"


def test_upstreams_own_refusal_is_passed_on(remote_client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        remote_client.chat.completions.create(
            model="smollm2", messages=[{"role": "user", "content": "word " * 9000}], stream=True
        )
    assert "context" in str(caught.value).lower()
