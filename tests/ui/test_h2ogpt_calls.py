"""h2oGPT's other calls: values without names, models loaded and let go, chats refused, keys."""

from __future__ import annotations

import ast
import itertools
import json
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
import pytest_asyncio

from h2o_relay.errors import Unauthorized, UpstreamUnreachable
from h2o_relay.testing.settings import quick
from h2o_relay_ui.context import User
from h2o_relay_ui.h2ogpt.endpoints import CHATS, service
from h2o_relay_ui.h2ogpt.positional import EARLIER, NAMES

from .fakes import FakeRelay, Script, view
from .mounted import Page, mounted, through

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(240),
    pytest.mark.skipif(find_spec("gradio") is None, reason="Gradio is not installed"),
    # Gradio's use of pandas.
    pytest.mark.filterwarnings("ignore:'future.no_silent_downcasting'"),
    pytest.mark.filterwarnings("ignore:The copy keyword is deprecated"),
]
KEY, ADMIN = "sk-canary-1", "admin-canary-2"
PLAIN = "/api/submit_nochat_plain_api"
SLOWLY = Script(pieces=[f"word{n} " for n in range(10)], delay=0.1)


@dataclass
class Site:
    page: Page
    relay: FakeRelay

    async def ask(self, call: Callable[[Any], Any]) -> Any:
        return await through(self.page.url, call)

    async def predict(self, name: str, *values: Any, **by_name: Any) -> Any:
        return await self.ask(lambda client: client.predict(*values, api_name=name, **by_name))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    relay = FakeRelay()
    settings = quick(save_dir=str(tmp_path_factory.mktemp("store")))
    async with mounted(relay, settings) as page:
        yield Site(page, relay)


@pytest_asyncio.fixture(loop_scope="module")
async def site(shared: Site) -> Site:
    """A page without keys, over two models; what tests change is put back."""
    shared.relay.put(view("parrot"), view("slow", max_context=None, plugin="tgi"))
    shared.relay.scripts = {"slow": SLOWLY}
    shared.relay.failing.clear()
    shared.relay.asked.clear()
    shared.relay.calls.clear()
    shared.page.context.may_add = True
    shared.page.context.settings = replace(shared.page.context.settings, admin_pass=None)
    return shared


def values(order: tuple[str, ...], **given: Any) -> list[Any]:
    return [given.get(name) for name in order]


@pytest.mark.parametrize("order", [NAMES, EARLIER], ids=["0.2.1", "March 2024"])
async def test_values_in_h2ogpts_order(site: Site, order: tuple[str, ...]) -> None:
    given = values(
        order, instruction="not this", instruction_nochat="and now?", context="", iinput="",
        stream_output=True, temperature=0.5, top_p=0.9, max_new_tokens=9, do_sample=True,
        langchain_mode="LLM", system_prompt="Be brief.", visible_models=["slow"],
        chat_conversation=[["one", "two"]], h2ogpt_key="", prompt_type="",
    )  # fmt: skip

    def call(client: Any) -> list[str]:
        job = client.submit(*given, api_name="/submit_nochat")
        return [*job, job.result()]

    told = await site.ask(call)
    assert told[-1] == "<br>" + "".join(SLOWLY.pieces)
    assert len(set(told)) > 2
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(told))
    (asked,) = site.relay.asked
    assert asked.params["model"] == "slow"
    assert (asked.params["temperature"], asked.params["max_tokens"]) == (0.5, 9)
    assert [m["content"] for m in asked.params["messages"]] == [
        "Be brief.", "one", "two", "and now?"
    ]  # fmt: skip


async def test_values_by_their_names(site: Site) -> None:
    name = "/submit_nochat"
    told = await site.predict(name, instruction_nochat="hi", langchain_mode="Disabled")
    assert told == "Hello there."
    assert await site.predict(name, "hi") == "<br>Hello there."
    assert await site.predict(name, instruction_nochat="") == "<br>"


