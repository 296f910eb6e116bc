"""Usage by key on the system tab: what is asked of the relay, and what is shown of its answer."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from importlib.util import find_spec

import pytest

from h2o_relay.errors import StoreError, UpstreamRejected
from h2o_relay_ui.usage_view import KEPT_NOWHERE, KEYS, drawn, usage
from h2o_relay_ui.words import NOTHING

from .fakes import FakeRelay, context, view
from .usage_kit import by_key, used

pytestmark = [
    pytest.mark.skipif(find_spec("gradio") is None, reason="Gradio is not installed"),
    pytest.mark.timeout(120),  # Gradio's import
]


def cells(source: str) -> list[list[str]]:
    """The texts of the table's rows, without markup."""
    rows = re.findall(r"<tr[^>]*>(.*?)</tr>", source)
    found = [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row) for row in rows]
    return [[re.sub(r"<[^>]*>", "", cell) for cell in row] for row in found]


def test_each_key_has_a_row_and_all_have_one() -> None:
    report = by_key(
        used("key_7", cost=None, estimated=617), used("user:ann", requests=1, errors=0),
        used("page", estimated=1), currency="EUR", names={"key_7": "team a"},
    )  # fmt: skip
    head, *rows = cells(drawn(report))
    assert head == ["Key", "Requests", "Errors", "Prompt tokens", "Answer tokens", "Cost (EUR)",
                    "Estimated"]  # fmt: skip
    assert rows == [
        ["team a key_7", "1,234", "5", "56,789", "10", NOTHING, "50 %"],
        ["user:ann", "1", "0", "56,789", "10", "1.50", NOTHING],
        ["page the chat page", "1,234", "5", "56,789", "10", "1.50", "&lt;1 %"],
        ["All", "2,469", "10", "170,367", "30", "3.00", "25 %"],
    ]


def test_a_figure_says_what_it_is_where_there_is_no_head() -> None:
    source = drawn(by_key(used("env"), currency="EUR"))
    told = re.findall(r'<td data-name="([^"]*)">([^<]*)</td>', source)
    assert told[0] == ("Requests", "1,234")
    assert ("Cost (EUR)", "1.50") in told
    assert "H2OGPT_OPENAI_API_KEY" in source
    assert "All" not in source


@pytest.mark.parametrize(
    ("cost", "told"),
    [(0.0, "0.00"), (0.00001, "&lt;0.0001"), (0.0123, "0.0123"), (1234.5, "1,234.50")],
)
def test_money(cost: float, told: str) -> None:
    assert cells(drawn(by_key(used("a", cost=cost))))[1][5] == told


def test_what_is_left_out_is_told() -> None:
    source = drawn(by_key(*(used(f"k{n}") for n in range(KEYS + 3)), trouble="not <stored>"))
    assert len(cells(source)) == 1 + KEYS + 1
    assert "And 3 more keys" in source
    assert "not &lt;stored&gt;" in source
    assert "without a price" not in source
    assert "4 requests of models without a price" in drawn(by_key(used("a", unpriced=4)))
    assert "without a price" not in drawn(by_key(used("a", unpriced=4, cost=None)))
    assert "Nobody used anything" in drawn(by_key(trouble="odd"))
    assert "odd" in drawn(by_key(trouble="odd"))


async def test_the_time_that_is_chosen_is_asked_for_and_shared() -> None:
    relay = FakeRelay(view("a"))
    page = context(relay)
    for span in ("today", "7d", "30d", "7d", "anything", "today"):
        await usage(page, span)
    queries = [query for name, query in relay.calls if name == "usage"]
    now = time.time()
    assert [query.by for query in queries] == [("key",)] * 3
    today, week, month = (query.since for query in queries)
    begun = datetime.fromtimestamp(today, UTC)
    assert (begun.hour, begun.minute, begun.second) == (0, 0, 0)
    assert 0 <= now - today <= 86400 + 5
    assert week == pytest.approx(now - 7 * 86400, abs=5)
    assert month == pytest.approx(now - 30 * 86400, abs=5)


async def test_why_there_is_nothing() -> None:
    relay = FakeRelay(view("a"))
    not_kept = StoreError("this relay keeps no usage", code="usage_not_kept")
    for error in (not_kept, UpstreamRejected(500, not_kept.body()["error"])):
        relay.failing["usage"] = error
        assert await usage(context(relay), "7d") == f"<div>{KEPT_NOWHERE}</div>"
    relay.failing["usage"] = StoreError("locked")
    assert "locked" in await usage(context(relay), "7d")
    assert "is-bad" in await usage(context(relay), "7d")
