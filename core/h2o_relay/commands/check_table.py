"""What `h2o check` knows of each server, as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .printable import one_line

LOOKED = ("Server", "Backend", "API", "State", "Models", "Context", "Can")
PARSED = ("server", "backend", "api", "base_url", "has_key", "model")
SHOWN = 60  # characters of an answer


def show(rows: Sequence[Mapping[str, Any]], *, parsed: bool, generated: bool) -> None:
    """Print the rows that could be read; `parsed` where the network was not touched."""
    from .tables import print_table

    good = [row for row in rows if row.get("state") != "invalid"]
    if not good:
        return
    if parsed:
        headers = tuple(name.replace("_", " ").capitalize() for name in PARSED)
        print_table(headers, [[row[name] for name in PARSED] for row in good])
        return
    details = [detail(row) for row in good]
    columns = [*LOOKED, *(["Options"] if any(details) else []), *(["Answer"] if generated else [])]
    table = []
    for row, told in zip(good, details, strict=True):
        cells = [*_cells(row), *([told or None] if any(details) else [])]
        table.append([*cells, answer(row)] if generated else cells)
    print_table(columns, table)


def _cells(row: Mapping[str, Any]) -> tuple[Any, ...]:
    models = row.get("models") or []
    state = row["state"] + (f": {row['reason']}" if row.get("reason") else "")
    return (
        row["server"],
        row.get("backend"),
        row.get("api"),
        state,
        "\n".join(model["id"] for model in models) or None,
        "\n".join(str(model["max_context"] or "-") for model in models) or None,
        can(row.get("capabilities")),
    )


def can(abilities: Mapping[str, Any] | None) -> str | None:
    """Capabilities in a few words."""
    if abilities is None:
        return None
    words = [*abilities["kinds"]]
    if "/embeddings" in abilities["paths"]:
        words.append("embeddings")
    words += ["tokenizer"] if abilities["tokenizer"] else []
    words += ["continues"] if abilities["continues_text"] else []
    words += ["load"] if abilities["load"] else []
    return ", ".join(words)


def detail(row: Mapping[str, Any]) -> str:
    """What a backend was told beside its address: `region=us-east-2 payload=tgi`."""
    told = dict(row.get("options") or {})
    if row.get("payload"):
        told["payload"] = row["payload"]
    return " ".join(f"{name}={value}" for name, value in sorted(told.items()))


def answer(row: Mapping[str, Any]) -> str | None:
    """A round trip in one line: `0.21 s, model: 'Hello'`."""
    trip = row.get("generate")
    if trip is None:
        return None
    if trip["error"]:
        return f"{trip['model']}: {trip['error']}"
    first = trip["time_to_first_token"]
    seconds = trip["seconds"] if first is None else first
    return f"{seconds:.2f} s, {trip['model']}: {one_line(trip['text'], SHOWN)!r}"
