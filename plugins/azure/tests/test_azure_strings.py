"""Azure's server strings: h2oGPT's rows, the readings of our own, where a call then goes."""

import json
from pathlib import Path
from typing import Any

import pytest

from h2o_relay.errors import BadServerString
from h2o_relay.plugins import Plugins
from h2o_relay.resolve import resolve
from h2o_relay.types import Call, Server, Target
from h2o_relay_azure.routes import roots

ROWS = json.loads((Path(__file__).parent / "azure_server_strings.json").read_text())
FIELDS = {"base_url": "url", "api": "api", "api_key": "key"}
PLUGINS = Plugins.discover("azure")
BASE = "https://ep.openai.azure.com"
DEPLOYMENT = f"{BASE}/openai/deployments/dep"
DEFAULT = "2024-07-01-preview"


def read(text: str, base_model: str | None = None, **env: str) -> Server:
    return resolve(PLUGINS.parse(text), base_model, env)


def target(text: str, path: str, **env: str) -> Target:
    server = read(text, **env)
    method = "GET" if path == "/models" else "POST"
    return PLUGINS.get("azure").target(server, Call(method=method, path=path))


def refusal(text: str, **env: str) -> BadServerString:
    with pytest.raises(BadServerString) as caught:
        read(text, **env)
    return caught.value


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["server_string"])
def test_h2ogpts_rows(row: dict[str, Any], no_sockets: None) -> None:
    if row["expected"] == "error":
        refusal(row["server_string"], **row["env"])
        return
    expected = dict(row["expected"])
    server = read(row["server_string"], row["base_model"], **row["env"])
    found = {
        name: getattr(server, FIELDS[name]) if name in FIELDS else server.options.get(name)
        for name in expected
        if name != "backend"
    }
    assert {"backend": server.plugin, **found} == expected


def test_there_are_rows_of_both_kinds() -> None:
    wrong = [row for row in ROWS if row["expected"] == "error"]
    assert len(wrong) >= 5
    assert len(ROWS) - len(wrong) >= 8


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("openai_azure_chat:dep:http://127.0.0.1:9000:2024-10-21:KEY",
         {"url": "http://127.0.0.1:9000", "key": "KEY"}),
        ("openai_azure_chat:dep:https://h:8443/openai/v1:None:KEY",
         {"url": "https://h:8443/openai/v1", "key": "KEY"}),
        ("openai_azure_chat:dep:https://[::1]:8443/x:None:None", {"url": "https://[::1]:8443/x"}),
        (" openai_azure_chat : dep : ep.openai.azure.com ", {"url": BASE, "model": "dep"}),
        ("azure:my-gpt-4.1_b:ep.openai.azure.com", {"model": "my-gpt-4.1_b", "api": "text"}),
        ("azure_chat:dep:ep.openai.azure.com::KEY", {"url": BASE, "key": "KEY"}),
        ("azure_chat:dep:ep.openai.azure.com:None:entra", {"url": BASE, "key": None}),
    ],
)  # fmt: skip
def test_our_own_readings(text: str, fields: dict[str, Any]) -> None:
    server = PLUGINS.parse(text)
    assert {name: getattr(server, name) for name in fields} == fields


@pytest.mark.parametrize("version", ["2023-05-15", "2025-04-01-preview", "v1", "preview", "latest"])
def test_published_forms_of_a_version(version: str) -> None:
    assert read(f"azure:dep:h:{version}").options["api_version"] == version


def test_a_key_in_the_place_of_the_version_is_refused_and_not_shown() -> None:
    key = "fedcba9876543210fedcba9876543210"
    error = refusal(f"openai_azure_chat:dep:ep.openai.azure.com:{key}")
    assert "API version" in error.reason
    assert key not in f"{error} {error!r} {error.shown} {error.body()}"
    assert error.shown == "openai_azure_chat:dep:ep.openai.azure.com:***"
    assert error.column == len("openai_azure_chat:dep:ep.openai.azure.com:") + 1


def test_a_missing_deployment_is_named() -> None:
    for text in ("azure", "azure:", "azure:None:h", "azure::h"):
        assert "deployment" in refusal(text).reason
        assert "openai_azure_chat:DEPLOYMENT:" in refusal(text).example


def test_a_missing_url_names_its_variable() -> None:
    assert "AZURE_OPENAI_ENDPOINT" in refusal("openai_azure_chat:dep").reason


def test_the_url_may_come_from_the_environment() -> None:
    assert read("azure:dep", AZURE_OPENAI_ENDPOINT=BASE).url == BASE
    assert read("azure:dep", OPENAI_AZURE_API_BASE=BASE).url == BASE
    assert read("azure:dep:other", AZURE_OPENAI_ENDPOINT=BASE).url == "https://other"


def test_the_strongest_key_wins() -> None:
    keys = {"OPENAI_API_KEY": "3", "AZURE_OPENAI_API_KEY": "2", "OPENAI_AZURE_KEY": "1"}
    assert read("azure:dep:h", **keys).key == "1"
    del keys["OPENAI_AZURE_KEY"]
    assert read("azure:dep:h", **keys).key == "2"
    del keys["AZURE_OPENAI_API_KEY"]
    assert read("azure:dep:h", **keys).key == "3"
    assert read("azure:dep:h:None:KEY", **keys).key == "KEY"


