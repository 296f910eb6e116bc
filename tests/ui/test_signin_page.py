"""Sign-in before Gradio's real routes, for Gradio's own client and for another relay."""

from __future__ import annotations

import ast
from collections.abc import AsyncIterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from h2o_relay.errors import RelayError
from h2o_relay.kernel import Kernel
from h2o_relay.plugins import Plugins
from h2o_relay.store import passwords
from h2o_relay.testing import echo
from h2o_relay.testing.settings import quick
from h2o_relay_proxy.app import create_app
from h2o_relay_proxy.ports import address, bind
from h2o_relay_proxy.server import running

from .fakes import FakeRelay, view
from .mounted import Page, mounted, second_relay, through

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(240),
    # Gradio's use of pandas.
    pytest.mark.filterwarnings("ignore:'future.no_silent_downcasting'"),
    pytest.mark.filterwarnings("ignore:The copy keyword is deprecated"),
    pytest.mark.skipif(find_spec("gradio") is None, reason="Gradio is not installed"),
]
PW, KEY = "pw-canary-1", "sk-canary-2"
BROWSER = {"accept": "text/html"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def page(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Page]:
    """A page whose people sign in, over a model that answers "Hello there."."""
    folder = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "N", 2**4)
        settings = quick(
            save_dir=str(folder), auth=f"[('boss', '{PW}')]", h2ogpt_api_keys=f"['{KEY}']"
        )
        async with mounted(FakeRelay(view("parrot")), settings) as found:
            yield found


def wish(**more: Any) -> str:
    return str({"instruction_nochat": "hi", "h2ogpt_key": KEY, **more})


def paths_of(app: Any, before: str = "") -> set[str]:
    """Every path of an application, those of what is mounted and included in it as well."""
    found = set()
    for route in app.routes:
        path = before + (getattr(route, "path", None) or "")
        inner = getattr(route, "original_router", None) or getattr(route, "app", None)
        if getattr(route, "methods", None):
            found.add(path)
        elif inner is not None and hasattr(inner, "routes"):
            found |= paths_of(inner, path)
    return found


async def test_no_route_of_gradios_answers_before_sign_in(page: Page) -> None:
    paths = paths_of(page.app)
    assert {"/gradio_api/queue/join", "/gradio_api/upload", "/config", "/login"} <= paths
    assert len(paths) > 60
    open_paths = {"/", "/login", "/login/", "/logout", "/favicon.ico", "/robots.txt"}
    answered = set()
    async with httpx.AsyncClient(base_url=page.url, timeout=20, trust_env=False) as http:
        for path in sorted(paths):
            for method in ("GET", "POST", "HEAD"):
                response = await http.request(method, path.replace("{", "").replace("}", ""))
                if response.status_code != 401:
                    answered.add(path)
    assert answered <= open_paths, answered - open_paths


async def test_what_is_open_tells_nothing(page: Page) -> None:
    async with httpx.AsyncClient(base_url=page.url, timeout=20, trust_env=False) as http:
        first = (await http.get("/")).text
        assert "parrot" not in first
        assert "dependencies" not in first
        assert (await http.get("/robots.txt")).status_code == 200


async def test_gradios_client_signs_in(page: Page) -> None:
    def call(client: Any) -> tuple[Any, ...]:
        job = client.submit(wish(stream_output=True), api_name="/submit_nochat_api")
        names = ast.literal_eval(client.predict(api_name="/model_names"))
        return names[0]["display_name"], ast.literal_eval(job.result())["response"]

    assert await through(page.url, call, auth=("boss", PW)) == ("parrot", "Hello there.")
    assert await through(page.url, call, auth=("guest", "")) == ("parrot", "Hello there.")
    assert await through(page.url, call, auth=("ann", "own")) == ("parrot", "Hello there.")


async def test_and_does_not_get_in_otherwise(page: Page) -> None:
    from gradio_client.exceptions import AuthenticationError

    for more in ({}, {"auth": ("boss", "wrong")}, {"auth": ("", "")}):
        with pytest.raises(AuthenticationError):
            await through(page.url, lambda client: client, **more)


async def test_signing_in_opens_no_answers_without_a_key(page: Page) -> None:
    def call(client: Any) -> Any:
        asked = str({"instruction_nochat": "hi"})
        return ast.literal_eval(client.predict(asked, api_name="/submit_nochat_api"))

    told = await through(page.url, call, auth=("boss", PW))
    assert told["response"].startswith("Invalid Access Key")


@pytest.mark.parametrize("user", [f"boss:{PW}", "guest:x"])
async def test_another_relay_signs_in(page: Page, user: str) -> None:
    asked = {"messages": [{"role": "user", "content": "hi"}], "model": "parrot"}
    async with second_relay(f"gradio:{page.url}:{user}", KEY) as kernel:
        assert [model.name for model in kernel.models()] == ["parrot"]
        async with kernel.stream("chat", {**asked, "stream": True}) as answer:
            text = "".join([chunk.text async for chunk in answer])
        assert text == (await kernel.generate("chat", asked)).text == "Hello there."


