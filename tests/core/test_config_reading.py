"""Configuration files: what they say, and every mistake in them at once, with its line."""

from __future__ import annotations

import pickle
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from h2o_relay import settings as table
from h2o_relay.config import Config, ConfigError, Problem, parse_config, read_config
from h2o_relay.config.sections import doubts
from h2o_relay.config.setting_values import ELSEWHERE, names
from h2o_relay.errors import BadServerString
from h2o_relay.lock import configured
from h2o_relay.pools import pool_spec
from h2o_relay.settings import Settings
from h2o_relay.types import Server

ENV = {"KEY": "sk-SECRET", "PORT": "7000", "QUEUE": "5", "OFF": "off", "NONE": "None"}
HINT = "${env.NO_SUCH:-default} has a default"
WHOLE = """
settings:
  openai_port: 5001
  port: ${env.PORT}
  api_key: ${env.NO_KEY:-none}
  admin_pass: env:KEY
  ui: ${env.OFF}
  max_body: 1MB
  idle_timeout: 7
models:
  - base_model: llama3
    inference_server: vllm_chat:http://10.0.0.5:8000
    h2ogpt_key: ${env.KEY}
    temperature: 0.5
    visible: false
  - {base_model: llama3, inference_server: "vllm_chat:h:1", max_seq_len: "${env.PORT}"}
  - inference_server: openai_chat
    stream_output: true
pools:
  llama:
    members: [llama3, llama3_1]
    strategy: weighted
    weights: {llama3: 2, llama3_1: "${env.NO:-1}"}
    queue: ${env.QUEUE}
    resume: true
    fallback: gpt
"""


def told(text: str, env: dict[str, str] | None = None, **rest: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, ENV if env is None else env, **rest)
    assert "SECRET" not in str(caught.value)
    return [str(problem) for problem in caught.value.problems]


def test_a_whole_file(monkeypatch: pytest.MonkeyPatch) -> None:
    found = parse_config(WHOLE, ENV, "x.yaml")
    assert found.settings == {
        "openai_port": 5001, "port": 7000, "admin_pass": "sk-SECRET", "ui": False,
        "max_body": 2**20, "idle_timeout": 7.0,
    }  # fmt: skip
    assert [entry.get("base_model") for entry in found.entries] == ["llama3", "llama3", None]
    assert found.entries[0]["h2ogpt_key"] == "sk-SECRET"
    assert found.entries[1]["max_seq_len"] == 7000
    assert found.pools == (
        pool_spec("llama", {
            "members": ["llama3", "llama3_1"], "strategy": "weighted", "queue": 5,
            "weights": {"llama3": 2, "llama3_1": 1}, "resume": True, "fallback": "gpt",
        }),
    )  # fmt: skip
    assert found.origin("settings.port") == "x.yaml:4"
    assert found.origin("models[1]") == "x.yaml:16"
    assert found.origin("pools.llama") == "x.yaml:20"
    assert found.origin("elsewhere") == "x.yaml"
    [note] = found.notes
    assert note.startswith("models[2].stream_output: ")
    assert "SECRET" not in repr(found)
    assert pickle.loads(pickle.dumps(found)) == found


@pytest.mark.parametrize("text", ["", "# nothing\n", "{}", "settings:\nmodels:\npools:\n", "~"])
def test_nothing_is_nothing(text: str) -> None:
    assert parse_config(text, {}) == Config(lines=parse_config(text, {}).lines)


