"""docs/api.md against the code: every field and header it names is one that the relay knows."""

import re
from pathlib import Path

import h2o_relay
import h2o_relay_proxy
from h2o_relay import max_time
from h2o_relay.turn import SEEN_TO

PAGE = (Path(__file__).parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
SOURCES = "\n".join(
    path.read_text(encoding="utf-8")
    for package in (h2o_relay, h2o_relay_proxy)
    for path in Path(next(iter(package.__path__))).rglob("*.py")
)


def section(title: str) -> str:
    return PAGE.split(f"## {title}\n")[1].split("\n## ")[0]


def first_cells(title: str) -> list[str]:
    rows = [line for line in section(title).splitlines() if line.startswith("| `")]
    return [name for row in rows for name in re.findall(r"`([^`]+)`", row.split("|")[1])]


def test_fields() -> None:
    assert set(first_cells("Fields")) == (SEEN_TO | {max_time.FIELD}) - {"stop", "messages"}


def test_headers() -> None:
    for name in first_cells("Headers of answers"):
        told = name.removeprefix("x-h2o-")
        assert name in SOURCES or f'tell("{told}"' in SOURCES, name


def test_notes_are_all_told_of() -> None:
    notes = set(re.findall(r'\.tell\("([a-z-]+)"', SOURCES))
    assert {f"x-h2o-{note}" for note in notes} <= set(first_cells("Headers of answers"))