async def test_another_relay_without_a_login_is_told(page: Page) -> None:
    for server in (page.url, f"gradio:{page.url}", f"gradio:{page.url}:boss:wrong"):
        async with second_relay(server, KEY) as kernel:
            (status,) = kernel.status()
            assert status.state != "healthy"
            assert "login" in status.reason, server
            with pytest.raises(RelayError):
                await kernel.generate("chat", {"messages": [{"role": "user", "content": "hi"}]})


async def owner_of(http: httpx.AsyncClient) -> str:
    """Whose events a page's are, by Gradio's queue as a browser uses it."""
    config = (await http.get("/config")).json()
    number = next(d["id"] for d in config["dependencies"] if d["api_name"] == "whose")
    body = {"data": [], "fn_index": number, "session_hash": "s1"}
    joined = await http.post("/gradio_api/queue/join", json=body)
    joined.raise_for_status()
    params = {"session_hash": "s1"}
    async with http.stream("GET", "/gradio_api/queue/data", params=params) as stream:
        async for line in stream.aiter_lines():
            if '"process_completed"' in line:
                return str(httpx.Response(200, text=line[5:]).json()["output"]["data"][0])
    raise AssertionError("the event did not end")


async def test_events_know_who_sent_them(page: Page) -> None:
    owners = []
    for form in ({"username": "boss", "password": PW}, {"guest": "1"}, {"guest": "1"}):
        async with httpx.AsyncClient(
            base_url=page.url, headers=BROWSER, timeout=20, trust_env=False
        ) as http:
            assert (await http.post("/login", data=form)).status_code == 303
            assert "dependencies" in (await http.get("/")).text
            owners.append(await owner_of(http))
    assert owners[0] == "user:boss"
    assert owners[1].startswith("guest:")
    assert owners[1] != owners[2]


async def test_files_go_up_for_those_who_are_signed_in(page: Page) -> None:
    async with httpx.AsyncClient(
        base_url=page.url, headers=BROWSER, timeout=20, trust_env=False
    ) as http:
        files = {"files": ("dot.png", b"\x89PNG\r\n\x1a\n", "image/png")}
        assert (await http.post("/gradio_api/upload", files=files)).status_code == 401
        await http.post("/login", data={"username": "boss", "password": PW})
        own = {"origin": page.url}
        sent = await http.post("/gradio_api/upload", files=files, headers=own)
        (path,) = sent.json()
        back = await http.get(f"/gradio_api/file={path}")
        assert back.content == b"\x89PNG\r\n\x1a\n"
        assert "img-src 'self' data: blob:" in back.headers["content-security-policy"]
        await http.post("/logout")
        assert (await http.get(f"/gradio_api/file={path}")).status_code == 401


async def test_the_login_endpoint_of_h2ogpt(page: Page) -> None:
    toggles = ["on"] * 14
    forms = {
        "in March 2024": (None, "boss", PW, None, None, None),
        "later": (None, KEY, [], *toggles, "boss", PW, None, None, None),
    }
    for values in forms.values():
        told = await through(
            page.url, lambda c, v=values: c.predict(*v, api_name="/login"), auth=("guest", "")
        )
        assert told == "boss is signed in."
    wrong = (None, "boss", "wrong", None, None)
    with pytest.raises(Exception, match="The name or the password is not right"):
        await through(page.url, lambda c: c.predict(*wrong, api_name="/login"), auth=("guest", ""))


async def test_signing_in_opens_nothing_under_v1(page: Page, tmp_path: Path) -> None:
    settings = quick(api_key=KEY)
    sock = bind("127.0.0.1", 0)
    url = address(sock)
    async with (
        Kernel(settings, ["echo:m"], Plugins.of(echo=echo)) as kernel,
        running(create_app(kernel, settings), settings, sock),
        httpx.AsyncClient(timeout=20, trust_env=False) as http,
    ):
        form = {"username": "boss", "password": PW}
        assert (await http.post(f"{page.url}/login", data=form)).status_code == 200
        (cookie,) = http.cookies.jar
        sent = [{"cookie": f"{cookie.name}={cookie.value}"}]
        sent += [{"authorization": f"Bearer {word}"} for word in (PW, cookie.value, "boss")]
        for headers in sent:
            assert (await http.get(f"{url}/v1/models", headers=headers)).status_code == 401
        good = {"authorization": f"Bearer {KEY}"}
        assert (await http.get(f"{url}/v1/models", headers=good)).status_code == 200


async def test_beyond_loopback_with_a_key(tmp_path: Path) -> None:
    settings = quick(save_dir=str(tmp_path), api_key=KEY)
    async with mounted(FakeRelay(view("parrot")), settings, local=False) as page:

        def call(client: Any) -> Any:
            return ast.literal_eval(client.predict(wish(), api_name="/submit_nochat_api"))

        assert (await through(page.url, call, auth=("any", KEY)))["response"] == "Hello there."
        async with second_relay(f"gradio:{page.url}:any:{KEY}", KEY) as kernel:
            assert [model.name for model in kernel.models()] == ["parrot"]