def test_entries_become_servers_behind_those_of_the_command_line() -> None:
    found = parse_config(WHOLE, ENV)
    specs = configured(Settings(), ["echo:typed"], found.entries).specs
    assert [spec.server for spec in specs] == [
        "echo:typed", "vllm_chat:http://10.0.0.5:8000", "vllm_chat:h:1", "openai_chat",
    ]  # fmt: skip
    assert [spec.visible for spec in specs] == [True, False, True, True]
    assert specs[1].tuning.overrides == {"temperature": 0.5}
    assert specs[2].tuning.max_seq_len == 7000
    locked = Settings(model_lock="[{'inference_server':'echo:l'}]", max_seq_len=9)
    specs = configured(locked, (), found.entries).specs
    assert [spec.server for spec in specs][:2] == ["echo:l", "vllm_chat:http://10.0.0.5:8000"]
    assert [spec.tuning.max_seq_len for spec in specs] == [9, 9, 7000, 9]
    specs = configured(Settings(visible_models="['llama3_1']"), (), found.entries).specs
    assert [spec.visible for spec in specs] == [False, True, frozenset()]


# Mistakes.


def test_all_mistakes_are_told_at_once_in_the_order_of_their_lines() -> None:
    text = """\
pools:
  any: {members: [a], strategy: tsticky, weight: {a: 1}}
models:
- inference_server: echo
  base_modle: a
- base_model: b
  inference_server: echo
  temperature: 9
  top_p: x
settings:
  openai_prot: 5000
  port: 99999
  api_key: ${env.NO_SUCH}
model: []
"""
    assert told(text) == [
        "line 2: pools.any.strategy: there is no strategy 'tsticky'; did you mean 'sticky'?",
        "line 2: pools.any.weight: there is no such key; did you mean 'weights'?",
        "line 5: models[0].base_modle: there is no such key; did you mean 'base_model'?",
        "line 8: models[1].temperature: 9 is not a number from 0 to 2",
        "line 9: models[1].top_p: 'x' is not a number from 0 to 1",
        "line 11: settings.openai_prot: there is no such setting; did you mean 'openai_port'?",
        "line 12: settings.port: 99999 is out of range, it must be from 0 to 65535",
        f"line 13: settings.api_key: the environment variable NO_SUCH is not set; {HINT}",
        "line 14: model: there is no such section; did you mean 'models'?",
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("port: true", "True is not a whole number"),
        ("port: 1.5", "1.5 is not a whole number"),
        ("port: '80'", "'80' is not a whole number"),
        ("port: [80]", "[80] is not a whole number"),
        ("port: ${env.KEYLESS:-x}", "'x' is not a whole number"),
        ("port: .nan", "nan is not a whole number"),
        ("ui: 1", "1 is not true or false"),
        ("ui: maybe", "'maybe' is not true or false"),
        ("idle_timeout: soon", "'soon' is not a number"),
        ("idle_timeout: .inf", "inf is not a number"),
        ("max_body: 16XB", "'16XB' is not a size such as 65536, 64KB, 16MB or 1.5GB"),
        ("max_body: 10", "10 is out of range, it must be at least 1024"),
        ("host: 5", "5 is not a text; put it in quotes"),
        ("api_key: 5", "the value is not a text; put it in quotes"),
        ("api_key: ''", "a key is a word of ASCII characters, for it goes in a header"),
        ("api_key: '-'", "a file cannot read from the terminal; use file:PATH or env:NAME"),
        ("api_key: env:NO_SUCH", "the environment variable NO_SUCH is not set"),
        ("api_key: file:/no/such", "cannot read /no/such: No such file or directory"),
        ("http_proxy: junk:SECRET", "not the URL of a proxy, like http://proxy.example:3128"),
        ("log_level: loud", "'loud' is not one of debug, info, warning, error"),
        ("share: true", f"{table.NO_SHARE}"),
        ("prompt_type: lama2", "There is no prompt type 'lama2'. Did you mean llama2"),
        ("prompt_dict: {a: b}", "'a' is no key of a prompt_dict"),
        ("prompt_dict: [a]", "['a'] is not a text; put it in quotes"),
        ("chat_template: /no/such.jinja", "'/no/such.jinja' is no Jinja template, and cannot"),
        ("visible_models: [[a]]", "['a'] is neither a name nor an index"),
        ("auth: [[only-SECRET]]", "is not a list of pairs of name and password"),
        ("auth: open", "open would name a file; who may come is said by --auth_access=open"),
        ("discover_ports: [{}]", "a list of words is wanted"),
        ("inference_server: echo", "write it as an entry of `models`: - inference_server: ..."),
        ("model_lock: '[]'", "write its entries below `models`"),
        ("config: other.yaml", "a file names no other file"),
        ("openai-port: 5000", "there is no such setting; did you mean 'openai_port'?"),
        ("xyzzy: 1", "there is no such setting"),
    ],
)  # fmt: skip
def test_settings_that_are_refused(line: str, reason: str) -> None:
    name = line.partition(":")[0]
    [found] = told(f"settings:\n  {line}\n")
    assert found.startswith(f"line 2: settings.{name}: {reason}")


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("port: 80", 80), ("port: 80.0", 80), ("port: ${env.PORT}", 7000), ("port: 0x10", 16),
        ("port: ~", None), ("port: none", None), ("port: ${env.NONE}", None),
        ("port: ${env.NO:-}", None),
        ("ui: off", False), ("ui: yes", True), ("ui: true", True), ("ui: ${env.OFF}", False),
        ("idle_timeout: 3", 3.0), ("max_body: 64KB", 2**16), ("max_body: 2048", 2048),
        ("api_key: ${env.KEY}", "sk-SECRET"), ("api_key: env:KEY", "sk-SECRET"),
        ("api_key: a${env.PORT}b", "a7000b"), ("api_key: $${x}", "${x}"),
        ("guest_name: ''", ""), ("load_plugins: ''", ""), ("load_plugins: [vllm, tgi]", "vllm,tgi"),
        ("load_plugins: ${env.NO:-}", ""), ("discover_ports: [1, 2]", "1,2"),
        ("visible_models: [a, 1]", '["a", 1]'), ("auth: [[bob, pw]]", '[["bob", "pw"]]'),
        ("http_proxy: http://u:p@h:3128", "http://u:p@h:3128"),
        ("log_level: debug", "debug"), ("system_prompt: |\n    a\n    b", "a\nb\n"),
    ],
)  # fmt: skip
def test_settings_that_are_read(line: str, value: Any) -> None:
    name = line.partition(":")[0]
    found = parse_config(f"settings:\n  {line}\n", ENV).settings
    assert found == ({} if value is None else {name: value})
    if value is not None:
        assert type(found[name]) is type(value)
        assert getattr(table.load({}, {}, found), name) == value


