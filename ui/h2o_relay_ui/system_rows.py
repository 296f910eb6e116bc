"""The system tab's parts as HTML. Everything in it that somebody else wrote is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from h2o_relay.admin import System
from h2o_relay.settings import Settings, default

from .words import NOTHING, duration, text

KNOWN = frozenset(item.name for item in fields(Settings))
TONES = {"loaded": "good", "found": "idle", "quarantined": "bad"}
STATES = {"loaded": "in use", "found": "ready", "quarantined": "quarantined"}
LINES = 200  # of the log


def facts(system: System, now: float) -> str:
    """What runs, since when."""
    packages = ", ".join(f"{text(n)} {text(v)}" for n, v in system.packages.items())
    return _pairs(
        {
            "h2o relay": text(system.version),
            "Running for": duration(max(0.0, now - system.started)),
            "Python": text(system.python),
            "Packages": packages,
            "Instance": f"<code>{text(system.instance)}</code>",
        }
    )


def plugins(listed: Iterable[Mapping[str, Any]]) -> str:
    rows = "".join(_plugin(each) for each in listed)
    return f'<div class="system-plugins">{rows}</div>' if rows else "<div>There is none.</div>"


def _plugin(each: Mapping[str, Any]) -> str:
    state = str(each.get("state") or "")
    reason = text(each.get("reason") or "", 1000)
    return (
        f'<div class="system-plugin"><span class="system-dot is-{TONES.get(state, "idle")}"></span>'
        f"<b>{text(each.get('name') or '')}</b><span>{text(each.get('version') or '')}</span>"
        f"<span>{text(STATES.get(state, state))}</span>"
        f'<span class="system-reason">{reason}</span></div>'
    )


def settings(given: Mapping[str, Any]) -> str:
    """What is not as it is by default first; the rest is folded."""
    own = {name: value for name, value in given.items() if changed(name, value)}
    rest = {name: value for name, value in given.items() if name not in own}
    shown = _pairs({text(name): value_of(value) for name, value in own.items()})
    if not own:
        shown = "<div>Everything is as it is by default.</div>"
    folded = _pairs({text(name): value_of(value) for name, value in rest.items()})
    return f"{shown}<details><summary>By default: {len(rest)}</summary>{folded}</details>"


def changed(name: str, value: Any) -> bool:
    """Whether a setting is not what it is by default."""
    return name not in KNOWN or value != default(name)


def value_of(value: Any) -> str:
    if value is None or value == "":
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"<code>{text(value, 1000)}</code>"


def log(lines: Iterable[str]) -> str:
    """The last lines. Their order is turned in system.css too, which keeps the end in sight."""
    last = list(lines)[-LINES:]
    if not last:
        return "<div>Nothing was logged yet.</div>"
    rows = "".join(f"<div>{text(line, 1000)}</div>" for line in reversed(last))
    return f'<div class="system-lines" tabindex="0">{rows}</div>'


def _pairs(values: Mapping[str, str]) -> str:
    rows = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in values.items() if value)
    return f'<dl class="system-pairs">{rows}</dl>'
