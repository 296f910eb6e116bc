"""OpenAI's and Groq's server strings: h2oGPT's rows, the readings of our own, what is then sent."""

import json
from pathlib import Path
from typing import Any

import pytest

from h2o_relay.errors import BadServerString
from h2o_relay.plugins import Plugins
from h2o_relay.resolve import resolve
from h2o_relay.types import Call, Server

ROWS = json.loads((Path(__file__).parent / "openai_server_strings.json").read_text())
FIELDS = {"base_url": "url", "api": "api", "api_key": "key"}
PLUGINS = Plugins.discover("openai")
GROQ = "https://api.groq.com/openai/v1"


def read(text: str, base_model: str | None = None, **env: str) -> Server:
    return resolve(PLUGINS.parse(text), base_model, env)


def refusal(text: str, **env: str) -> BadServerString:
    with pytest.raises(BadServerString) as caught:
        read(text, **env)
    return caught.value


def headers(text: str, **env: str) -> dict[str, str]:
    call = Call(method="POST", path="/chat/completions")
    found = PLUGINS.get("openai").target(read(text, **env), call)
    return dict(found.headers)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["server_string"])
def test_h2ogpts_rows(row: dict[str, Any], no_sockets: None) -> None:
    expected = dict(row["expected"])
    server = read(row["server_string"], row["base_model"], **row["env"])
    found = {name: getattr(server, FIELDS[name]) for name in expected if name != "backend"}
    assert {"backend": server.vendor or server.plugin, **found} == expected


@pytest.mark.parametrize(
    ("text", "url", "key"),
    [
        ("groq", GROQ, "gsk-env"),
        ("groq:", GROQ, "gsk-env"),
        ("groq:None", GROQ, "gsk-env"),
        (" groq : gsk-own ", GROQ, "gsk-own"),
        ("groq:None:None:None:gsk-own", GROQ, "gsk-own"),
        ("groq:None:proxy.example.com/v1:None:gsk-own", "https://proxy.example.com/v1", "gsk-own"),
        ("groq::http://127.0.0.1:9000/v1", "http://127.0.0.1:9000/v1", "gsk-env"),
        ("groq:https://proxy.example.com/v1", "https://proxy.example.com/v1", "gsk-env"),
        ("groq:http://127.0.0.1:9000/v1:gsk-own", "http://127.0.0.1:9000/v1", "gsk-own"),
    ],
)
def test_groq(text: str, url: str, key: str) -> None:
    server = read(text, GROQ_API_KEY="gsk-env", OPENAI_API_KEY="sk", OPENAI_BASE_URL="http://o")
    assert (server.plugin, server.vendor, server.api) == ("openai", "groq", "chat")
    assert (server.url, server.key) == (url, key)


@pytest.mark.parametrize("text", ["groq", "groq:None", "groq:https://proxy.example.com/v1"])
def test_groq_without_a_key_is_refused(text: str) -> None:
    error = refusal(text, OPENAI_API_KEY="sk-of-another-vendor")
    assert "key is missing" in error.reason
    assert "GROQ_API_KEY" in error.reason


@pytest.mark.parametrize(
    "text",
    [
        "groq:gsk-0123456789:llama",
        "groq:https://h/v1:gsk-0123456789:more",
        "groq:None:h:None:gsk-0123456789:more",
        "groq:gsk-0123456789:https://h/v1",
    ],
)
def test_groq_strings_that_are_refused_show_no_key(text: str) -> None:
    error = refusal(text, GROQ_API_KEY="gsk-env")
    assert "0123456789" not in f"{error} {error!r} {error.shown} {error.body()}"


def test_groq_has_no_text_completions() -> None:
    plugin = PLUGINS.get("openai")
    assert plugin.capabilities(PLUGINS.parse("groq:KEY")).kinds == {"chat"}
    assert plugin.capabilities(PLUGINS.parse("openai")).kinds == {"chat", "text"}


def test_the_url_and_key_may_come_from_the_environment() -> None:
    server = read("openai_chat", OPENAI_API_KEY="sk", OPENAI_BASE_URL="http://127.0.0.1:1/v1")
    assert (server.url, server.key) == ("http://127.0.0.1:1/v1", "sk")
    own = read("openai_chat:None:h/v1:None:own", OPENAI_API_KEY="sk", OPENAI_BASE_URL="http://o")
    assert (own.url, own.key) == ("https://h/v1", "own")


def test_organisation_and_project_are_sent() -> None:
    env = {"H2O_OPENAI_ORGANIZATION": "org-1", "H2O_OPENAI_PROJECT": "proj_1"}
    assert headers("openai_chat", OPENAI_API_KEY="sk", **env) == {
        "authorization": "Bearer sk",
        "openai-organization": "org-1",
        "openai-project": "proj_1",
    }
    assert headers("openai_chat", OPENAI_API_KEY="sk") == {"authorization": "Bearer sk"}
    assert headers("groq:gsk", **env) == {"authorization": "Bearer gsk"}


def test_the_vendors_own_names_of_them_are_for_its_server() -> None:
    env = {"OPENAI_ORG_ID": "org-2", "OPENAI_PROJECT_ID": "proj_2", "OPENAI_API_KEY": "sk"}
    told = {"openai-organization": "org-2", "openai-project": "proj_2"}
    assert headers("openai_chat", **env) == {"authorization": "Bearer sk", **told}
    assert headers("openai_chat", **env, H2O_OPENAI_PROJECT="own")["openai-project"] == "own"
    assert headers("openai_chat:None:other.example/v1:None:k", **env) == {
        "authorization": "Bearer k"
    }


@pytest.mark.parametrize(
    ("base_model", "api"),
    [
        ("gpt-3.5-turbo", "chat"),
        ("gpt-4o-mini", "chat"),
        ("gpt-3.5-turbo-instruct", "text"),
        ("text-davinci-003", "text"),
        ("o1-mini", "text"),
        (None, "text"),
    ],
)
def test_chat_models_are_promoted(base_model: str | None, api: str) -> None:
    assert read("openai", base_model).api == api
    assert read("openai_chat", base_model).api == "chat"
