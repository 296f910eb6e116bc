"""What a relay serves as the text of a configuration file: its servers, whoever named them, its
pools, and the settings and prices of its file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .accounting.prices import NO_PRICES, Prices
from .config import entries_yaml
from .config.setting_values import is_secret
from .errors import InvalidRequest
from .pools import PoolSpec

if TYPE_CHECKING:
    from .entry import Entry

SECRETS = ("h2ogpt_key",)
MASK = "***"
HEAD = "# Secrets are not in this file."
"""How a text begins that lacks some."""


def written(
    entries: Sequence[Entry], pools: Sequence[PoolSpec], settings: Mapping[str, Any],
    prices: Prices = NO_PRICES, *, secrets: bool,
) -> str:  # fmt: skip
    """YAML that `h2o run --config` reads. Without `secrets` those in entries are "***", settings
    that may hold one are left out, and comments at the beginning say so. Raises InvalidRequest for
    what a file cannot hold.
    """
    said = [_said(entry) if secrets else _masked(entry) for entry in entries]
    kept = {name: value for name, value in settings.items() if secrets or not is_secret(name)}
    try:
        text = entries_yaml(said, pools, kept, prices)
    except ValueError as error:
        raise InvalidRequest(str(error)) from None
    return text if secrets else _head(said, sorted(settings.keys() - kept.keys())) + text


def _said(entry: Entry) -> dict[str, Any]:
    """The entry as it was written, listed as it is now."""
    spec = entry.spec
    said = dict((spec.written if spec else None) or {})
    if isinstance(entry.visible, bool) and entry.visible is not said.get("visible", True):
        said["visible"] = entry.visible
    return said


def _masked(entry: Entry) -> dict[str, Any]:
    said = _said(entry)
    masked = {key: MASK if key in SECRETS and value else value for key, value in said.items()}
    if said.get("inference_server"):
        masked["inference_server"] = entry.server.shown
    return masked


def _head(entries: Sequence[Mapping[str, Any]], left_out: Sequence[str]) -> str:
    """Comments that say what is missing; "" if nothing is."""
    lines = []
    if any(MASK in str(entry.get(key)) for entry in entries
           for key in ("inference_server", *SECRETS)):  # fmt: skip
        lines.append(f"# {MASK} stands for a key or a password.")
    if left_out:
        lines.append(f"# Settings that are left out: {', '.join(left_out)}.")
    return "".join(f"{line}\n" for line in (HEAD, *lines)) if lines else ""