@pytest.mark.parametrize(
    ("path", "url"),
    [
        ("/chat/completions", f"{DEPLOYMENT}/chat/completions"),
        ("/completions", f"{DEPLOYMENT}/completions"),
        ("/embeddings", f"{DEPLOYMENT}/embeddings"),
        ("/audio/transcriptions", f"{DEPLOYMENT}/audio/transcriptions"),
        ("/images/generations", f"{DEPLOYMENT}/images/generations"),
        ("/models", f"{BASE}/openai/models"),
    ],
)
def test_where_a_path_goes(path: str, url: str) -> None:
    found = target("azure:dep:ep.openai.azure.com:2024-10-21:KEY", path)
    assert found.url == f"{url}?api-version=2024-10-21"
    assert found.headers == {"api-key": "KEY"}


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("azure:dep:h", None),
        ("azure:dep:h:2024-10-21:K", None),
        ("azure:dep:h:2025-02-01-preview:K", None),
        ("azure:dep:h:2025-03-01-preview:K", "/openai/responses?api-version=2025-03-01-preview"),
        ("azure:dep:h:2025-04-01-preview:K", "/openai/responses?api-version=2025-04-01-preview"),
        ("azure:dep:h:preview:K", "/openai/responses?api-version=preview"),
        ("azure:dep:h/openai/v1:None:K", "/openai/v1/responses"),
    ],
)
def test_responses_came_with_a_version(text: str, url: str | None) -> None:
    call = Call(method="POST", path="/responses", body=b'{"model": "dep"}')
    found = PLUGINS.get("azure").target(read(text), call)
    assert found is None if url is None else found.url == f"https://h{url}"
    able = PLUGINS.get("azure").capabilities(read(text)).paths
    assert ("/responses" in able) is (url is not None)
    assert "/images/edits" in able


@pytest.mark.parametrize(
    "path",
    [
        "/messages", "/messages/count_tokens", "/moderations", "/images/variations", "/tokenize",
        "/detokenize", "/rerank", "/score", "/chat/completions/input_tokens",
    ],
)  # fmt: skip
def test_what_azure_has_not(path: str) -> None:
    for text in ("azure:dep:h:2025-04-01-preview:K", "azure:dep:h/openai/v1:None:K"):
        assert PLUGINS.get("azure").target(read(text), Call(method="POST", path=path)) is None
        assert path not in PLUGINS.get("azure").capabilities(read(text)).paths


@pytest.mark.parametrize("base", ["", "/", "/openai", "/openai/", "/openai/deployments/other/"])
def test_a_base_url_may_be_copied_from_anywhere(base: str) -> None:
    assert roots(f"{BASE}{base}", "dep").deployment == DEPLOYMENT
    assert roots(f"ep.openai.azure.com{base}", "dep").deployment == DEPLOYMENT
    assert roots(f"{BASE}/gateway{base}", "dep").resource == f"{BASE}/gateway/openai"


def test_a_deployments_name_cannot_leave_its_place_in_the_path() -> None:
    found = target("azure:../a b/?ü:h:2024-10-21:K", "/completions")
    assert found.url == (
        "https://h/openai/deployments/..%2Fa%20b%2F%3F%C3%BC/completions?api-version=2024-10-21"
    )


@pytest.mark.parametrize(("version", "query"), [("None", ""), ("preview", "?api-version=preview")])
def test_the_api_without_versions(version: str, query: str) -> None:
    url = f"{BASE}/openai/v1"
    for base in (url, f"{url}/"):
        found = target(f"azure:dep:{base}:{version}:KEY", "/chat/completions")
        assert found.url == f"{url}/chat/completions{query}"
        assert found.headers == {"api-key": "KEY"}


def test_a_calls_own_query_and_headers_are_kept() -> None:
    server = read("azure:dep:ep.openai.azure.com:2024-10-21:KEY")
    call = Call(method="GET", path="/files", query="limit=2", headers={"accept": "text/plain"})
    found = PLUGINS.get("azure").target(server, call)
    assert found.url == f"{BASE}/openai/files?api-version=2024-10-21&limit=2"
    assert found.headers == {"accept": "text/plain", "api-key": "KEY"}


@pytest.mark.parametrize(
    ("text", "env", "key"),
    [
        ("azure:dep:h:None:entra", {"OPENAI_API_KEY": "sk"}, None),
        ("azure:dep:h", {"H2O_AZURE_AUTH": "entra", "OPENAI_API_KEY": "sk"}, None),
        ("azure:dep:h", {"H2O_AZURE_AUTH": " Entra"}, None),
        ("azure:dep:h:None:KEY", {"H2O_AZURE_AUTH": "entra"}, "KEY"),
        ("azure:dep:h", {"H2O_AZURE_AUTH": "key", "OPENAI_API_KEY": "sk"}, "sk"),
        ("azure:dep:h", {"OPENAI_API_KEY": "sk"}, "sk"),
    ],
)
def test_entra_id_sends_no_key(text: str, env: dict[str, str], key: str | None) -> None:
    found = target(text, "/chat/completions", **env)
    assert found.headers.get("api-key") == key
    assert "authorization" not in found.headers
