"""Every row of the security checklist has a test that is there, and a line in the documentation."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from .rows import ELSEWHERE, NOT_YET, ROWS

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "security.md"
OWN = (*sorted(Path(__file__).parent.glob("test_*.py")),
       ROOT / "tests/proxy/test_security_keys.py")  # fmt: skip


@cache
def names_in(path: Path) -> frozenset[str]:
    """Names of a file's tests, those in a class with its name before them."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        within = [f"{node.name}::"] if isinstance(node, ast.ClassDef) else []
        for one in node.body if isinstance(node, ast.ClassDef) else [node]:
            if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef):
                found.add("".join(within) + one.name)
    return frozenset(found)


def named(row: str) -> list[str]:
    """The tests that are called after a row."""
    start = f"test_{row.lower()}_"
    return [f"{path.relative_to(ROOT).as_posix()}::{name}" for path in OWN
            for name in sorted(names_in(path)) if name.startswith(start)]  # fmt: skip


@pytest.mark.parametrize("row", ROWS)
def test_every_row_is_proven(row: str) -> None:
    if row in NOT_YET:
        assert not named(row)
        assert row not in ELSEWHERE
        return
    assert named(row) or ELSEWHERE.get(row), f"nothing proves {row}"


@pytest.mark.parametrize("row", ELSEWHERE)
def test_the_tests_that_are_named_are_there(row: str) -> None:
    assert row in ROWS
    for test in ELSEWHERE[row]:
        path, _, name = test.partition("::")
        assert (ROOT / path).is_file(), test
        assert not name or name in names_in(ROOT / path), test


def test_no_test_is_called_after_a_row_that_there_is_not() -> None:
    for path in OWN:
        for name in names_in(path):
            match = re.match(r"test_(s\d+)_", name)
            assert match is None or match[1].upper() in ROWS, name


def test_the_document_has_every_row_once_with_its_tests() -> None:
    told = re.findall(r"^\| (S\d\d) \| (.+?) \| (.+?) \|$", DOCUMENT.read_text(), re.MULTILINE)
    assert [row for row, _, _ in told] == list(ROWS)
    for row, _, proof in told:
        files = set(re.findall(r"`((?:tests|plugins)/[\w/.]+\.py)`", proof))
        known = {test.partition("::")[0] for test in (*named(row), *ELSEWHERE.get(row, ()))}
        assert files == known, (row, sorted(known))
        assert bool(files) == (row not in NOT_YET), row