async def test_values_in_an_order_that_is_not_known_are_refused(site: Site) -> None:
    for count in (19, 70, 106):
        with pytest.raises(Exception, match="Call /submit_nochat_api with the text of a dict"):
            await site.predict("/submit_nochat", *["x"] * count)
    assert site.relay.asked == []


async def test_what_goes_wrong_is_raised(site: Site) -> None:
    site.relay.scripts["parrot"] = Script(error=UpstreamUnreachable("rack 4 is down"))
    with pytest.raises(Exception, match="rack 4 is down"):
        await site.predict("/submit_nochat", instruction_nochat="hi")


@pytest.mark.parametrize("name", CHATS)
async def test_chats_are_refused_with_the_call_to_use(site: Site, name: str) -> None:
    async with httpx.AsyncClient(base_url=site.page.url, timeout=20, trust_env=False) as http:
        for data in ([], ["x"] * 120):
            response = await http.post(f"/gradio_api/run/{name}", json={"data": data})
            assert response.status_code == 500
            assert f"/{name} is not served" in response.json()["error"]
            assert "/submit_nochat_api" in response.json()["error"]


async def test_gradios_client_is_told_so_too(site: Site) -> None:
    def call(client: Any) -> list[str]:
        said = []
        for name in ("/instruction", "/instruction_bot", "/submit_bot", "/retry_bot2", "/undo"):
            try:
                client.predict(*["x"] * 70, [["q", None]], api_name=name)
            except Exception as error:
                said.append(str(error))
        return said

    said = await site.ask(call)
    assert len(said) == 5
    assert all("/submit_nochat_api" in one for one in said)


async def test_the_tabs_take_no_name_of_h2ogpts(monkeypatch: pytest.MonkeyPatch) -> None:
    from h2o_relay_ui import page

    monkeypatch.setitem(sys.modules, "matplotlib", None)  # type: ignore[arg-type]
    made = page.build(lambda: cast(Any, None), quick(model_lock_columns=2))
    public = {str(f.api_name) for f in made.fns.values() if f.api_visibility != "private"}
    assert {*CHATS, "submit_nochat", "login", "load_model"} <= public
    assert not [name for name in public if name.endswith("_1")]


async def test_chats_are_not_listed(site: Site) -> None:
    async with httpx.AsyncClient(base_url=site.page.url, timeout=20, trust_env=False) as http:
        info = (await http.get("/gradio_api/info")).json()
    assert not {f"/{name}" for name in CHATS} & set(info["named_endpoints"])
    names = [p["parameter_name"] for p in info["named_endpoints"]["/submit_nochat"]["parameters"]]
    assert names == [*NAMES, "more"]


async def test_the_lists(site: Site) -> None:
    listed = ast.literal_eval(await site.predict("/model_names"))
    assert [(m["display_name"], m["inference_server_type"], m["max_seq_len"]) for m in listed] == [
        ("parrot", "vllm", 8192), ("slow", "tgi", None)
    ]  # fmt: skip
    assert {model["h2o_relay_instance"] for model in listed} == {"fake"}
    assert "gpu1" not in str(listed), "no server's address"
    assert await site.predict("/num_model_lock") == 2
    site.relay.put(view("parrot", visible=False), view("slow"))
    assert await site.predict("/num_model_lock") == 1


async def test_the_lists_do_without_the_relays_name(site: Site) -> None:
    site.page.context.extra.pop("h2oGPT's calls")
    site.relay.failing["system"] = UpstreamUnreachable("away")
    listed = ast.literal_eval(await site.predict("/model_names"))
    assert "h2o_relay_instance" not in listed[0]


async def test_system_info_is_served(site: Site) -> None:
    told = json.loads(await site.predict("/system_info_dict", ""))
    assert told["base_model"] == "parrot"
    assert len(told["hash"]) == 40
    site.page.context.settings = replace(site.page.context.settings, admin_pass=ADMIN)
    assert await site.predict("/system_info_dict", ADMIN) != "{}"


