"""Formulas between single dollar signs, and what only looks like one."""

from __future__ import annotations

import time

import pytest

from h2o_relay_ui.latex import with_formulas


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("$x$", r"\(x\)"),
        ("so $x^2 + y$, and $\\frac{1}{2}$.", r"so \(x^2 + y\), and \(\frac{1}{2}\)."),
        ("($n$)", r"(\(n\))"),
        ("$5 \\times 3$", r"\(5 \times 3\)"),
        ("$3 x = 9$", r"\(3 x = 9\)"),
    ],
)
def test_formulas_are_found(text: str, shown: str) -> None:
    assert with_formulas(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "from $5 to $10",
        "$5 or $6, and US$5",
        "it costs $5 (or 6$)",
        "echo $HOME:$PATH and $x; echo $y",
        r"a \$5 b \$6",
        "one $",
        "$ x $",
        "$$x$$",
        "$x\ny$",
        "`$x$` and ``a ` $y$``",
        "```\n$x$\n```",
        "~~~sh\n$x$ is not closed yet",
        "  ```py\n$x$\n  ```",
        r"\(x\) and \[y\]",
    ],
)
def test_what_is_no_formula_stays_as_it_is(text: str) -> None:
    assert with_formulas(text) == text


def test_what_follows_code_is_looked_at_again() -> None:
    assert with_formulas("`$a$` $b$\n```\n$c$\n```\n$d$") == (
        "`$a$` \\(b\\)\n```\n$c$\n```\n\\(d\\)"
    )


@pytest.mark.parametrize("piece", ["$x ", "`$", "``` $\n", "$1 ", "~~~\n$"])
def test_long_texts_take_no_long_time(piece: str) -> None:
    text = piece * (40_000 // len(piece))
    begun = time.perf_counter()
    with_formulas(text)
    assert time.perf_counter() - begun < 5
