"""The conformance kit: what a plugin's tests are made of, ours and third parties'.

`BackendSuite` is the suite that a plugin's tests subclass (`LocalSuite` where there is no server),
`ScriptedUpstream` the server that it talks to, `echo` a backend without a network for tests of
frontends. Names are imported when they are first used, since pytest loads this package wherever
h2o relay is installed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import echo as echo
    from .sockets import no_sockets as no_sockets
    from .suite import BackendSuite as BackendSuite
    from .suite import LocalSuite as LocalSuite
    from .suite import deviates as deviates
    from .suite import does_not_apply as does_not_apply
    from .upstream import ScriptedUpstream as ScriptedUpstream
    from .wire import OpenAIWire as OpenAIWire
    from .wire import Wire as Wire

_HOMES = {
    "BackendSuite": "suite",
    "LocalSuite": "suite",
    "OpenAIWire": "wire",
    "ScriptedUpstream": "upstream",
    "Wire": "wire",
    "deviates": "suite",
    "does_not_apply": "suite",
    "no_sockets": "sockets",
}

__all__ = [
    "BackendSuite",
    "LocalSuite",
    "OpenAIWire",
    "ScriptedUpstream",
    "Wire",
    "deviates",
    "does_not_apply",
    "echo",
    "no_sockets",
]


def __getattr__(name: str) -> Any:
    if name == "echo":
        return import_module(f"{__name__}.echo")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
