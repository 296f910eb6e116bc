"""Our style sheets against what Gradio does to them.

Gradio writes each rule twice: as it is, and with its own prefix before the selector and after each
of its commas, those within brackets included, and with the first `.dark` alone moved to the front.
What is within @media is written the second way only.
"""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

UI = Path(__file__).parents[2] / "ui" / "h2o_relay_ui"
SHEETS = sorted(UI.glob("*.css"))
NOISE = re.compile(r"""/\*.*?\*/|"[^"]*"|'[^']*'""", re.DOTALL)
SELECTOR = re.compile(r"([^{};]+)\{")
BRACKETED_COMMA = re.compile(r"\([^()]*(?:\([^()]*\)[^()]*)*,")


def selectors(sheet: str) -> list[str]:
    """Those of all rules, in @media too, each with its list as it was written."""
    found = [each.strip() for each in SELECTOR.findall(NOISE.sub('""', sheet))]
    return [each for each in found if not each.startswith("@") and not each[0].isdigit()]


def broken(sheet: str) -> list[str]:
    """The selectors that Gradio's prefix would change the meaning of."""
    return [
        each for each in selectors(sheet)
        if BRACKETED_COMMA.search(each) or (each.count(".dark") and "," in each)
    ]  # fmt: skip


@pytest.mark.parametrize("sheet", SHEETS, ids=lambda path: path.name)
def test_no_selector_is_broken_by_gradios_prefix(sheet: Path) -> None:
    text = sheet.read_text(encoding="utf-8")
    assert selectors(text)
    assert broken(text) == []


@pytest.mark.skipif(find_spec("gradio") is None, reason="Gradio is not installed")
def test_every_sheet_of_the_page_is_looked_at() -> None:
    from h2o_relay_ui.page import CSS

    assert sorted(CSS) == SHEETS


@pytest.mark.parametrize(
    ("rule", "bad"),
    [
        ("#a :is(b, c) { margin: 0; }", True),
        ("#a:not(:has(.b, .c)) { margin: 0; }", True),
        ("#a:not(:has(.b), .c) { margin: 0; }", True),
        ("@media (max-width: 9px) { a:is(b, c) { margin: 0; } }", True),
        (".dark .a, .dark .b { margin: 0; }", True),
        ("#a b, #a:not(:has(c)) d { inset: min(1px, 2px) rgb(0, 0, 0); }", False),
        ("/* a(b, c) */ a[style*=\"x(1, 2)\"] { margin: 0; }", False),
        (".a { width: min(1px, 2px); } .b { width: max(1px, 2px); }", False),
        ("@keyframes k { 50% { transform: scale(1, 2); } } .dark .a { margin: 0; }", False),
    ],
)  # fmt: skip
def test_what_is_broken_is_found(rule: str, bad: bool) -> None:
    assert bool(broken(rule)) == bad