def test_the_first_line_of_a_file_is_a_secret(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("sk-1\nmore\n")
    text = f"settings: {{api_key: 'file:{tmp_path}/key'}}"
    assert parse_config(text, {}).settings == {"api_key": "sk-1"}


@pytest.mark.parametrize("name", names())
def test_every_setting_may_stand_in_a_file(name: str) -> None:
    assert name not in ELSEWHERE
    assert {*names(), *ELSEWHERE} == {item.name for item in fields(Settings)}
    default = table.default(name)
    if default not in (None, ""):
        shown = str(default).lower() if isinstance(default, bool) else repr(default)
        found = parse_config(f"settings:\n  {name}: {shown}\n", {})
        assert found.settings == {name: default}


@pytest.mark.parametrize(
    ("entry", "place", "reason"),
    [
        ("x", "[0]", "an entry is a mapping: - inference_server: ..."),
        ("{}", "[0]", "has neither inference_server nor base_model (example: "),
        ("{base_model: llama}", "[0]", "nothing here can run 'llama': llama.cpp runs"),
        ("{inference_server: echo, display_name: x}", "[0]", "display_name names one model, and"),
        ("{inference_server: [x]}", "[0].inference_server", "is not one line of text"),
        ("{inference_server: echo, h2ogpt_key: 5}", "[0].h2ogpt_key", "is not one line of text"),
        ("{inference_server: echo, visible: 'no'}", "[0].visible", "it is not true or false"),
        ("{inference_server: ~}", "[0]", "has neither inference_server nor base_model"),
        ("{inference_server: echo, max_seq_len: 0}", "[0].max_seq_len", "0 is not a whole number"),
        ("{inference_server: echo, top_k: 1.5}", "[0].top_k", "1.5 is not a whole number"),
        ("{inference_server: echo, do_sample: maybe}", "[0].do_sample", "'maybe' is not true or"),
        ("{inference_server: echo, stop: [1]}", "[0].stop", "[1] is not a list of texts"),
        ("{inference_server: echo, prompt_type: custom}", "[0].prompt_type", "The prompt type"),
        ("{inference_server: echo, prompt_dict: {a: b}}", "[0].prompt_dict", "'a' is no key"),
        ("{inference_server: echo, prompt_type: lama2}", "[0].prompt_type", "There is no prompt"),
        ("{inference_server: echo, chat_template: /no}", "[0].chat_template", "'/no' is no Jinja"),
        ("{inference_server: echo, tempature: 1}", "[0].tempature",
         "there is no such key; did you mean 'temperature'?"),
        ("{inference_server: bad:SECRET}", "[0].inference_server",
         "server string: it is bad (example: good)"),
        ("{base_model: hf:a/bad.gguf}", "[0].base_model", "server string: it is bad"),
    ],
)  # fmt: skip
def test_entries_that_are_refused(entry: str, place: str, reason: str) -> None:
    def parse(text: str) -> Server:
        if "bad" in text:
            raise BadServerString("it is bad", shown="bad:***", example="good")
        return Server(plugin="echo")

    [found] = told(f"models:\n- {entry}\n", parse=parse)
    assert found.startswith(f"line 2: models{place}: {reason}")


@pytest.mark.parametrize(
    ("pool", "place", "reason"),
    [
        ("x", "", "a pool is a mapping with `members`: [name, name]"),
        ("{}", "", "has no members"),
        ("{members: []}", ".members", "must be a list of names"),
        ("{members: [a], queue: -1}", ".queue", "must be a whole number from 0 on, not -1"),
        ("{members: [a], resume: 'yes'}", ".resume", "must be true or false, not 'yes'"),
        ("{members: [a], strategy: weighted, weights: {b: 1}}", ".weights",
         "weights: there is no member 'b'"),
        ("{members: [a], weights: {a: 1}}", ".weights", "weights is for the strategy weighted"),
        ("{members: [a], spillover: 1}", ".spillover",
         "there is no such key; did you mean 'spill_over'?"),
        ("{members: [a], fallback: p}", "", "cannot be its own fallback"),
        ("{members: [a], queue: '${env.NO}'}", ".queue", "the environment variable NO is not set"),
    ],
)  # fmt: skip
def test_pools_that_are_refused(pool: str, place: str, reason: str) -> None:
    [found] = told(f"pools:\n  p: {pool}\n")
    assert found.startswith(f"line 2: pools.p{place}: {reason}")


def test_fallbacks_in_a_circle() -> None:
    text = """\
pools:
  a: {members: [x], fallback: b}
  b: {members: [x], fallback: c}
  c: {members: [x], fallback: a}
  d: {members: [x], fallback: a}
  e: {members: [x], fallback: elsewhere}
"""
    assert told(text) == ["line 2: pools.a.fallback: it goes round in a circle: a -> b -> c -> a"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "- inference_server: echo",
            "line 1: it is no mapping with settings, models, pools, prices; begin",
        ),
        ("hello", "line 1: it is no mapping with settings, models, pools"),
        ("openai_port: 1", "line 1: openai_port: settings stand below `settings:`"),
        ("model_list: []", "line 1: model_list: models stand below `models:`"),
        ("setings: {}", "line 1: setings: there is no such section; did you mean 'settings'?"),
        (
            "xyzzy: {}",
            "line 1: xyzzy: there is no such section; there are settings, models, pools, prices",
        ),
        ("settings: [a]", "line 1: settings: settings are `name: value`, one on a line"),
        ("models: {a: b}", "line 1: models: models are a list of entries"),
        ("models: ${env.KEY}", "line 1: models: models are a list of entries"),
        ("pools: [a]", "line 1: pools: pools are `name:` with `members` below it"),
    ],
)
def test_wrong_shapes(text: str, reason: str) -> None:
    [found] = told(text)
    assert found.startswith(reason)


