"""How prompts and prompt types look, on a terminal and for programs."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import click

from .failures import Mistake
from .printable import one_line, printable
from .tables import print_json, print_table

if TYPE_CHECKING:
    from ..prompts.prompt_type import PromptType
    from .prompt_render import Shown

Way = Literal["raw", "bytes", "escaped", "frame", "json"]
WAYS: tuple[Way, ...] = ("raw", "escaped", "frame", "json")
SOME = 2  # models of a type that the table names
HIDDEN = re.compile(
    r"[^\S \n]|[\x00-\x08\x0e-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069]"
)


def way_of_showing(flags: Mapping[str, Any]) -> Way:
    """What was asked for; else a frame on a terminal and the prompt's `bytes` elsewhere."""
    chosen = [way for way in WAYS if flags.get(way)]
    if len(chosen) > 1:
        raise Mistake(f"--{chosen[0]} and --{chosen[1]} exclude each other")
    if chosen:
        return chosen[0]
    return "frame" if sys.stdout.isatty() else "bytes"


def show(shown: Shown, way: Way) -> None:
    """Print a rendered prompt. What is no part of it goes to stderr, but for `frame`."""
    prompt = shown.rendered.prompt
    if way == "json":
        print_json(as_json(shown))
    elif way == "frame":
        _about(shown, err=False)
        click.echo()
        for line in framed(prompt):
            click.echo(click.style("│ ", dim=True) + line)
    elif way == "escaped":
        click.echo(json.dumps(prompt, ensure_ascii=False))
        _about(shown, err=True)
    else:
        click.echo(prompt.encode(), nl=False)
        if way == "bytes":
            _about(shown, err=True)


def as_json(shown: Shown) -> dict[str, Any]:
    """The prompt and all that belongs to it.

    `stop_sequences` are the type's own in h2oGPT's order, `stop_set` all that end an answer: an
    answer's marker ends it, too.
    """
    rendered, choice = shown.rendered, shown.choice
    kind = rendered.prompt_type
    own = kind.terminate_response if choice.kind is not None else rendered.stops
    return {
        "prompt": rendered.prompt,
        "prompt_type": "template" if choice.kind is None else kind.name,
        "number": kind.number if choice.kind is not None else None,
        "chosen_by": choice.chosen_by,
        "reason": choice.reason,
        "stop_sequences": list(own),
        "stop_set": sorted(rendered.stops),
        "can_handle_system_prompt": kind.takes_system if choice.kind is not None else None,
        "endings": list(kind.endings),
        "messages": shown.messages,
    }


def framed(prompt: str) -> list[str]:
    """The prompt's lines, `⏎` for a line break, `·` for a space before it, escapes for the rest."""
    lines = prompt.split("\n")
    breaks = ["⏎"] * (len(lines) - 1) + [""]
    return [_visible(line) + end for line, end in zip(lines, breaks, strict=True) if line or end]


def _visible(line: str) -> str:
    body = line.rstrip(" ")
    text = HIDDEN.sub(lambda found: found[0].encode("unicode_escape").decode(), body)
    return text + "·" * (len(line) - len(body))


def _about(shown: Shown, *, err: bool) -> None:
    choice, rendered = shown.choice, shown.rendered
    kind = choice.kind
    name = "chat template" if kind is None else f"prompt type {kind.name} ({kind.number})"
    click.echo(one_line(f"{name}: {choice.reason}"), err=err)
    stops = "  ".join(quoted(sorted(rendered.stops))) or "none"
    click.echo(f"stop sequences: {printable(stops)}", err=err)
    if kind is not None and kind.endings:
        click.echo(f"removed from the end: {'  '.join(quoted(kind.endings))}", err=err)


def quoted(texts: Iterable[str]) -> list[str]:
    """Texts as JSON strings, so that each stands on one line."""
    return [json.dumps(text, ensure_ascii=False) for text in texts]


def type_row(kind: PromptType) -> dict[str, Any]:
    """A prompt type for programs; its models are in lower case, as they are compared."""
    from ..prompts.catalog import models

    return {
        "prompt_type": kind.name,
        "number": kind.number,
        "can_handle_system_prompt": kind.takes_system,
        "system_prompt": kind.system_default,
        "stop_sequences": list(kind.terminate_response),
        "stop_set": sorted(kind.stops),
        "models": [model for model, name in models().items() if name == kind.name],
    }


def type_table(rows: Sequence[Mapping[str, Any]], wanted: str | None) -> None:
    """The types, one a row; the models that were asked for come first."""
    headers = ("No.", "Type", "System", "Stop sequences", "Models")
    word = (wanted or "").lower()
    print_table(
        headers,
        [
            (
                row["number"],
                row["prompt_type"],
                "yes" if row["can_handle_system_prompt"] else "no",
                "  ".join(quoted(row["stop_set"])) or None,
                _some(row["models"], word),
            )
            for row in rows
        ],
    )


def _some(models: Sequence[str], word: str) -> str | None:
    ordered = sorted(models, key=lambda model: word not in model)
    more = len(ordered) - SOME
    return ", ".join(ordered[:SOME]) + (f", {more} more" if more > 0 else "") or None
