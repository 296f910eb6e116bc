"""The page serves no file of the machine's, and a link to it asks nothing by itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from h2o_relay.testing.settings import quick

from .chat_page import opened
from .fakes import FakeRelay, view
from .mounted import Page, mounted

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(240),
    # Gradio's use of pandas.
    pytest.mark.filterwarnings("ignore:'future.no_silent_downcasting'"),
    pytest.mark.filterwarnings("ignore:The copy keyword is deprecated"),
    pytest.mark.skipif(find_spec("gradio") is None, reason="Gradio is not installed"),
]
HERE = Path(__file__)
SECRET = "secret-canary"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found: Path = tmp_path_factory.mktemp("store")
    return found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def page(folder: Path) -> AsyncIterator[Page]:
    """A page for anybody on this machine, its data in `folder`."""
    async with mounted(FakeRelay(view("parrot")), quick(save_dir=str(folder))) as found:
        yield found


def files_of(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def test_files_of_the_machine(
    page: Page, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (folder / "h2o.yaml").write_text(SECRET)
    (tmp_path / "keys.json").write_text(SECRET)
    monkeypatch.chdir(tmp_path)
    kept = files_of(folder)
    assert len(kept) > 1, "the database is there, too"
    wanted = [
        "/etc/passwd", "../../../../../../etc/passwd", "..%2f..%2f..%2fetc%2fpasswd",
        "http://169.254.169.254/latest", "http://127.0.0.1:1/", "\\\\host\\x", "file:///etc/passwd",
        "keys.json", str(tmp_path / "keys.json"), str(HERE), "/proc/self/environ",
        *map(str, kept),
    ]  # fmt: skip
    async with httpx.AsyncClient(base_url=page.url, timeout=20, trust_env=False) as http:
        for path in wanted:
            for prefix in ("/gradio_api/file=", "/file=", "/gradio_api/file/"):
                reply = await http.get(f"{prefix}{path}")
                assert reply.status_code in (400, 403, 404), (prefix, path)
                assert SECRET not in reply.text
                assert "root:" not in reply.text
        assert (await http.get("/gradio_api/file=/etc/passwd")).status_code == 403


async def test_a_url_asks_nothing() -> None:
    relay = FakeRelay(view("parrot"))
    async with opened(relay, q="hi", prompt="hi", message="hi", text="hi"):
        assert relay.asked == []
        assert relay.calls == []