async def test_nobody_logs_in_where_nobody_signs_in(site: Site) -> None:
    told = await site.predict("/login", None, "ann", "pw", None, None)
    assert told == "Nobody signs in here."


# Models.


async def test_a_server_is_added(site: Site) -> None:
    order = ["llama", "", "vllm_chat:gpu9:8000", "llama2", *[False] * 11, 4096]
    told = await site.predict("/load_model", *order)
    assert list(told) == ["llama", "", "vllm_chat:gpu9:8000", "llama2", 4096]
    entry = {"base_model": "llama", "inference_server": "vllm_chat:gpu9:8000",
             "prompt_type": "llama2", "max_seq_len": 4096}  # fmt: skip
    assert site.relay.calls == [("add", entry)]
    told = await site.predict("/unload_model", base_model="llama")
    assert list(told) == ["", "", "", "", 0]
    assert site.relay.calls[-1][0] == "remove"
    assert [v.name for v in site.relay.views] == ["parrot", "slow"]


async def test_h2ogpts_words_for_nothing(site: Site) -> None:
    none = "[None/Remove]"
    await site.predict("/load_model", "m", none, "vllm:gpu9:8000", "", max_seq_len=-1)
    assert site.relay.calls == [
        ("add", {"base_model": "m", "inference_server": "vllm:gpu9:8000"})
    ]  # fmt: skip


async def test_a_model_that_is_there_is_loaded_by_its_server(site: Site) -> None:
    site.relay.put(view("parrot", loadable=True), view("slow"))
    assert (await site.predict("/load_model", "parrot"))[0] == "parrot"
    assert (await site.predict("/unload_model", "parrot"))[0] == ""
    assert (await site.predict("/load_model", "slow"))[0] == "slow"
    assert site.relay.calls == [("set_loaded", ("parrot", True)), ("set_loaded", ("parrot", False))]


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("/load_model", {"base_model": "gone"}, "'gone' is not there"),
        ("/load_model", {}, "must be a model's name"),
        ("/load_model", {"base_model": "m", "lora_weights": "x"}, "adapters are loaded by"),
        ("/load_model", {"base_model": 5}, "must be a text"),
        ("/load_model", {"base_model": "m", "inference_server": "vllm:h:1", "max_seq_len": "x"},
         "must be a whole number"),
        ("/unload_model", {"base_model": "gone"}, "'gone' is not there"),
        ("/unload_model", {"base_model": "slow"}, "cannot unload it"),
    ],
)  # fmt: skip
async def test_what_cannot_be_loaded(
    site: Site, name: str, given: dict[str, Any], words: str
) -> None:
    with pytest.raises(Exception, match=words):
        await site.predict(name, **given)
    assert site.relay.calls == []


