"""The smallest plugin there can be, for tests of what the core does for every plugin."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

from h2o_relay.hookspecs import hookimpl, steady
from h2o_relay.plugins import Plugin, Plugins
from h2o_relay.serverstring import host_fields
from h2o_relay.testing.suite import BackendSuite
from h2o_relay.types import Call, Server, Target


def parse_server_string(text: str) -> Server | None:
    if text.split(":")[0] != "plain":
        return None
    reader, url, key = host_fields(text, "plain", "plain:host:8000")
    return Server(plugin="plain", url=url, key=key, shown=reader.shown)


@steady
def target(server: Server, call: Call) -> Target | None:
    query = f"?{call.query}" if call.query else ""
    headers = {**call.headers, **({"authorization": f"Bearer {server.key}"} if server.key else {})}
    url = f"{server.url}{call.path}{query}"
    return Target(method=call.method, url=url, headers=headers, body=call.body)


def module(**hooks: Callable[..., Any] | None) -> ModuleType:
    """The plugin with hooks added or replaced; None takes one away."""
    chosen = {"parse_server_string": parse_server_string, "target": target, **hooks}
    return module_of("plain", **chosen)


def module_of(plugin: str, **hooks: Callable[..., Any] | None) -> ModuleType:
    """A plugin's module with these hooks; None is no hook."""
    made = ModuleType(plugin)
    for name, hook in hooks.items():
        if hook is not None:
            setattr(made, name, hookimpl(hook))
    return made


def plugins(**hooks: Callable[..., Any] | None) -> Plugins:
    return Plugins.of(plain=module(**hooks))


def plugin(**hooks: Callable[..., Any] | None) -> Plugin:
    return plugins(**hooks).get("plain")


class PlainSuite(BackendSuite):
    """The conformance suite for it: everything passes."""

    plugin = "plain"
    module = module()
    documented = {
        "plain:host": {"url": "http://host/v1", "key": None},
        "plain:host:8000": {"url": "http://host:8000/v1"},
    }
    malformed = ("plain", "plain:", "plain:host:99999")
    secret_string = f"plain:host:8000:None:{BackendSuite.secret}"

    def server_for(self, url: str) -> str:
        return f"plain:{url}:/v1"
