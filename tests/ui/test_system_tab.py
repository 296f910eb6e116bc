"""The system tab and `/system_info_dict`: who sees them, and that no secret is in them."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import lru_cache
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import pytest

from h2o_relay.admin import Series, System
from h2o_relay.errors import BadServerString, StoreError, UpstreamUnreachable
from h2o_relay.settings import Settings
from h2o_relay.system import masked
from h2o_relay.testing.settings import quick
from h2o_relay.types import Server
from h2o_relay_ui import system_rows, usage_view
from h2o_relay_ui.context import Context
from h2o_relay_ui.password_gate import PasswordGate

from .fakes import STARTED, FakeRelay, context, view
from .test_models_rows import HOSTILE, Read
from .usage_kit import by_key, used

pytestmark = [
    pytest.mark.skipif(find_spec("gradio") is None, reason="Gradio is not installed"),
    pytest.mark.timeout(120),  # Gradio's import
]
SECRETS = {"api_key": "sk-canary-1", "admin_pass": "canary-2", "model_lock": "[{'k': 'canary-3'}]",
           "http_proxy": "http://me:canary-4@proxy:1", "auth": "[('a', 'canary-5')]"}  # fmt: skip
CONTEXT: list[Context] = []
TAGS = {"div", "span", "dl", "dt", "dd", "b", "code", "details", "summary"}
TAGS |= {"table", "thead", "tbody", "tr", "th", "td", "small"}


def about(settings: Settings, **changes: Any) -> System:
    plugins = (
        {"name": "vllm", "version": "0.1.0", "state": "loaded", "reason": ""},
        {"name": "odd", "version": "9", "state": "quarantined", "reason": "a bad hook"},
    )
    usual = System(version="0.1.0", python="3.11.2", instance="cafe", started=STARTED,
                   plugins=plugins, settings=masked(settings), packages={"gradio": "6.31.0"},
                   log=("first line", "last line"))  # fmt: skip
    return replace(usual, **changes)


def test_servers_are_shown_without_their_secrets() -> None:
    def parse(text: str) -> Server:
        if text.startswith("odd"):
            raise BadServerString("no")
        return Server(plugin="vllm", shown=text.rpartition(":")[0] + ":***")

    lock = [
        {"inference_server": "vllm:h:1:None:canary-6", "base_model": "m", "h2ogpt_key": "canary-7"},
        {"inference_server": "odd:canary-8", "unheard_of": "canary-9", "max_seq_len": 5},
    ]
    settings = Settings(model_lock=repr(lock), inference_server="vllm:h:2:None:canary-6")
    told = masked(settings, parse)
    assert told["inference_server"] == "vllm:h:2:None:***"
    assert told["model_lock"] == [
        {"inference_server": "vllm:h:1:None:***", "base_model": "m", "h2ogpt_key": "***"},
        {"inference_server": "***", "unheard_of": "***", "max_seq_len": 5},
    ]
    assert masked(Settings(model_lock="@nowhere"), parse)["model_lock"] == "***"
    assert "canary" not in str(told)


def opened(settings: Settings, relay: FakeRelay | None = None) -> Any:
    """The tab, its gate in a hurry."""
    relay = relay or FakeRelay(view("a"))
    relay.about = relay.about or about(settings)
    CONTEXT[:] = [context(relay, settings, extra={"password gate": PasswordGate(_soon)})]
    return built()


@lru_cache(maxsize=1)
def built() -> Any:
    import gradio as gr

    from h2o_relay_ui.system_tab import SystemTab

    with gr.Blocks(analytics_enabled=False), gr.Tabs(), gr.Tab("System"):
        tab = SystemTab(lambda: CONTEXT[0])
        tab.wire()
    return tab


async def _soon(seconds: float) -> None:
    return None


async def shown(tab: Any, unlocked: bool = False) -> dict[str, Any]:
    updates = await tab.render(unlocked, None)
    names = {id(part): name for name, part in tab._parts.items()}
    return {names[id(part)]: value for part, value in updates.items() if part is not tab._shown}


async def test_this_machine_sees_all_without_a_password() -> None:
    relay = FakeRelay(view("a"))
    relay.history = [Series(name="busy model", interval=5.0, end=0.0, requests=(1, 2),
                            tokens=(9, 9), latency=(0.1, None))]  # fmt: skip
    parts = await shown(opened(quick(), relay))
    assert parts["content"]["visible"] is True
    assert "0.1.0" in parts["facts"]["value"]
    assert "gradio 6.31.0" in parts["facts"]["value"]
    assert "busy model" in parts["charts"]["value"]
    assert parts["charts"]["value"].count("<svg") == 3
    assert "a bad hook" in parts["plugins"]["value"]
    assert "last line" in parts["log"]["value"]


async def test_a_store_that_is_away_costs_only_its_part() -> None:
    relay = FakeRelay(view("a"))
    relay.failing["usage"] = StoreError("the store is <gone>")
    parts = await shown(opened(quick(), relay))
    assert "the store is &lt;gone&gt;" in parts["usage"]["value"]
    assert "0.1.0" in parts["facts"]["value"]
    assert parts["content"]["visible"] is True


async def test_nothing_is_fetched_before_the_tab_is_looked_at() -> None:
    relay = FakeRelay(view("a"))
    tab = opened(quick(), relay)
    timers = [block for block in _blocks(tab) if type(block).__name__ == "Timer"]
    assert [timer.active for timer in timers] == [False]
    assert relay.calls == []
    CONTEXT[:] = [context(relay, quick(host="0.0.0.0", admin_pass="right"))]
    await tab.beat(False, "7d")
    assert relay.calls == [], "nor while it is locked"


def _blocks(tab: Any) -> list[Any]:
    page = tab._beat
    while page.parent is not None:
        page = page.parent
    return list(page.blocks.values())


async def test_others_see_nothing_but_how_to_open_it() -> None:
    tab = opened(quick(host="0.0.0.0"))
    for unlocked in (False, True):
        parts = await shown(tab, unlocked)
        assert list(parts) == ["note"]
        assert "ADMIN_PASS" in parts["note"]["value"]
    updates = await tab.unlock("")
    assert updates[tab._unlocked] is False


async def test_the_password_opens_it_for_a_page() -> None:
    tab = opened(quick(host="0.0.0.0", admin_pass="right"))
    parts = await shown(tab)
    assert parts == {
        "lock": {"visible": True, "__type__": "update"},
        "content": {"visible": False, "__type__": "update"},
    }
    wrong = await tab.unlock("wrong")
    assert wrong[tab._unlocked] is False
    assert "not the admin password" in wrong[tab._parts["note"]]
    right = await tab.unlock("right")
    assert right[tab._unlocked] is True
    assert right[tab._password] == ""
    parts = await shown(tab, True)
    assert parts["content"]["visible"] is True
    assert parts["lock"]["visible"] is False


async def test_no_secret_is_shown() -> None:
    settings = quick(**SECRETS)
    tab = opened(settings)
    parts = repr(await shown(tab, True))
    assert "canary" not in parts
    assert "***" in parts


async def test_a_default_is_no_secret() -> None:
    parts = await shown(opened(quick()))
    assert "***" not in parts["settings"]["value"]
    ahead, _, folded = parts["settings"]["value"].partition("<details>")
    assert "default_server" not in ahead
    assert "<dt>default_server</dt><dd><code>llama_cpp</code></dd>" in folded
    parts = await shown(opened(quick(default_server="openai_chat:key:http://gpu")))
    assert "<dt>default_server</dt><dd><code>***</code></dd>" in parts["settings"]["value"]


async def test_what_changed_is_sent_alone() -> None:
    settings = quick()
    relay = FakeRelay(view("a"))
    tab = opened(settings, relay)
    first = await tab.render(False, None)
    relay.about = about(settings, log=("another line",))
    tab._context().extra["system"]._kept = None  # what is fetched is shared for two seconds
    again = await tab.render(False, first[tab._shown])
    assert set(again) == {tab._parts["log"], tab._shown}


async def test_a_relay_that_is_away_is_said() -> None:
    relay = FakeRelay(view("a"))
    relay.failing["system"] = UpstreamUnreachable("nobody <there>")
    parts = await shown(opened(quick(), relay))
    assert "nobody &lt;there&gt;" in parts["note"]["value"]


@pytest.mark.parametrize("word", HOSTILE)
def test_hostile_words_are_only_text(word: str) -> None:
    listed = [{"name": word, "version": word, "state": word, "reason": word}]
    for source in (
        system_rows.plugins(listed),
        system_rows.log([word, word]),
        system_rows.settings({word: word, "port": word}),
        usage_view.drawn(by_key(used(word), currency=word, names={word: word}, trouble=word)),
        system_rows.facts(about(quick(), packages={word: word}, python=word), STARTED),
    ):
        read = Read(source)
        assert read.tags <= TAGS
        assert not any(name.startswith("on") for name in read.attributes)
        assert "\n" not in source


def test_settings_that_were_set_come_first() -> None:
    source = system_rows.settings({"port": 7860, "openai_port": 5050, "ui": True, "ca_file": None})
    ahead, _, folded = source.partition("<details>")
    assert "openai_port" in ahead
    assert "5050" in ahead
    assert "By default: 3" in folded
    assert "7860" in folded


def test_the_log_shows_its_end() -> None:
    source = system_rows.log(f"line {n}" for n in range(999))
    assert source.index("line 998") < source.index("line 997")  # turned again by the style sheet
    assert "line 799<" in source
    assert "line 798<" not in source


# h2oGPT's endpoint.


async def told(settings: Settings, password: Any, relay: FakeRelay | None = None) -> Any:
    from h2o_relay_ui.h2ogpt.system_info import told

    relay = relay or FakeRelay(view("first model"))
    relay.about = about(settings)
    gate = PasswordGate(_soon)
    return json.loads(await told(context(relay, settings, extra={"password gate": gate}), password))


@pytest.mark.parametrize("password", ["wrong", "", None, 7, "canary", ["canary-2"]])
async def test_a_wrong_password_is_told_nothing(password: Any) -> None:
    assert await told(quick(**SECRETS), password) == {}
    assert await told(quick(host="0.0.0.0"), password) == {}


async def test_the_right_one_is_told_all_but_secrets() -> None:
    settings = quick(host="0.0.0.0", **SECRETS)
    info = await told(settings, "canary-2")
    assert info["base_model"] == "first model"
    assert len(info["hash"]) == 40
    assert info["host"] == "0.0.0.0"
    assert info["api_key"] == "***"
    assert "admin_pass" not in info
    assert "canary" not in json.dumps(info)
    assert all(isinstance(v, str | int | float | bool | None) for v in info.values())


async def test_this_machine_needs_no_password() -> None:
    info = await told(quick(base_model="mine"), None)
    assert info["base_model"] == "mine"
    assert (await told(quick(), "", FakeRelay()))["base_model"] == ""


async def test_the_endpoint_has_h2ogpts_name() -> None:
    import gradio as gr

    from h2o_relay_ui.h2ogpt import system_info

    one = SimpleNamespace()
    with gr.Blocks(analytics_enabled=False) as page:
        system_info.add(lambda: one)  # type: ignore[arg-type,return-value]
    [endpoint] = page.get_api_info()["named_endpoints"].items()
    assert endpoint[0] == "/system_info_dict"
    assert [len(endpoint[1][side]) for side in ("parameters", "returns")] == [1, 1]