async def test_models_are_not_changed_by_guests_nor_without_the_pages_key(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stranger(_: Any) -> User:
        raise Unauthorized("This page asks for an access key.")

    def guest(_: Any) -> User:
        return User(owner="guest:1", name="guest", guest=True)

    given = {"base_model": "m", "inference_server": "vllm:gpu9:8000"}
    for user, words in ((stranger, "asks for an access key"), (guest, "Guests cannot add")):
        monkeypatch.setattr(site.page.context, "user", user)
        for name in ("/load_model", "/unload_model"):
            with pytest.raises(Exception, match=words):
                await site.predict(name, **given)
    assert site.relay.calls == []
    site.page.context.settings = replace(site.page.context.settings, admin_pass=ADMIN)
    await site.predict("/load_model", **given, admin_pass=ADMIN)
    assert site.relay.calls == [("add", given)]


async def test_models_are_changed_by_those_who_may(site: Site) -> None:
    given = {"base_model": "m", "inference_server": "vllm:gpu9:8000"}
    site.page.context.may_add = False
    for name in ("/load_model", "/unload_model"):
        for password in ({}, {"admin_pass": ""}, {"admin_pass": ADMIN}):
            with pytest.raises(Exception, match="Models cannot be added here"):
                await site.predict(name, **given, **password)
    site.page.context.may_add = True
    site.page.context.settings = replace(site.page.context.settings, admin_pass=ADMIN)
    for password in ({}, {"admin_pass": "wrong"}):
        with pytest.raises(Exception, match="admin password"):
            await site.predict("/load_model", **given, **password)
    assert site.relay.calls == []
    site.page.context.may_add = False
    assert (await site.predict("/load_model", **given, admin_pass=ADMIN))[0] == "m"


# Keys.


async def told_of(url: str, **asked: Any) -> str:
    async with httpx.AsyncClient(base_url=url, timeout=20, trust_env=False) as http:
        data = [str({"instruction_nochat": "hi", **asked})]
        response = await http.post(PLAIN, json={"data": data})
    assert response.status_code == 200
    told = ast.literal_eval(response.json()["data"][0])
    assert told["error"] == ""
    return str(told["response"])


@pytest.mark.parametrize(
    ("given", "good", "bad"),
    [
        ({"h2ogpt_api_keys": f"['{KEY}', 'two']"}, [KEY, "two"], [None, "", "three"]),
        ({"h2ogpt_api_keys": f"['{KEY}']", "api_key": "own"}, [KEY, "own"], [None, "x"]),
        ({"h2ogpt_api_keys": f"['{KEY}']", "enforce_h2ogpt_api_key": False}, [None, "x"], []),
        ({"api_key": "own", "enforce_h2ogpt_api_key": False}, [None, "x", "own"], []),
        ({"h2ogpt_api_keys": f"['{KEY}']", "enforce_h2ogpt_api_key": False,
          "enforce_h2ogpt_ui_key": True}, [None, KEY], []),
    ],
)  # fmt: skip
async def test_keys_and_their_enforcement(
    tmp_path: Path, given: dict[str, Any], good: list[Any], bad: list[Any]
) -> None:
    relay = FakeRelay(view("parrot"))
    async with mounted(relay, quick(save_dir=str(tmp_path), **given)) as page:
        for key in good:
            assert await told_of(page.url, h2ogpt_key=key) == "Hello there."
        for key in bad:
            told = await told_of(page.url, h2ogpt_key=key)
            assert told.startswith("Invalid Access Key, request access key from ")
        assert len(relay.asked) == len(good)


async def test_a_file_of_keys_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    write_keys(path, ["one"])
    relay = FakeRelay(view("parrot"))
    settings = quick(save_dir=str(tmp_path / "d"), h2ogpt_api_keys=str(path))
    async with mounted(relay, settings) as page:
        assert await told_of(page.url, h2ogpt_key="one") == "Hello there."
        assert relay.ring is not None
        relay.ring._keys._looked = float("-inf")
        write_keys(path, ["two", "three"])
        service(page.context)._known.clear()  # a good key is one for two seconds
        assert await told_of(page.url, h2ogpt_key="two") == "Hello there."
        assert (await told_of(page.url, h2ogpt_key="one")).startswith("Invalid Access Key")


def write_keys(path: Path, keys: list[str]) -> None:
    path.write_text(json.dumps(keys))


async def test_values_without_names_need_the_key_too(tmp_path: Path) -> None:
    relay = FakeRelay(view("parrot"))
    settings = quick(save_dir=str(tmp_path), h2ogpt_api_keys=f"['{KEY}']")
    async with mounted(relay, settings) as page:

        def call(client: Any) -> tuple[Any, ...]:
            return tuple(
                client.predict(instruction_nochat="hi", h2ogpt_key=key, api_name="/submit_nochat")
                for key in (KEY, "wrong")
            )

        good, bad = await through(page.url, call)
        assert good == "<br>Hello there."
        assert bad.startswith("<br>Invalid Access Key")
