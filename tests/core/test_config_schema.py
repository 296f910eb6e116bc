"""The JSON Schema: valid itself, complete, and of one mind with the reader."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from h2o_relay.accounting.prices import Price
from h2o_relay.config import ConfigError, document, parse_config, schema
from h2o_relay.config.entry_help import ENTRY_HELP
from h2o_relay.config.problems import Problems
from h2o_relay.config.setting_values import is_secret, names
from h2o_relay.lock import keys
from h2o_relay.pools import READERS
from h2o_relay.settings import about, default

SCHEMA = schema()
CHECK = Draft202012Validator(SCHEMA)
ENV = {"N": "7", "ON": "true", "T": "text"}
ECHO = "inference_server: echo"
GOOD = [
    "", "{}", "settings:", "models: []", "pools:",
    *(f"settings: {{{text}}}" for text in (
        "port: 80", "port: 80.0", "port: null", "port: none", "port: '${env.N}'",
        "port: '${env.NO:-8}'", "ui: true", "ui: 'off'", "ui: yes", "ui: '${env.ON}'", "ui: NONE",
        "idle_timeout: 1", "idle_timeout: 1.5", "max_body: 16MB", "max_body: 1.5GiB",
        "max_body: 2048", "max_body: '4096'", "log_level: debug", "api_key: 'a${env.N}'",
        "auth: [[a, b]]", "visible_models: [a, 1]", "visible_models: a", "discover_ports: [1, x]",
        "prompt_dict: {humanstr: b}", "host: ''", "load_plugins: ''", "height: null",
        "gradio_size: none",
    )),
    *(f"models: [{{{text}}}]" for text in (
        ECHO, "base_model: hf:a/b/c.gguf", f"{ECHO}, base_model: a, display_name: b",
        f"{ECHO}, max_seq_len: 5", f"{ECHO}, max_seq_len: '5'", f"{ECHO}, max_seq_len: null",
        f"{ECHO}, max_seq_len: '${{env.N}}'", f"{ECHO}, temperature: 0", f"{ECHO}, top_k: 3",
        f"{ECHO}, visible: false", f"{ECHO}, visible: '${{env.ON}}'", f"{ECHO}, do_sample: false",
        f"{ECHO}, stop: x", f"{ECHO}, stop: [x, y]", f"{ECHO}, response_format: json_object",
        f"{ECHO}, response_format: {{type: json_schema}}", f"{ECHO}, guided_choice: [a]",
        f"{ECHO}, chat: true", f"{ECHO}, visible_models: [a]", f"{ECHO}, visible_models: 0",
        f"{ECHO}, prompt_type: 0", f"{ECHO}, prompt_type: plain", f"{ECHO}, seed: 1",
        f"{ECHO}, h2ogpt_key: null", f"{ECHO}, temperature: null",
    )),
    *(f"pools: {{p: {{{text}}}}}" for text in (
        "members: [a]", "members: [a, 0]", "members: 'a, b'", "members: [a], strategy: sticky",
        "members: [a], strategy: weighted, weights: {a: 2.5}", "members: [a], weights: {}",
        "members: [a], strategy: weighted, weights: {a: '${env.N}'}",
        "members: [a], spill_over: null", "members: [a], strategy: priority, spill_over: 3",
        "members: [a], queue: 0",
        "members: [a], queue: '${env.N}'", "members: [a], resume: true",
        "members: [a], resume: '${env.ON}'", "members: [a], fallback: b",
        "members: [a], fallback: null",
    )),
    "prices:", "prices: {}", "prices: {models: }", "prices: {currency: EUR}",
    *(f"prices: {{models: {{'a*': {{{text}}}}}}}" for text in (
        "input: 1, output: 2.5", "input: 0, output: 0, cached_input: 1",
        "input: '${env.N}', output: 1", "input: 1, output: 1, cached_input: null",
    )),
]  # fmt: skip
BAD = [
    "[]", "x", "5", "setings: {}", "port: 80", "settings: []", "models: {}", "pools: []",
    *(f"settings: {{{text}}}" for text in (
        "prot: 80", "port: '80'", "port: true", "port: 1.5", "port: 65536", "port: -1",
        "port: [80]", "port: 'x${env.N}'", "ui: 1", "ui: maybe", "ui: []", "idle_timeout: 0",
        "idle_timeout: soon", "idle_timeout: true", "max_body: 16XB", "max_body: 5",
        "log_level: loud", "host: 5", "host: true", "host: []", "auth: {a: b}", "prompt_dict: []",
        "api_key: 5", "discover_ports: [true]", "discover_ports: [{}]", "base_model: x",
        "inference_server: echo", "model_lock: '[]'", "config: x", "visible_models: 1",
    )),
    *(f"models: [{{{text}}}]" for text in (
        "", "base_modle: x", "inference_server: null", "inference_server: 5",
        f"{ECHO}, display_name: a", f"{ECHO}, max_seq_len: 0", f"{ECHO}, max_seq_len: x",
        f"{ECHO}, max_seq_len: true", f"{ECHO}, temperature: 3", f"{ECHO}, temperature: '1'",
        f"{ECHO}, top_k: 1.5", f"{ECHO}, seed: true", f"{ECHO}, visible: 1",
        f"{ECHO}, visible: 'off'", f"{ECHO}, visible: null", f"{ECHO}, do_sample: 'no'",
        f"{ECHO}, stop: 5", f"{ECHO}, stop: ['']", f"{ECHO}, response_format: json_code",
        f"{ECHO}, base_model: 7", f"{ECHO}, h2ogpt_key: 5", f"{ECHO}, prompt_type: true",
        f"{ECHO}, prompt_type: 1.5", f"{ECHO}, prompt_dict: [a]", f"{ECHO}, chat_template: 5",
        f"{ECHO}, visible_models: true", f"{ECHO}, visible_models: {{}}",
    )),
    "models: [x]", "models: [[]]", "pools: {p: x}", "pools: {p: null}",
    *(f"pools: {{p: {{{text}}}}}" for text in (
        "", "queue: 1", "members: []", "members: [a, a]", "members: [-1]", "members: [true]",
        "members: ''", "members: ['']", "members: 5", "members: [a], strategy: fast",
        "members: [a], strategy: null", "members: [a], weights: [1]",
        "members: [a], strategy: weighted, weights: {a: -1}",
        "members: [a], strategy: weighted, weights: {a: x}",
        "members: [a], spill_over: 3", "members: [a], weights: {a: 1}",
        "members: [a], strategy: priority, spill_over: 0", "members: [a], queue: -1",
        "members: [a], queue: null",
        "members: [a], queue: '5'", "members: [a], queue: 1.5", "members: [a], resume: 'yes'",
        "members: [a], fallback: 5", "members: [a], fallback: ' '", "members: [a], spillover: 1",
    )),
    "prices: []", "prices: {currency: 5}", "prices: {currency: ''}", "prices: {a: {input: 1}}",
    "prices: {models: []}", "prices: {models: {a: 1}}",
    "prices: {models: {' ': {input: 1, output: 1}}}",
    *(f"prices: {{models: {{a: {{{text}}}}}}}" for text in (
        "", "input: 1", "input: 1, output: -1", "input: '1', output: 1", "input: true, output: 1",
        "input: null, output: 1", "input: 1, output: 1, cached: 1",
    )),
]  # fmt: skip
READER_ALONE = {
    "settings: {port: '${env.NO_SUCH}'}": "which variables are set",
    "settings: {port: '${env.T}'}": "what is in them",
    "settings: {api_key: env:NO_SUCH}": "where secrets are kept",
    "settings: {http_proxy: junk}": "what is a proxy",
    "settings: {prompt_type: lama2}": "which prompt types there are",
    "models: [{base_model: llama}]": "what can run a model here",
    "models: [{inference_server: 'a${x}'}]": "references inside of texts",
    "pools: {p: {members: [a], strategy: weighted, weights: {b: 1}}}": "names that belong together",
    "pools: {p: {members: [a], fallback: p}}": "circles",
}


def data_of(text: str) -> Any:
    problems = Problems()
    data = document.load(text, problems)
    assert not problems.found
    return data


def is_read(text: str) -> bool:
    try:
        parse_config(text, ENV)
    except ConfigError:
        return False
    return True


def test_it_is_a_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"


@pytest.mark.parametrize("text", GOOD)
def test_what_both_take(text: str) -> None:
    assert [error.message for error in CHECK.iter_errors(data_of(text))] == []
    parse_config(text, ENV)


@pytest.mark.parametrize("text", BAD)
def test_what_both_refuse(text: str) -> None:
    assert not CHECK.is_valid(data_of(text))
    assert not is_read(text)


@pytest.mark.parametrize("text", READER_ALONE)
def test_what_only_the_reader_can_tell(text: str) -> None:
    assert CHECK.is_valid(data_of(text)), READER_ALONE[text]
    assert not is_read(text)


def test_everything_is_there_and_explained() -> None:
    parts = SCHEMA["properties"]
    settings = parts["settings"]["properties"]
    entry, pool = parts["models"]["items"], parts["pools"]["additionalProperties"]
    assert set(settings) == set(names())
    assert {*keys.known(), "visible"} == set(entry["properties"])
    assert {*keys.OWN, "visible"} == set(ENTRY_HELP)
    assert set(pool["properties"]) == set(READERS)
    price = parts["prices"]["properties"]["models"]["additionalProperties"]
    assert set(price["properties"]) == {item.name for item in fields(Price)}
    closed = (SCHEMA, parts["settings"], entry, pool, parts["prices"], price)
    assert all(part["additionalProperties"] is False for part in closed)
    for part in (parts, settings, entry["properties"], pool["properties"],
                 parts["prices"]["properties"], price["properties"]):  # fmt: skip
        assert all(value["description"] for value in part.values())
    for name, value in settings.items():
        assert value["description"] == about(name).metadata["help"]
        if is_secret(name):
            assert "default" not in value
        elif default(name) is not None:
            assert value["default"] == default(name)


def test_the_names_of_settings_cover_the_table() -> None:
    from h2o_relay.settings import Settings

    assert len(names()) == len(fields(Settings)) - 4
