"""What a plugin raises that it should not: one error for callers, the rest for the log. And what is
done with an error that was answered.
"""

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


def let_go(error: BaseException) -> None:
    """Forget where an error that was answered, and those behind it, came from. Their tracebacks
    hold the frames that they passed, which hold them, and the prompt: such a ring would stay until
    the garbage collector looks for it, which counts objects and not how large they are.
    """
    left, seen = [error], set[int]()
    while left:
        one = left.pop()
        if id(one) not in seen:
            seen.add(id(one))
            one.__traceback__ = None
            left += [e for e in (one.__cause__, one.__context__) if e is not None]