def test_one_mistake_in_a_place_is_told_once() -> None:
    assert len(told("settings: {port: 1, port: x}")) == 1
    assert len(told("models:\n- inference_server: &a [x]\n")) == 1
    assert len(told("models:\n- {inference_server: echo, visible: '${x}'}\n")) == 1
    assert len(told("pools: {p: {members: [a], queue: 1, queue: x}}")) == 1
    assert len(told("settings: {5: 6, port: 80}")) == 1


def test_there_is_an_end_to_mistakes() -> None:
    assert len(told("settings:\n" + "".join(f"  x{n}: 1\n" for n in range(500)))) == 100


LINES = WHOLE.strip("\n").split("\n")
PIECES = st.lists(
    st.sampled_from([*LINES, "  - ", "- x", "    - {}", "  ? a", "a: &b", "*b", "\t", "${", "}",
                     ":", "settings: 5", "models: [[{}]]", "pools: {a: {b: {c: [1]}}}",
                     "visible: ~", "  5: 6", "--- !x", "...", "<<: {a: b}", "  weights: {1: 2}",
                     "'", "|", "%"])
    | st.text(max_size=8),
    max_size=25,
)  # fmt: skip


@given(PIECES)
def test_whatever_is_written_is_read_or_told(pieces: list[str]) -> None:
    problems: tuple[Problem, ...] = ()
    try:
        parse_config("\n".join(pieces), ENV)
    except ConfigError as error:
        problems = error.problems
    assert not [problem for problem in problems if "SECRET" in str(problem)]


