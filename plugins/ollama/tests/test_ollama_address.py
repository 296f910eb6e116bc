"""Where an Ollama server is, by its string and by OLLAMA_HOST."""

from __future__ import annotations

import pytest

import h2o_relay_ollama
from h2o_relay.errors import BadServerString
from h2o_relay.resolve import resolve
from h2o_relay.types import Server
from h2o_relay_ollama.address import headers, root


def parsed(text: str) -> Server:
    server = h2o_relay_ollama.parse_server_string(text)
    assert server is not None
    return server


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("", "http://localhost:11434"),
        ("192.168.1.46", "http://192.168.1.46:11434"),
        ("192.168.1.46:8080", "http://192.168.1.46:8080"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("0.0.0.0:8080", "http://127.0.0.1:8080"),
        (":8080", "http://127.0.0.1:8080"),
        ("http://example.com", "http://example.com"),
        ("https://example.com:8443/ollama/", "https://example.com:8443/ollama"),
        ("example.com/path", "http://example.com:11434/path"),
        ("[::1]", "http://[::1]:11434"),
        ("[::]:8080", "http://[::1]:8080"),
        ("::1", "http://[::1]:11434"),
        (' "box" ', "http://box:11434"),
    ],
)
def test_ollama_host_is_read_as_ollama_reads_it(host: str, expected: str) -> None:
    assert root(resolve(parsed("ollama"), None, {"OLLAMA_HOST": host})) == expected


def test_the_strings_own_address_wins() -> None:
    server = resolve(parsed("ollama:box:8080"), None, {"OLLAMA_HOST": "elsewhere"})
    assert root(server) == "http://box:8080"


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("ollama: box : 8080 ", "http://box:8080"),
        ("ollama:box:None:None:None", "http://box:11434"),
        ("ollama:box:8080:/v1:KEY", "http://box:8080"),
        ("ollama:box:8080/v1/", "http://box:8080"),
        ("ollama:http://box", "http://box"),
        ("ollama:http://box:11434/", "http://box:11434"),
        ("ollama:http://box:8080/v1:KEY", "http://box:8080"),
        ("ollama:https://box/a/v1", "https://box/a"),
        ("ollama:box/a", "http://box:11434/a"),
        ("ollama:[::1]", "http://[::1]:11434"),
    ],
)
def test_a_string_names_the_servers_root(text: str, url: str) -> None:
    assert parsed(text).url == url
    assert root(parsed(text)) == url


def test_the_environments_key_goes_to_the_vendor_alone() -> None:
    env = {"OLLAMA_API_KEY": "from-env"}
    for text in ("ollama", "ollama:https://ollama.com"):
        assert headers(resolve(parsed(text), None, env))["authorization"] == "Bearer from-env"
    for text in (
        "ollama:box:11434",
        "ollama:http://ollama.com",
        "ollama:https://ollama.com.evil.x",
    ):
        assert "authorization" not in headers(resolve(parsed(text), None, env))


def test_the_strings_own_key_is_sent_and_not_shown() -> None:
    server = parsed("ollama:box:11434:None:S3CRET")
    assert headers(server)["authorization"] == "Bearer S3CRET"
    assert server.shown == "ollama:box:11434:None:***"


@pytest.mark.parametrize("text", ["ollama:", "ollama:None:11434", "ollama::11434"])
def test_a_host_is_needed_after_the_colon(text: str) -> None:
    with pytest.raises(BadServerString, match="host"):
        parsed(text)
