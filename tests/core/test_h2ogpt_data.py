"""h2oGPT's server strings and prompts, by way of what operators type and what requests run through;
and what a request may say of its prompt.

`h2ogpt_server_strings.json` has a row for each string: `check` is what `h2o check` prints of it,
`held` what the parsed server holds and nobody is shown, `hidden` the secrets of a refused one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from h2o_relay.cli import main
from h2o_relay.errors import BadServerString, InvalidRequest
from h2o_relay.http_head import split_url
from h2o_relay.kernel import Kernel
from h2o_relay.lock import configured
from h2o_relay.plugins import Plugins
from h2o_relay.preparing import CHAT_TYPES
from h2o_relay.resolve import resolve
from h2o_relay.testing.settings import quick
from h2o_relay.testing.upstream import ScriptedUpstream

from .test_rendering import TextServer, sent

DATA = Path(__file__).parents[1] / "data"
ROWS: list[dict[str, Any]] = json.loads((DATA / "h2ogpt_server_strings.json").read_text())
CASES: list[dict[str, Any]] = json.loads((DATA / "prompt_golden.json").read_text(encoding="utf-8"))
TYPES = sorted({case["prompt_type"] for case in CASES})
PLUGINS = Plugins.discover()
STAND_IN = "EMPTY"


def named(row: dict[str, Any]) -> Any:
    return pytest.param(row, id=" ".join([row["string"], *row.get("env", ())]))


READ = [named(row) for row in ROWS if "check" in row]
REFUSED = [named(row) for row in ROWS if row.get("refused")]


def secrets(row: dict[str, Any]) -> list[str]:
    """What may be in no output: values of keys, passwords, credentials and the environment."""
    held = row.get("held", {})
    credentials = [value.partition(" ")[2] for value in held.get("headers", {}).values()]
    texts = [held.get("key"), held.get("password"), *credentials, *row.get("env", {}).values()]
    return [*(text for text in texts if text and text != STAND_IN), *row.get("hidden", ())]


def as_word(row: dict[str, Any]) -> list[str]:
    model = row.get("base_model")
    return [row["string"], *([f"--base_model={model}"] if model else [])]


def as_flag(row: dict[str, Any]) -> list[str]:
    model = row.get("base_model")
    return [f"--inference_server={row['string']}", *(["--base_model", model] if model else [])]


def as_lock(row: dict[str, Any]) -> list[str]:
    entry = {"inference_server": row["string"], "base_model": row.get("base_model")}
    return [f"--model_lock={[entry]!r}"]


@pytest.mark.parametrize("write", [as_word, as_flag, as_lock])
@pytest.mark.usefixtures("no_sockets")
class TestCheck:
    """`h2o check --parse-only --json`, called in this process with the row's environment alone."""

    @pytest.mark.parametrize("row", READ)
    def test_every_field(
        self, row: dict[str, Any], write: Any, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with mock.patch.dict(os.environ, row.get("env", {}), clear=True):
            code = main(["check", "--parse-only", "--json", *write(row)])
        out, err = capsys.readouterr()
        assert (code, err) == (0, "")
        [shown] = json.loads(out)
        assert {name: shown[name] for name in row["check"]} == row["check"]
        assert shown["base_model"] == row.get("base_model")
        assert [secret for secret in secrets(row) if secret in out] == []

    @pytest.mark.parametrize("row", REFUSED)
    def test_a_refusal_is_one_line_and_the_place(
        self, row: dict[str, Any], write: Any, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with mock.patch.dict(os.environ, row.get("env", {}), clear=True):
            code = main(["check", "--parse-only", "--json", *write(row)])
        out, err = capsys.readouterr()
        assert code == 2
        line, *hints = err.splitlines()
        assert line.startswith("h2o: server string: ")
        assert len(line) < 300
        assert 1 <= len(hints) <= 3
        assert all(hint.startswith(" ") for hint in hints), err
        assert "Traceback" not in err
        [shown] = json.loads(out)
        assert (shown["state"], shown["reason"]) == ("invalid", line.split(": ", 2)[2])
        assert [secret for secret in secrets(row) if secret in out + err] == []


@pytest.mark.usefixtures("no_sockets")
class TestParsing:
    """The values that no command shows."""

    @pytest.mark.parametrize("row", READ)
    def test_what_the_server_holds(self, row: dict[str, Any]) -> None:
        held = row.get("held", {})
        server = resolve(PLUGINS.parse(row["string"]), row.get("base_model"), row.get("env", {}))
        assert {name: getattr(server, name) for name in held} == held
        if server.url:
            split_url(server.url)  # what is dialled is what was read
        told = f"{replace(server, key_env=())!r} {server.shown}"  # GROQ_API_KEY is not the key KEY
        assert [secret for secret in secrets(row) if secret in told] == []

    @pytest.mark.parametrize("row", READ)
    def test_what_is_shown_is_read_again_as_the_same(self, row: dict[str, Any]) -> None:
        server = PLUGINS.parse(row["string"])
        again = PLUGINS.parse(server.shown)
        assert again.shown == server.shown
        secret = ("key", "user", "password", "headers")
        assert replace(again, **{name: getattr(server, name) for name in secret}) == server
        for name in secret:
            assert (getattr(again, name) is None) == (getattr(server, name) is None)

    @pytest.mark.parametrize("row", READ)
    def test_parsing_looks_at_no_environment(self, row: dict[str, Any]) -> None:
        with mock.patch.dict(os.environ, {}, clear=True):
            without = PLUGINS.parse(row["string"])
        with mock.patch.dict(os.environ, row.get("env", {}), clear=True):
            assert PLUGINS.parse(row["string"]) == without

    @pytest.mark.parametrize("row", REFUSED)
    def test_a_refusal(self, row: dict[str, Any]) -> None:
        with pytest.raises(BadServerString) as caught:
            resolve(PLUGINS.parse(row["string"]), row.get("base_model"), row.get("env", {}))
        told = f"{caught.value} {caught.value!r} {caught.value.body()}"
        assert [secret for secret in secrets(row) if secret in told] == []


def test_the_rows_are_all_there() -> None:
    assert (len(READ), len(REFUSED)) == (41, 17)
    keys = {key for row in ROWS for key in row.get("check", ())}
    assert keys == {
        "api", "api_version", "backend", "base_url", "deployment", "endpoint", "has_key",
        "headers", "host", "model", "path", "port", "region", "scheme", "user",
    }  # fmt: skip


def messages(case: dict[str, Any]) -> list[dict[str, str]]:
    """The case as a chat request's messages; `auto` is h2oGPT's word for saying nothing."""
    spoken = []
    if case["system_prompt"] != "auto":
        spoken.append({"role": "system", "content": case["system_prompt"]})
    for user, answer in case["history"]:
        spoken.append({"role": "user", "content": user})
        spoken.append({"role": "assistant", "content": answer})
    return [*spoken, {"role": "user", "content": case["instruction"]}]


def of(prompt_type: str) -> list[dict[str, Any]]:
    return [case for case in CASES if case["prompt_type"] == prompt_type]


@contextlib.asynccontextmanager
async def serving(*entries: dict[str, Any]) -> AsyncIterator[tuple[Kernel, ScriptedUpstream]]:
    """A kernel with a model lock whose entries are all on one server of raw completions."""
    async with ScriptedUpstream(TextServer("fine")) as upstream:
        lock = [{"inference_server": f"vllm:{upstream.url}/v1", **entry} for entry in entries]
        specs = configured(quick(model_lock=repr(lock))).specs
        async with Kernel(quick(), specs, PLUGINS) as kernel:
            await kernel.settled(20)
            assert [status.stage for status in kernel.status()] == ["ready"] * len(entries)
            yield kernel, upstream


async def ask(kernel: Kernel, stream: bool = False, **params: Any) -> str:
    if not stream:
        return (await kernel.generate("chat", params)).text
    async with kernel.stream("chat", {**params, "stream": True}) as answer:
        return "".join([chunk.text async for chunk in answer])


def wire(upstream: ScriptedUpstream) -> tuple[str, list[str]]:
    """The prompt and the stop strings that the server was sent last."""
    body = sent(upstream)
    assert body.keys().isdisjoint({"messages", "prompt_type", "prompt_dict", "system_prompt"})
    return body["prompt"], sorted(body.get("stop", []))


def expected(case: dict[str, Any]) -> tuple[str, list[str]]:
    return case["expected_prompt"], case["stop_set"]


@pytest.mark.usefixtures("leaves_nothing")
class TestPrompts:
    """What the server is sent, byte for byte what h2oGPT would have written."""

    @pytest.mark.parametrize("prompt_type", [t for t in TYPES if t not in CHAT_TYPES])
    @pytest.mark.parametrize("limits", [{}, {"max_seq_len": 100_000, "max_new_tokens": 10}])
    async def test_of_the_operators_type(self, prompt_type: str, limits: dict[str, int]) -> None:
        """But for those that stand for the server's own chat (`preparing.ignores_type`)."""
        entry: dict[str, Any] = {"base_model": "m", "prompt_type": prompt_type, **limits}
        cases = of(prompt_type)
        if prompt_type == "custom":
            entry["prompt_dict"] = cases[0]["prompt_dict"]
        async with serving(entry) as (kernel, upstream):
            for number, case in enumerate(cases):
                streamed = number % 2 == 1
                assert await ask(kernel, streamed, model="m", messages=messages(case)) == "fine"
                assert wire(upstream) == expected(case), case["case"]
                if limits:
                    assert sent(upstream)["max_tokens"] == 10
        assert len(cases) == 7

    async def test_of_the_requests_type(self) -> None:
        async with serving({"base_model": "m", "prompt_type": "plain"}) as (kernel, upstream):
            for case in CASES:
                asked = {"messages": messages(case), "prompt_type": case["prompt_type"]}
                if "prompt_dict" in case:
                    asked["prompt_dict"] = case["prompt_dict"]
                await ask(kernel, **asked)
                assert wire(upstream) == expected(case), (case["prompt_type"], case["case"])

    async def test_of_the_models_name(self) -> None:
        """Each case by a different one of the names that the type is for."""
        cases = [
            (case, case["model_examples"][number % len(case["model_examples"])])
            for number, case in enumerate(CASES)
            if case["model_examples"] and case["prompt_type"] not in ("unknown", "template")
        ]
        models = {model: {"base_model": model} for _, model in cases}
        assert len(models) > 50
        async with serving(*models.values()) as (kernel, upstream):
            for case, model in cases:
                await ask(kernel, model=model, messages=messages(case))
                assert wire(upstream) == expected(case), (model, case["case"])

    async def test_of_the_operators_system_prompt(self) -> None:
        """The setting is for conversations that bring none; `auto` is the type's own."""
        spoken = sorted({case["system_prompt"] for case in CASES})
        entries = [
            {"base_model": "m", "display_name": str(number), "prompt_type": "plain",
             "system_prompt": text} for number, text in enumerate(spoken)
        ]  # fmt: skip
        async with serving(*entries) as (kernel, upstream):
            for case in CASES:
                asked: dict[str, Any] = {"prompt_type": case["prompt_type"]}
                asked["messages"] = [m for m in messages(case) if m["role"] != "system"]
                if "prompt_dict" in case:
                    asked["prompt_dict"] = case["prompt_dict"]
                model = str(spoken.index(case["system_prompt"]))
                await ask(kernel, model=model, **asked)
                assert wire(upstream) == expected(case), (case["prompt_type"], case["case"])

    async def test_at_the_same_time(self) -> None:
        """No request gets another one's prompt."""
        async with serving({"base_model": "m", "prompt_type": "plain"}) as (kernel, upstream):
            some = [case for case in CASES if case["prompt_type"] != "custom"][::9]
            asked = [
                ask(kernel, stream=bool(n % 2), messages=messages(case),
                    prompt_type=case["prompt_type"], user=str(n))
                for n, case in enumerate(some)
            ]  # fmt: skip
            assert set(await asyncio.gather(*asked)) == {"fine"}
            bodies = [r.json() for r in upstream.requests if r.path == "/v1/completions"]
        assert len(bodies) == len(some) > 25
        for body in bodies:
            case = some[int(body["user"])]
            assert (body["prompt"], sorted(body.get("stop", []))) == expected(case)


HI = [{"role": "user", "content": "hi"}]
TURN = "{% for m in messages %}[{{ m.content }}]{% endfor %}"


@pytest.mark.usefixtures("leaves_nothing")
class TestWhatARequestMaySay:
    @pytest.mark.parametrize("unset", [{}, {"prompt_type": ""}, {"prompt_type": "None"},
                                       {"prompt_type": None, "prompt_dict": {}}])  # fmt: skip
    async def test_no_choice_leaves_the_operators_template(self, unset: dict[str, Any]) -> None:
        """h2oGPT's clients send "" or None where they choose nothing."""
        async with serving({"base_model": "m", "chat_template": TURN}) as (kernel, upstream):
            await ask(kernel, messages=HI, **unset)
            assert wire(upstream) == ("[hi]", [])

    @pytest.mark.parametrize("unset", [{}, {"prompt_type": ""}, {"prompt_type": "None"}])
    async def test_a_prompt_dict_alone_is_a_choice(self, unset: dict[str, Any]) -> None:
        async with serving({"base_model": "m", "chat_template": TURN}) as (kernel, upstream):
            await ask(kernel, messages=HI, prompt_dict={"PreResponse": "A:"}, **unset)
            assert wire(upstream) == ("hi\nA:", ["A:"])

    async def test_a_prompt_dict_that_its_type_does_not_read_is_told(self) -> None:
        async with serving({"base_model": "m", "prompt_type": "plain"}) as (kernel, _):
            asked = {"messages": HI, "prompt_type": "llama2", "prompt_dict": {"PreResponse": "A:"}}
            assert (await kernel.generate("chat", asked)).dropped == ("prompt_dict",)

    async def test_a_chat_request_cannot_ask_for_the_prompt(self) -> None:
        """`echo` is a text completion's field, and would tell the operator's system prompt."""
        entry = {"base_model": "m", "prompt_type": "llama2", "system_prompt": "Keep it secret."}
        async with serving(entry) as (kernel, upstream):
            asked = {"messages": HI, "echo": True, "suffix": "x", "prompt": "y"}
            found = await kernel.generate("chat", asked)
            assert {"echo", "suffix"} <= set(found.dropped)
            body = sent(upstream)
            assert body.keys().isdisjoint({"echo", "suffix"})
            assert "Keep it secret." in body["prompt"]

    @pytest.mark.parametrize(
        "limits",
        [
            {}, {"max_tokens": 99}, {"max_completion_tokens": 99},
            {"max_completion_tokens": 1, "max_tokens": 99}, {"n_predict": 99}, {"n_predict": -1},
            {"max_tokens": 3, "n_predict": -1}, {"max_tokens": 3, "max_new_tokens": 99},
        ],
        ids=str,
    )  # fmt: skip
    @pytest.mark.parametrize("kind", ["chat", "text"])
    async def test_no_name_of_a_limit_gets_round_the_operators(
        self, kind: Any, limits: dict[str, int]
    ) -> None:
        """`n_predict` is llama.cpp's, where it wins over `max_tokens`; -1 is no limit there."""
        entry = {"base_model": "m", "prompt_type": "plain", "max_max_new_tokens": 10}
        async with serving(entry) as (kernel, upstream):
            await kernel.generate(kind, {"messages": HI, "prompt": "hi", **limits})
            body = sent(upstream)
            names = ("max_tokens", "max_completion_tokens", "n_predict", "max_new_tokens")
            found = {name: body[name] for name in names if name in body}
            assert 1 <= found["max_tokens"] <= 10, "the one that every server reads"
            assert all(1 <= value <= 10 for value in found.values()), found

    @pytest.mark.parametrize(
        ("message", "param"),
        [
            ({"role": "assistant", "tool_calls": 5}, "messages[0].tool_calls"),
            ({"role": "assistant", "tool_calls": "x"}, "messages[0].tool_calls"),
            ({"role": "assistant", "tool_calls": [None]}, "messages[0].tool_calls[0]"),
            ({"role": "assistant", "tool_calls": [{}, {}]}, "messages[0].tool_calls[0]"),
            ({"role": "assistant", "function_call": "f"}, "messages[0].function_call"),
        ],
        ids=str,
    )
    async def test_what_is_no_call_of_a_tool(self, message: dict[str, Any], param: str) -> None:
        async with serving({"base_model": "m", "prompt_type": "plain"}) as (kernel, _):
            for stream in (False, True):
                with pytest.raises(InvalidRequest) as caught:
                    await ask(kernel, stream, messages=[message, *HI])
                assert caught.value.param == param
