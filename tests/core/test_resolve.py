"""What the environment and the model add to a parsed server string."""

from typing import Any

import pytest

from h2o_relay.resolve import plugin_options, resolve
from h2o_relay.types import Server

CHAT_ONLY = ("gpt-3.5-turbo", "gpt-4")


def server(**fields: Any) -> Server:
    return Server(**{"plugin": "p", "key_env": ("A_KEY", "B_KEY"), "url_env": ("A_URL",), **fields})


@pytest.mark.parametrize(
    ("fields", "env", "key", "url"),
    [
        ({}, {}, None, None),
        ({}, {"A_KEY": "a", "B_KEY": "b", "A_URL": "http://a"}, "a", "http://a"),
        ({}, {"A_KEY": "", "B_KEY": "b"}, "b", None),
        ({"key": "own", "url": "http://own"}, {"A_KEY": "a", "A_URL": "x"}, "own", "http://own"),
        ({"key_env": ()}, {"A_KEY": "a"}, None, None),
    ],
)
def test_keys_and_addresses(
    fields: dict[str, Any], env: dict[str, str], key: str | None, url: str | None
) -> None:
    resolved = resolve(server(**fields), None, env)
    assert (resolved.key, resolved.url) == (key, url)
    assert "'a'" not in repr(resolved)


@pytest.mark.parametrize(
    ("api", "base_model", "expected"),
    [
        ("text", "gpt-4", "chat"),
        ("text", "gpt-3.5-turbo-16k", "chat"),
        ("text", "gpt-3.5-turbo-instruct", "text"),
        ("text", "text-davinci-003", "text"),
        ("text", "my-gpt-4", "text"),
        ("text", None, "text"),
        ("chat", "text-davinci-003", "chat"),
        (None, "gpt-4", None),
    ],
)
def test_models_that_only_chat(api: Any, base_model: str | None, expected: Any) -> None:
    assert resolve(server(api=api, chat_only=CHAT_ONLY), base_model, {}).api == expected
    assert resolve(server(api=api), base_model, {}).api == api


def test_options() -> None:
    env = {"H2O_P_THREADS": "4", "H2O_P_Size": "1", "H2O_PP_X": "2", "P_X": "3", "H2O_P_": "4"}
    resolved = resolve(server(options={"size": "own", "more": 1}), None, env)
    assert resolved.options["threads"] == "4"
    assert resolved.options["size"] == "own"
    assert resolved.options["more"] == 1
    assert "x" not in resolved.options
    assert plugin_options("llama_cpp", {"H2O_LLAMA_CPP_THREADS": "1"}) == {"threads": "1"}
    assert plugin_options(None, {"H2O_NONE_X": "1"}) == {}


def test_nothing_to_add() -> None:
    given = server(key="k", url="http://h")
    assert resolve(given, "m", {"HOME": "/"}) is given
