"""`h2o check`: what was parsed, what was found, what it can do, and one token if asked for."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from h2o_relay.commands import check_rows, check_table
from h2o_relay.testing.scripts import redirect
from h2o_relay.testing.upstream import Answer, Received
from h2o_relay.testing.wire import OpenAIWire
from h2o_relay.types import Server

from .identify_servers import LLAMA, LLAMA_HEADERS, LLAMA_OTHER, TGI, VLLM, Background, Product

pytestmark = pytest.mark.usefixtures("no_settings")
H2O = Callable[..., tuple[int, str, str]]
WIRE = OpenAIWire()
KEY = "sk-check-canary-55"


@pytest.fixture
def call(run: H2O) -> H2O:
    return partial(run, "check")


class Speaking:
    """A product that also answers generations, with these texts or with an error."""

    def __init__(self, product: Product, texts: tuple[str, ...] = ("Hel",), error: Any = None):
        self.product, self.texts, self.error = product, texts, error
        self.asked: list[dict[str, Any]] = []

    async def __call__(self, request: Received, answer: Answer) -> None:
        if request.method == "GET":
            await self.product(request, answer)
            return
        self.asked.append({"path": request.path, **request.json()})
        if self.error is None:
            await WIRE.reply(request, self.texts)(request, answer)
        else:
            await self.error(request)(request, answer)


def test_a_bare_url_is_told_and_nothing_is_generated(call: H2O) -> None:
    with Background(Speaking(Product(VLLM))) as upstream:
        url = upstream.url
        code, out, err = call(url, "--json")
        assert {request.method for request in upstream.requests} == {"GET"}
    [row] = json.loads(out)
    assert (code, err) == (0, "")
    assert (row["server"], row["backend"], row["state"]) == (url, "vllm", "healthy")
    assert (row["base_url"], row["api"]) == (f"{url}/v1", "chat")
    assert row["models"] == [{"id": "m", "max_context": 4096}]
    can = row["capabilities"]
    assert (can["kinds"], can["fields"], can["tokenizer"]) == (["chat", "text"], "all", True)
    assert (can["load"], can["continues_text"]) == (True, True)
    assert can["cancels"] == ["generate", "stream"]
    assert "/chat/completions" in can["paths"]
    assert "generate" not in row


def test_the_table(call: H2O) -> None:
    with (
        Background(Product(LLAMA, LLAMA_OTHER, LLAMA_HEADERS)) as llama,
        Background(TGI) as tgi,
        Background(Product({})) as nobody,
    ):
        urls = [llama.url, tgi.url, nobody.url]
        code, out, err = call(*urls)
    head, *rows = out.splitlines()
    assert (code, err) == (1, ""), "one of them is not healthy"
    assert head.split() == ["Server", "Backend", "API", "State", "Models", "Context", "Can"]
    *cells, can = rows[0].split(None, 6)
    assert cells == [urls[0], "llama_cpp", "chat", "healthy", "m", "2048"]
    assert {"chat", "text", "tokenizer", "continues"} <= set(can.split(", "))
    assert rows[1].split()[:2] == [urls[1], "tgi"]
    assert rows[1].split()[3:6] == ["healthy", "meta/m", "128"]
    assert rows[2].split(None, 3)[:3] == [urls[2], "-", "-"]
    assert "unknown: the server answers, but no installed plugin" in rows[2]


def test_what_a_model_has_is_told_where_the_server_says_it(call: H2O) -> None:
    with Background(TGI) as tgi:
        [row] = json.loads(call(tgi.url, "--json")[1])
    assert row["models"] == [{"id": "meta/m", "max_context": 128, "kinds": ["chat", "text"]}]


def test_the_dead_are_told_too_and_hide_nobody(call: H2O) -> None:
    with Background(Product({})) as gone:
        dead = gone.url
    with Background(Product(VLLM)) as upstream:
        texts = [dead, upstream.url, f"vllm:{dead}/v1", "vllm:h:99999"]
        code, out, err = call(*texts, "--json", "--generate")
    rows = json.loads(out)
    assert code == 2
    assert err.startswith("h2o: server string: a port is")
    assert [row["state"] for row in rows] == ["offline", "healthy", "offline", "invalid"]
    assert [row.get("backend") for row in rows] == [None, "vllm", "vllm", None]
    assert rows[0]["reason"].startswith("not identified yet: the upstream server could not be")
    assert rows[2]["reason"] == "the upstream server could not be reached"
    assert (rows[0]["capabilities"], rows[0]["generate"], rows[2]["generate"]) == (None,) * 3


def test_a_redirect_is_told_with_its_target_and_not_followed(call: H2O) -> None:
    with Background(Product(VLLM)) as behind:
        target = f"{behind.url}/elsewhere?token={KEY}"
        with Background(redirect(target)) as upstream:
            code, out, _ = call(upstream.url, f"vllm_chat:{upstream.url}/v1", "--json")
        assert not behind.requests
        bare, named = json.loads(out)
        assert code == 1
        assert f"redirects to: {behind.url}/elsewhere" in bare["reason"]
        assert named["reason"].endswith(f"not followed: {behind.url}/elsewhere")
        assert KEY not in out


class TestGenerate:
    def test_one_token_is_asked_for(self, call: H2O) -> None:
        script = Speaking(Product(VLLM))
        with Background(script) as upstream:
            code, out, _ = call(upstream.url, "--generate", "--json")
        [row] = json.loads(out)
        trip = row["generate"]
        assert code == 0
        assert (trip["model"], trip["kind"], trip["text"]) == ("m", "chat", "Hel")
        assert (trip["finish_reason"], trip["error"]) == ("stop", None)
        assert 0 < trip["time_to_first_token"] <= trip["seconds"] < 5
        [asked] = script.asked
        assert (asked["path"], asked["max_tokens"], asked["stream"], asked["model"]) == (
            "/v1/chat/completions", 1, True, "m"
        )  # fmt: skip

    def test_a_text_server_is_asked_for_a_text(self, call: H2O) -> None:
        script = Speaking(Product(VLLM))
        with Background(script) as upstream:
            code, out, _ = call(f"vllm:{upstream.url}/v1", "--generate")
        assert code == 0
        assert [asked["path"] for asked in script.asked] == ["/v1/completions"]
        head, row = out.splitlines()
        assert head.split()[-1] == "Answer"
        assert row.endswith(" s, m: 'Hel'")

    def test_what_goes_wrong_is_one_line(self, call: H2O) -> None:
        def refuse(request: Received) -> Any:
            from h2o_relay.testing.scripts import json as answer

            return answer({"error": {"message": "no\nmemory  left", "code": "oom"}}, 400)

        with (
            Background(Speaking(Product(VLLM), error=refuse)) as bad,
            Background(Speaking(Product(VLLM))) as good,
        ):
            code, out, _ = call(bad.url, good.url, "--generate")
            rows = json.loads(call(bad.url, "--generate", "--json")[1])
        assert code == 1
        assert out.splitlines()[1].endswith("m: no memory left")
        assert out.splitlines()[2].endswith("'Hel'")
        assert (rows[0]["state"], rows[0]["generate"]["error"]) == ("healthy", "no memory left")
        assert rows[0]["generate"]["time_to_first_token"] is None

    def test_a_model_with_another_name_for_the_limit(self, call: H2O) -> None:
        """As OpenAI's reasoning models refuse `max_tokens`."""

        def refuse(request: Received) -> Any:
            from h2o_relay.testing.scripts import json as answer

            if "max_tokens" not in request.json():
                return WIRE.reply(request, ("Hel",))
            error = {"message": "Unsupported parameter", "param": "max_tokens",
                     "code": "unsupported_parameter"}  # fmt: skip
            return answer({"error": error}, 400)

        script = Speaking(Product(VLLM), error=refuse)
        with Background(script) as upstream:
            [row] = json.loads(call(upstream.url, "--generate", "--json")[1])
        assert row["generate"]["text"] == "Hel"
        assert script.asked[1]["max_completion_tokens"] == 1
        assert len(script.asked) == 2

    def test_without_the_network_there_is_none(self, call: H2O) -> None:
        code, _, err = call("vllm:h:80", "--generate", "--parse-only")
        assert code == 2
        assert err.startswith("h2o: --generate asks the servers")


