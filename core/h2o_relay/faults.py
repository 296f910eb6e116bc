"""What a plugin raises that it should not: one error for callers, the rest for the log."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from .errors import PluginError, RelayError
from .plugins import Plugin

T = TypeVar("T")
log = logging.getLogger(__name__)


def fault(plugin: Plugin, hook: str, error: Exception) -> PluginError:
    """What callers are told when a plugin raises what it should not; the log has the rest."""
    log.error("plugin %s: hook %s failed", plugin.name, hook, exc_info=error)
    return PluginError(f"plugin {plugin.name!r} failed")


def checked_call(plugin: Plugin, hook: str, call: Callable[[Plugin], T]) -> T:
    """Call a plain hook; what it raises becomes a PluginError unless it is ours already."""
    try:
        return call(plugin)
    except RelayError:
        raise
    except Exception as error:
        raise fault(plugin, hook, error) from error
