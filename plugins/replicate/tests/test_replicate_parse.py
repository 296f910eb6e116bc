"""Server strings, and what the environment adds to them."""

from __future__ import annotations

import pytest

from h2o_relay.errors import BadServerString
from h2o_relay.resolve import resolve
from h2o_relay.types import Server
from h2o_relay_replicate.server_string import base_url, parse, seconds

HASH = "df7690f1994d94e96ad9d568eac121aecf50684a0b0963b25a41cc40061269e5"
# The rows of h2oGPT's documentation and code: string, base model, model string.
ROWS = [
    (
        f"replicate:a16z-infra/llama13b-v2-chat:{HASH}",
        "TheBloke/Llama-2-7b-Chat-GPTQ",
        f"a16z-infra/llama13b-v2-chat:{HASH}",
    ),
    ("replicate:meta/llama-2-70b-chat", None, "meta/llama-2-70b-chat"),
]


def parsed(text: str) -> Server:
    server = parse(text)
    assert server is not None
    return server


@pytest.mark.parametrize(("text", "base_model", "model"), ROWS)
def test_rows(text: str, base_model: str | None, model: str) -> None:
    server = resolve(parsed(text), base_model, {"REPLICATE_API_TOKEN": "r8_env"})
    assert (server.plugin, server.model, server.key) == ("replicate", model, "r8_env")
    assert server.shown == text
    assert "r8_env" not in repr(server)


@pytest.mark.parametrize("env", [{}, {"REPLICATE_API_TOKEN": ""}])
def test_without_a_token_it_is_refused(env: dict[str, str]) -> None:
    with pytest.raises(BadServerString, match="REPLICATE_API_TOKEN"):
        resolve(parsed("replicate:a/b:v"), None, env)


def test_a_token_in_the_string_is_refused_and_not_shown() -> None:
    for text in ("replicate:a/b:r8_abcdef", "replicate:r8_abcdef", "replicate:a/b:v:r8_abcdef"):
        with pytest.raises(BadServerString, match="REPLICATE_API_TOKEN") as caught:
            parse(text)
        assert "r8_abcdef" not in str(caught.value)


def test_a_refusal_points_at_the_field() -> None:
    with pytest.raises(BadServerString) as caught:
        parse("replicate:a/b:not one word")
    assert caught.value.column == len("replicate:a/b:") + 1
    assert parse(caught.value.example) is not None


@pytest.mark.parametrize(
    ("env", "base"),
    [
        ({}, "https://api.replicate.com/v1"),
        ({"REPLICATE_BASE_URL": "https://mirror.example"}, "https://mirror.example/v1"),
        ({"REPLICATE_API_BASE_URL": "http://h:1/v1/"}, "http://h:1/v1"),
        ({"H2O_REPLICATE_URL": "http://h:1", "REPLICATE_BASE_URL": "http://x"}, "http://h:1/v1"),
    ],
)
def test_where_the_api_is(env: dict[str, str], base: str) -> None:
    server = resolve(parsed("replicate:a/b"), None, {"REPLICATE_API_TOKEN": "r8_x", **env})
    assert base_url(server) == base


@pytest.mark.parametrize("url", ["ftp://h", "h:80", "http://", "http://h?x=1", "http://[::1"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    env = {"REPLICATE_API_TOKEN": "r8_x", "H2O_REPLICATE_URL": url}
    with pytest.raises(BadServerString, match="H2O_REPLICATE_URL"):
        base_url(resolve(parsed("replicate:a/b"), None, env))


def test_options_are_seconds() -> None:
    env = {"REPLICATE_API_TOKEN": "r8_x", "H2O_REPLICATE_POLL_INTERVAL": "0.25"}
    server = resolve(parsed("replicate:a/b"), None, env)
    assert (seconds(server, "poll_interval"), seconds(server, "cancel_timeout")) == (0.25, 5.0)


@pytest.mark.parametrize("value", ["soon", "0", "-1", "nan", "inf"])
def test_options_that_are_no_durations_are_refused(value: str) -> None:
    env = {"REPLICATE_API_TOKEN": "r8_x", "H2O_REPLICATE_CANCEL_TIMEOUT": value}
    with pytest.raises(BadServerString, match="H2O_REPLICATE_CANCEL_TIMEOUT"):
        seconds(resolve(parsed("replicate:a/b"), None, env), "cancel_timeout")