class TestOptions:
    def test_the_environments_options_are_told_and_secrets_are_not(
        self, call: H2O, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("H2O_VLLM_REGION", "here")
        monkeypatch.setenv("H2O_VLLM_SECRET_ACCESS", KEY)
        monkeypatch.setenv("H2O_VLLM_PROXY", "http://u:hunter2@proxy")
        monkeypatch.setenv("H2O_VLLM_OTHER", f"see {KEY}")
        with Background(Product(VLLM)) as upstream:
            text = f"vllm:{upstream.url}:/v1:{KEY}"
            _, out, _ = call(text, "--json")
            shown = call(text)[1]
        [row] = json.loads(out)
        assert row["options"] == {
            "other": "***", "proxy": "http://***@proxy", "region": "here", "secret_access": "***"
        }  # fmt: skip
        assert row["payload"] is None
        assert "region=here" in shown
        assert KEY not in out + shown
        assert "hunter2" not in out + shown

    def test_a_payload_is_told_where_there_is_one(self) -> None:
        from h2o_relay.entry import ServerStatus
        from h2o_relay.types import Model

        def status(options: dict[str, Any], raw: dict[str, Any]) -> ServerStatus:
            server = Server(plugin="sagemaker", options=options)
            return ServerStatus(server, "healthy", "", (Model(id="e", raw=raw),))

        assert check_rows.payload(status({"payload": "tgi"}, {"payload": "openai"})) == "tgi"
        assert check_rows.payload(status({}, {"payload": "openai"})) == "openai"
        assert check_rows.payload(status({}, {})) is None
        row = {"options": {"endpoint": "e", "region": "us-east-2"}, "payload": "llama2"}
        assert check_table.detail(row) == "endpoint=e payload=llama2 region=us-east-2"

    def test_the_base_model_picks_the_payload(
        self, call: H2O, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Told although there are no credentials: none are needed to know it."""
        for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_DEFAULT_REGION", "AWS_REGION"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
        words = ("sagemaker_chat:e:us-east-2", "--json", "--base_model=meta-llama/Llama-2-7b-chat")
        code, out, _ = call(*words)
        [row] = json.loads(out)
        assert (code, row["state"], row["payload"]) == (1, "auth-error", "llama2")
        assert row["options"]["region"] == "us-east-2"
        assert row["capabilities"]["kinds"] == ["chat"]
