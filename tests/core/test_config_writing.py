"""What `entries_yaml` writes is read as what it was given."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from h2o_relay import settings as table
from h2o_relay.config import document, entries_yaml, parse_config
from h2o_relay.config.problems import Problems
from h2o_relay.config.setting_values import is_secret, names
from h2o_relay.pools import STRATEGIES, pool_spec

# What a file in UTF-8 and YAML can hold; lone surrogates and most controls are no YAML.
CHARACTERS = st.characters(exclude_categories=["Cs"])
ODD = [
    "", " ", "yes", "no", "On", "null", "~", "true", "5", "1e3", "0o17", "0x1f", "1_000", ".5",
    "1.", "-1", "+1", "12:30", "2020-01-01", "=", "<<", "!x", "&a", "*a", "a: b", "a #b", "#", "-",
    "- a", "? a", "'", '"', "@a", "`", "%", "|", ">", "{", "[", "a,b", "${", "$${", "${env.X}",
    "$$${env.X:-y}", "{{ x }}", "{% if a %}\n  b\n{% endif %}\n", "\n", "\n a", " a\n", "a\tb",
    "\u2028", "\u0085", "\ufeff", "\u00a0a", "é", "日本", "😀", "a" * 500, "x " * 300, "\\", "\\n",
    "vllm_chat:http://h:8000/v1", "a:", "a ", "---", "...", "y", "N", "\x7f", "\x1b[0m", "\x00",
]  # fmt: skip
TEXTS = st.one_of(st.sampled_from(ODD), st.text(CHARACTERS, max_size=20))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | TEXTS
    | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
WORDS = st.text(CHARACTERS, min_size=1, max_size=12).filter(
    lambda text: text.isprintable() and text.strip() not in ("", "None")  # h2oGPT's for no text
)
ENTRIES = st.lists(
    st.fixed_dictionaries(
        {"inference_server": WORDS},
        optional={
            "base_model": WORDS, "h2ogpt_key": WORDS, "visible": st.booleans(),
            "system_prompt": TEXTS, "temperature": st.floats(0, 2), "top_k": st.integers(),
            "max_seq_len": st.integers(1, 10**9), "stop": st.lists(TEXTS.filter(bool), max_size=3),
            "guided_json": VALUES, "guided_choice": VALUES,
            "response_format": st.dictionaries(TEXTS, VALUES, max_size=3),
        },
    ),
    max_size=3,
)  # fmt: skip
NAMES = WORDS.map(str.strip).filter(lambda text: not text.isdecimal())


@st.composite
def pools(draw: st.DrawFn) -> list[Any]:
    found = []
    for name in draw(st.lists(NAMES, max_size=3, unique=True)):
        members = draw(st.lists(NAMES | st.integers(0, 99), min_size=1, max_size=4, unique=True))
        written: dict[str, Any] = {"members": members}
        written["strategy"] = draw(st.sampled_from(STRATEGIES))
        if written["strategy"] == "weighted":
            written["weights"] = {str(one): draw(st.floats(0.1, 9)) for one in members}
        if written["strategy"] == "priority":
            written["spill_over"] = draw(st.none() | st.integers(1, 10**6))
        written["queue"] = draw(st.integers(0, 10**6))
        written["resume"] = draw(st.booleans())
        fallback = draw(st.none() | NAMES)
        found.append(pool_spec(name, written | ({"fallback": fallback + "?"} if fallback else {})))
    names = {pool.name for pool in found}
    return [pool for pool in found if pool.fallback not in names]


@given(ENTRIES, pools())
def test_entries_and_pools_come_back(entries: list[dict[str, Any]], pools: list[Any]) -> None:
    text = entries_yaml(entries, pools)
    found = parse_config(text, {})
    assert list(found.entries) == entries
    assert list(found.pools) == pools
    assert entries_yaml(found.entries, found.pools) == text


@given(VALUES)
def test_values_come_back_in_their_types(value: Any) -> None:
    entry = {"inference_server": "echo", "guided_json": value}
    [found] = parse_config(entries_yaml([entry]), {}).entries
    assert repr(found["guided_json"]) == repr(value)


@pytest.mark.parametrize("loader", ["CSafeLoader", "SafeLoader"])
@pytest.mark.parametrize("text", ODD)
def test_odd_texts_are_texts_for_every_reader(
    text: str, loader: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not hasattr(yaml, loader):
        pytest.skip("this PyYAML was built without libyaml")
    monkeypatch.setattr(document, "LOADER", getattr(yaml, loader))
    entry = {"inference_server": "echo", "guided_json": {text: [text]}}
    written = entries_yaml([entry])
    assert list(parse_config(written, {}).entries) == [entry]
    [theirs] = yaml.safe_load(written)["models"]  # YAML 1.1, and no ${}
    [(key, [value])] = theirs["guided_json"].items()
    assert (key, value.replace("$${", "${")) == (text, text)


@pytest.mark.parametrize("name", names())
def test_settings_come_back(name: str) -> None:
    word = (*table.about(name).metadata["choices"], "a ${b} 'c'")[0]
    value = table.default(name)
    if value in (None, ""):
        value = {bool: False, int: 101, float: 1.5}.get(table.kind(name), word)
    if name in ("http_proxy", "https_proxy"):
        value = "http://user:${x}@proxy:3128"
    if name in ("prompt_type", "prompt_dict", "auth", "visible_models"):
        value = {
            "prompt_type": "llama2",
            "prompt_dict": '{"humanstr": "b"}',
            "auth": '[["a", "${b}"]]',
            "visible_models": "['a']",
        }[name]
    if name in ("root_path", "cors_origins"):
        value = {"root_path": "/llm", "cors_origins": "https://app.example.com"}[name]
    if name == "chat_template":
        value = "{{ messages[0].content }} ${x}"
    text = entries_yaml((), (), {name: value, "height": None} if name != "height" else {name: 300})
    found = parse_config(text, {}).settings
    assert found == {name: 300 if name == "height" else value}


def test_a_file_for_people() -> None:
    entries = [
        {"inference_server": "vllm_chat:http://h:8000", "base_model": "meta-llama/Llama-3.1-8B",
         "visible": False, "stop": ["###", "end"], "system_prompt": "Be kind: say ${name}."},
    ]  # fmt: skip
    pool = pool_spec("any", {"members": ["meta-llama/Llama-3.1-8B", 1], "queue": 5})
    assert (
        entries_yaml(entries, [pool], {"port": 7000, "idle_timeout": 5.0})
        == """\