# Files.


def test_reading_a_file(tmp_path: Path) -> None:
    file = tmp_path / "h2o.yaml"
    file.write_bytes(b"\xef\xbb\xbfsettings:\r\n  port: 1\r\n")
    found = read_config(file, {})
    assert (found.settings, found.path) == ({"port": 1}, str(file))
    assert found.origin("settings.port") == f"{file}:2"


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"a: \xff", ": line 1: it is not UTF-8"),
        ("a: 1".encode("utf-16"), ": it is UTF-16 or UTF-32; save it as UTF-8"),
        (b"#" * (2**20 + 1), ": it is longer than 1 MiB"),
        (b"settings:\n\tport: 1\n", ": line 2: a tab where the line begins: YAML wants spaces"),
        (b"settings: {prot: 1}", ": line 1: settings.prot: there is no such setting; did you mean"),
        (b"settings: {prot: 1, hots: 1}", ": 2 mistakes"),
    ],
)
def test_headlines(tmp_path: Path, data: bytes, line: str) -> None:
    file = tmp_path / "h2o.yaml"
    file.write_bytes(data)
    with pytest.raises(ConfigError) as caught:
        read_config(file, {})
    assert caught.value.headline.startswith(f"{file}{line}")
    assert len(caught.value.more) == (2 if "2 mistakes" in line else 0)


@pytest.mark.parametrize("name", ["missing.yaml", ".", "a\0b"])
def test_files_that_cannot_be_read(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_config(f"{tmp_path}/{name}", {})
    [problem] = caught.value.problems
    assert problem.reason.startswith("cannot read it: ")
    assert problem.line is None
    assert problem.data() == {"path": "", "line": None, "reason": problem.reason}


def test_doubts() -> None:
    entries = [{"inference_server": "echo", "base_model": "llama"}] * 2
    pools = [pool_spec("p", {"members": ["llama", "llama_1", "lama", 1, 2]})]
    assert doubts(entries, pools) == [
        "pools.p.members[2]: no entry of this file is called 'lama'; did you mean 'llama'?",
        "pools.p.members[4]: there is no entry 2 in this file",
    ]
    assert doubts([*entries, {"inference_server": "echo"}], pools) == []
