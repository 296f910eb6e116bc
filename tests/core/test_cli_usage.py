"""`h2o usage`: what people and programs are told, from the store and from a relay that runs."""

from __future__ import annotations

import asyncio
import csv
import json
import time
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path

import pytest

from h2o_relay.accounting.prices import Price, Prices
from h2o_relay.accounting.usage_kept import KeptUsage
from h2o_relay.accounting.usage_query import UsageRow
from h2o_relay.cli import main
from h2o_relay.commands.usage_table import money
from h2o_relay.store import Keys, Store
from h2o_relay.testing.settings import quick

from .running_relay import ADMIN, KEY, Relay, Running
from .usage_kit import record

H2O = Callable[..., tuple[int, str, str]]
PRICES = Prices({"*": Price(input=1, output=1)}, "EUR")
HEADS = "Key Requests Errors Prompt Cached Answer Estimated Cost p50 p95"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, no_settings: None) -> None:
    monkeypatch.delenv("H2O_URL", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> H2O:
    def run(*words: str) -> tuple[int, str, str]:
        code = main(["usage", *words])
        return code, *capsys.readouterr()

    return run


async def fill(usage: KeptUsage) -> None:
    now = time.time()
    usage.note(record(key="env", at=now, model="b", prompt_tokens=1_500))
    usage.note(record(key="env", at=now, model="=b", status=500, code="boom", cost=None))
    usage.note(record(key="gone", at=now - 40 * 86400))
    usage.note(record(key="env", at=now, model="a", estimated=True, cost=0.00042))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a store of four requests."""

    async def filled() -> None:
        async with KeptUsage(quick(save_dir=str(tmp_path)), lambda: PRICES) as usage:
            await fill(usage)
        async with Store(f"sqlite:///{tmp_path}/relay.db") as store:
            await Keys(store).create({"name": "ci"})

    asyncio.run(filled())
    return tmp_path


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Relay]:
    """A relay that keeps usage."""
    with Running("echo:a") as running:
        usage = KeptUsage(quick(save_dir=str(tmp_path / "relay")), lambda: PRICES)
        running.call(usage.__aenter__())
        running.admin.kept = usage
        running.call(fill(usage))
        try:
            yield running
        finally:
            running.call(usage.__aexit__(None, None, None))


def test_the_store_is_read(call: H2O, folder: Path) -> None:
    code, out, err = call("--save-dir", str(folder))
    head, row = out.splitlines()
    assert (code, err) == (0, "1 requests are in no cost: their models have no price\n")
    assert " ".join(head.split()) == HEADS
    assert row.split() == ["env", "3", "1", "1,700", "120", "30", "33", "%", "0.25", "0.49", "s",
                           "0.49", "s"]  # fmt: skip


def test_rows_have_a_sum(call: H2O, folder: Path) -> None:
    out = call("--save-dir", str(folder), "--by", "model")[1]
    rows = [line.split() for line in out.splitlines()[1:]]
    assert {row[0] for row in rows} == {"a", "b", "=b", "in"}
    assert rows[-1][:3] == ["in", "all", "3"]


def test_what_is_asked_for(call: H2O, folder: Path) -> None:
    def rows(*words: str) -> list[dict[str, object]]:
        return list(json.loads(call("--save-dir", str(folder), "--json", *words)[1])["data"])

    assert len(rows("--since", "60d")) == 2
    assert len(rows("--since", "60d", "--until", "30d")) == 1
    assert len(rows("--by", "day,model", "--by", "code")) == 3
    assert [row["requests"] for row in rows("--by", "")] == [3]
    assert [row["requests"] for row in rows("--model", "a", "--model", "b")] == [2]
    assert rows("--caller", "gone") == []
    assert [row["requests"] for row in rows("--code", "boom")] == [1]


def test_csv_is_for_spreadsheets(call: H2O, folder: Path) -> None:
    code, out, _ = call("--save-dir", str(folder), "--csv", "--by", "key,model", "--since", "60d")
    rows = list(csv.DictReader(StringIO(out)))
    assert (code, len(rows)) == (0, 4)
    models = {row["model"] for row in rows}
    assert "'=b" in models, "a spreadsheet would work it out"
    one = next(row for row in rows if row["model"] == "b")
    assert (one["requests"], one["prompt_tokens"], one["cost"]) == ("1", "1500", "0.25")
    assert (one["currency"], one["key"], one["key_name"]) == ("", "env", "")
    boom = next(row for row in rows if row["model"] == "'=b")
    assert (boom["errors"], boom["cost"], boom["p50"]) == ("1", "", "")


def test_the_currency_is_the_files(call: H2O, folder: Path) -> None:
    Path("h2o.yaml").write_text("prices: {currency: CHF, models: {x: {input: 1, output: 1}}}")
    words = ("--save-dir", str(folder), "--config", "h2o.yaml")
    assert "Cost (CHF)" in call(*words)[1]


def test_nothing_was_used(call: H2O, folder: Path) -> None:
    words = ("--save-dir", str(folder), "--caller", "nobody")
    assert call(*words) == (0, "", "nobody used anything in this time\n")
    assert json.loads(call(*words, "--json")[1])["data"] == []
    assert call(*words, "--csv")[1].count("\n") == 1


def test_no_store_is_made_by_looking(call: H2O, tmp_path: Path) -> None:
    code, out, err = call("--save-dir", str(tmp_path / "none"))
    assert (code, out) == (1, "")
    assert err.startswith(f"h2o: there is no store: {tmp_path}/none/relay.db")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--by", "modle"), "did you mean 'model'"),
        (("--since", "soon"), "'since' is a point in time"),
        (("--csv", "--json"), "give one of them"),
        (("--since", "1d", "--until", "2d"), "'until' is not after 'since'"),
    ],
)
def test_mistakes(call: H2O, folder: Path, words: tuple[str, ...], told: str) -> None:
    code, out, err = call("--save-dir", str(folder), *words)
    assert (code, out) == (2, "")
    assert told in err


def test_a_relay_is_asked(call: H2O, relay: Relay) -> None:
    code, out, _ = call("--url", relay.url, "--key", ADMIN)
    assert (code, out.splitlines()[1].split()[:3]) == (0, ["env", "3", "1"])
    assert "Cost (EUR)" in out
    rows = json.loads(call("--url", relay.url, "--key", ADMIN, "--json", "--by", "model")[1])
    assert {row["group"]["model"] for row in rows["data"]} == {"a", "b", "=b"}
    assert rows["currency"] == "EUR"


def test_a_relay_tells_its_operator_alone(call: H2O, relay: Relay) -> None:
    for key in (KEY, "wrong"):
        code, out, err = call("--url", relay.url, "--key", key)
        assert (code, out) == (1, "")
        assert "only to who has its admin key" in err


def test_the_relay_of_this_machine_is_asked_if_it_lets_us(
    call: H2O, relay: Relay, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("H2O_OPENAI_PORT", relay.url.rpartition(":")[2])
    monkeypatch.setenv("H2O_SAVE_DIR", str(folder))
    code, out, err = call()
    assert code == 0
    assert "Cost" in out
    assert "(EUR)" not in out
    assert "this is what the store has" in err
    monkeypatch.setenv("ADMIN_PASS", ADMIN)
    assert "(EUR)" in call()[1]


def test_a_relay_that_keeps_none_says_so(call: H2O) -> None:
    with Running("echo:a") as running:
        code, _, err = call("--url", running.url, "--key", ADMIN)
    assert code == 1
    assert "this relay keeps no usage" in err


@pytest.mark.parametrize(
    ("amount", "shown"),
    [(None, None), (0, "0.00"), (1234.5, "1,234.50"), (0.5, "0.5"), (0.00042, "0.00042")],
)
def test_money(amount: float | None, shown: str | None) -> None:
    assert money(amount) == shown


def test_the_page_has_every_figure() -> None:
    page = (Path(__file__).parents[2] / "docs" / "usage.md").read_text(encoding="utf-8")
    for name in UsageRow.__dataclass_fields__:
        assert f"`{name}`" in page