settings:
  port: 7000
  idle_timeout: 5.0
models:
  - inference_server: vllm_chat:http://h:8000
    base_model: meta-llama/Llama-3.1-8B
    visible: false
    stop:
      - "###"
      - end
    system_prompt: "Be kind: say $${name}."
pools:
  any:
    members:
      - meta-llama/Llama-3.1-8B
      - 1
    queue: 5
"""
    )


def test_nothing() -> None:
    assert entries_yaml([]) == "{}\n"
    assert entries_yaml([], [], {"port": None}) == "{}\n"


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"base_model": "x"}, "base_model is no setting of a file"),
        ({"xyzzy": 1}, "xyzzy is no setting of a file"),
        ({"api_key": "env:X"}, "looks like the place of a secret"),
        ({"api_key": "-"}, "looks like the place of a secret"),
        ({"host": "None"}, "'None' means that it is not set"),
        ({"port": "x"}, "port: 'x' is not a whole number"),
    ],
)
def test_what_a_file_cannot_hold(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        entries_yaml([], [], settings)
    with pytest.raises(ValueError, match="a configuration file cannot hold this"):
        entries_yaml([{"inference_server": object()}])


def test_one_text_twice_is_no_alias() -> None:
    shared = {"a": ["b"]}
    entries = [{"inference_server": "echo", "guided_json": shared}] * 2
    assert "*" not in entries_yaml(entries)
    problems = Problems()
    document.load(entries_yaml(entries), problems)
    assert not problems.found
    assert is_secret("api_key")
