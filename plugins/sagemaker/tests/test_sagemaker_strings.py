"""What h2oGPT's server strings mean, with the environment that they come with."""

from typing import Any

import pytest

from h2o_relay.errors import BadServerString
from h2o_relay.resolve import resolve
from h2o_relay_sagemaker.payloads import payload_of

from .sagemaker_kit import ALONE, LLAMA2, STRING, server_of

ENV = {"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "SECRET"}
ROWS: list[tuple[str, str | None, dict[str, Any]]] = [
    (
        "sagemaker_chat:my-endpoint:us-east-2",
        LLAMA2,
        {
            "backend": "sagemaker",
            "api": "chat",
            "endpoint": "my-endpoint",
            "region": "us-east-2",
            "payload": "llama2",
        },
    ),
    (
        "sagemaker:my-endpoint:us-east-2",
        "h2oai/h2ogpt-4096-llama2-7b",
        {
            "backend": "sagemaker",
            "api": "text",
            "endpoint": "my-endpoint",
            "region": "us-east-2",
            "payload": "tgi",
        },
    ),
]


@pytest.mark.parametrize(("text", "base_model", "expected"), ROWS)
def test_as_h2ogpt_reads_it(
    text: str, base_model: str | None, expected: dict[str, Any], no_sockets: None
) -> None:
    server = resolve(ALONE.parse(text), base_model, ENV)
    found = {"backend": server.plugin, "api": server.api, **server.options}
    assert found == expected
    assert "SECRET" not in repr(server)


def test_an_endpoint_without_a_name_is_refused() -> None:
    with pytest.raises(BadServerString) as caught:
        resolve(ALONE.parse("sagemaker_chat::us-east-2"), None, ENV)
    assert (caught.value.column, caught.value.example) == (
        16,
        "sagemaker_chat:my-endpoint:us-east-2",
    )


def test_keys_need_not_be_in_the_environment() -> None:
    assert server_of("sagemaker:my-endpoint:us-east-2").options["region"] == "us-east-2"


def test_the_environment_fills_in_what_the_string_leaves_out() -> None:
    env = {"H2O_SAGEMAKER_REGION": "eu-west-1", "H2O_SAGEMAKER_PAYLOAD": "llama2"}
    given = server_of("sagemaker_chat:ep", **env)
    assert (given.options["region"], given.options["payload"]) == ("eu-west-1", "llama2")
    own = server_of("sagemaker_chat:ep:us-east-2:tgi", **env)
    assert (own.options["region"], own.options["payload"]) == ("us-east-2", "tgi")


def test_the_address_of_a_private_endpoint() -> None:
    url = "https://vpce-1.runtime.sagemaker.us-east-2.vpce.amazonaws.com"
    assert server_of(H2O_SAGEMAKER_ENDPOINT_URL=url).url == url
    assert server_of().url is None


@pytest.mark.parametrize(
    ("text", "base_model", "payload"),
    [
        ("sagemaker_chat:ep", LLAMA2, "llama2"),
        ("sagemaker_chat:ep", "meta-llama/Llama-2-13b-chat-hf", "llama2"),
        ("sagemaker_chat:ep", "meta-textgeneration-llama-2-7b-f", "llama2"),
        ("sagemaker_chat:ep", "meta-llama/Llama-3.1-8B-Instruct", "openai"),
        ("sagemaker_chat:ep", "h2oai/h2ogpt-4096-llama2-7b", "openai"),
        ("sagemaker_chat:ep", None, "openai"),
        ("sagemaker:ep", LLAMA2, "tgi"),
        ("sagemaker:ep", None, "tgi"),
        ("sagemaker:ep:us-east-2:openai", LLAMA2, "openai"),
        ("sagemaker_chat:ep:us-east-2:tgi", LLAMA2, "tgi"),
    ],
)
def test_the_payload(text: str, base_model: str | None, payload: str) -> None:
    assert payload_of(server_of(text, base_model)) == payload


def test_the_environments_payload_wins_over_the_base_models() -> None:
    server = server_of("sagemaker_chat:ep", LLAMA2, H2O_SAGEMAKER_PAYLOAD="openai")
    assert payload_of(server) == "openai"


def test_a_payload_that_there_is_not() -> None:
    server = server_of(STRING, H2O_SAGEMAKER_PAYLOAD="vllm")
    with pytest.raises(BadServerString, match="not one of openai, tgi, llama2"):
        ALONE.get("sagemaker").capabilities(server)
