"""Server strings, targets and options."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import h2o_relay_llama_cpp as plugin
from h2o_relay.errors import BadServerString, InvalidRequest
from h2o_relay.types import Call, Server
from h2o_relay_llama_cpp import cpus
from h2o_relay_llama_cpp.engine import Options
from h2o_relay_llama_cpp.hub import parts
from h2o_relay_llama_cpp.templates import template_for


@pytest.mark.parametrize(
    ("text", "model", "options"),
    [
        ("llama_cpp", "SmolLM2-135M-Instruct", {}),
        ("llama_cpp:SmolLM2-135M-Instruct", "SmolLM2-135M-Instruct", {}),
        ("llama_cpp: Qwen3-8B.Q4_K_M ", "Qwen3-8B.Q4_K_M", {}),
        ("llama_cpp:/path/to/model.gguf", "model", {"path": "/path/to/model.gguf"}),
        ("llama_cpp:~/model.gguf", "model", {"path": "~/model.gguf"}),
        ("llama_cpp:./a b: c.gguf", "a b: c", {"path": "./a b: c.gguf"}),
        ("llama_cpp:model.gguf", "model", {"path": "model.gguf"}),
        ("llama_cpp:blobs/sha256-abc", "sha256-abc", {"path": "blobs/sha256-abc"}),
        ("llama_cpp:/m/big-00001-of-00003.gguf", "big", {"path": "/m/big-00001-of-00003.gguf"}),
        (
            "llama_cpp:hf:owner/repository/model.gguf",
            "model",
            {"hf": "owner/repository/model.gguf"},
        ),
        ("llama_cpp:hf:o.w/r-1/sub/M.Q4_1.gguf", "M.Q4_1", {"hf": "o.w/r-1/sub/M.Q4_1.gguf"}),
    ],
)
def test_documented_strings(text: str, model: str, options: dict[str, str]) -> None:
    server = plugin.parse_server_string(text)
    assert server is not None
    assert (server.plugin, server.api, server.model) == ("llama_cpp", "chat", model)
    assert server.options == options
    assert server.shown == text.strip()


@pytest.mark.parametrize(
    "text", ["", "llama", "llama_cpp_python:x", "openai:llama_cpp", "http://llama_cpp:80", "x.gguf"]
)
def test_foreign_strings(text: str) -> None:
    assert plugin.parse_server_string(text) is None


@pytest.mark.parametrize(
    ("text", "column", "example"),
    [
        ("llama_cpp:", 11, "llama_cpp:/path/to/model.gguf"),
        ("llama_cpp:  ", 13, "llama_cpp:/path/to/model.gguf"),
        ("llama_cpp:two words", 14, "llama_cpp:/path/to/model.gguf"),
        ("llama_cpp:llama3:8b", 17, "llama_cpp:/path/to/model.gguf"),
        ("llama_cpp:-x", 11, "llama_cpp:/path/to/model.gguf"),
        ("llama_cpp:/models/", 11, "llama_cpp:/path/to/model.gguf"),
        ("llama_cpp:~", 11, "llama_cpp:/path/to/model.gguf"),
        ("llama_cpp:/a\0b.gguf", 13, "llama_cpp:/path/to/model.gguf"),
        ("llama_cpp:hf:", 14, "llama_cpp:hf:owner/repository/model.gguf"),
        ("llama_cpp:hf:owner/model.gguf", 30, "llama_cpp:hf:owner/repository/model.gguf"),
        ("llama_cpp:hf:owner/repo/model.bin", 34, "llama_cpp:hf:owner/repository/model.gguf"),
        ("llama_cpp:hf:owner//model.gguf", 20, "llama_cpp:hf:owner/repository/model.gguf"),
        ("llama_cpp:hf:owner/../model.gguf", 20, "llama_cpp:hf:owner/repository/model.gguf"),
    ],
)
def test_malformed_strings(text: str, column: int, example: str) -> None:
    with pytest.raises(BadServerString) as caught:
        plugin.parse_server_string(text)
    assert caught.value.column == column
    assert caught.value.example == example
    assert plugin.parse_server_string(example) is not None


def server(**options: object) -> Server:
    return Server(plugin="llama_cpp", model="m", options=options)


def test_a_call_is_passed_on_unchanged() -> None:
    call = Call(
        method="POST",
        path="/chat/completions",
        query="a=b",
        headers={"content-type": "application/json"},
        body=b'{ "odd":  1 }',
    )
    target = plugin.target(server(), call)
    assert target is not None
    assert (target.method, target.url) == ("POST", "/v1/chat/completions?a=b")
    assert target.body is call.body
    assert target.headers == call.headers


def test_only_declared_paths_are_offered() -> None:
    able = plugin.capabilities(server())
    assert able.kinds == {"chat", "text"}
    assert able.cancels == {"stream"}
    for path in able.paths - {"/tokenize", "/detokenize"}:  # those are translated
        assert plugin.target(server(), Call(method="GET", path=path)) is not None
    assert "/embeddings" in able.paths
    assert plugin.target(server(), Call(method="POST", path="/audio/speech")) is None


def test_options_are_numbers_or_their_texts() -> None:
    assert Options.of(server(path="/x.gguf")) == Options()
    given = Options.of(server(threads="2", ctx=" 512", slots=3))
    assert (given.threads, given.ctx, given.slots) == (2, 512, 3)
    assert Options.of(replace(server(ctx="512"), max_seq_len=1024)).ctx == 1024


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threads": "0"}, "option threads of llama_cpp must be a whole number"),
        ({"slots": "four"}, "option slots of llama_cpp must be a whole number"),
        ({"ctx": "-1"}, "option ctx of llama_cpp must be a whole number"),
        ({"thread": "1"}, "no option 'thread'; it has threads, ctx, slots"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        Options.of(server(**options))


def test_one_core_is_left_for_the_relay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpus, "_cores", lambda: 8)
    monkeypatch.setattr(cpus, "_quota", lambda: 64)
    assert cpus.default_threads() == 7
    monkeypatch.setattr(cpus, "_quota", lambda: 1)
    assert cpus.default_threads() == 1


def test_this_machine_has_cores() -> None:
    assert cpus._cores() >= 1
    assert cpus.default_threads() >= 1


def test_a_model_in_parts() -> None:
    assert parts("sub/a.gguf") == ["sub/a.gguf"]
    assert parts("sub/a-00001-of-00003.gguf") == [
        "sub/a-00001-of-00003.gguf",
        "sub/a-00002-of-00003.gguf",
        "sub/a-00003-of-00003.gguf",
    ]


def test_only_smollm2_gets_a_template_of_ours() -> None:
    assert template_for(Path("/m/smollm2-135m-instruct-q8_0.gguf")) is not None
    assert template_for(Path("/m/Qwen3-8B.gguf")) is None
