"""Which hosts are this machine, and who may reach a relay that listens there."""

from __future__ import annotations

import ipaddress

from .api_keys import enforced_of
from .settings import Settings

ANY = "*"
FLAG = "--allowed-hosts"


def is_loopback(host: str) -> bool:
    """Whether a host name or address means this machine without asking anybody."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_keyed(settings: Settings) -> bool:
    """Whether callers of the API present a key. Raises SettingError for a list that is none."""
    return bool(settings.api_key) or enforced_of(settings)


def is_exposed(settings: Settings) -> bool:
    """Whether anybody on the network could use the relay: it listens there and has no key."""
    return not (is_keyed(settings) or settings.allow_open or is_loopback(settings.host))


def is_for_this_machine(settings: Settings) -> bool:
    """Whether nobody else can reach the relay: it listens on loopback, and nothing says that
    somebody stands in front of it who lets others through.
    """
    fronted = allowed_names(settings) or settings.root_path
    return is_loopback(settings.host) and not fronted


def allowed_names(settings: Settings) -> frozenset[str]:
    """The names of `allowed_hosts`, in lower case."""
    names = (name.strip().strip("[]").rstrip(".").lower()
             for name in settings.allowed_hosts.split(","))  # fmt: skip
    return frozenset(name for name in names if name)


def name_of(header: str) -> str:
    """The host of a Host header, without its port, in lower case."""
    name = header if header.endswith("]") else header.rsplit(":", 1)[0]
    return name.strip("[]").rstrip(".").lower()


def names_this(header: str, settings: Settings) -> bool:
    """Whether a Host header has a name of this machine, of the address that is listened on, or of
    `allowed_hosts`.
    """
    name, allowed = name_of(header), allowed_names(settings)
    return ANY in allowed or is_loopback(name) or name == settings.host.lower() or name in allowed


def host_allowed(header: str, settings: Settings) -> bool:
    """Whether a request's Host header names this relay, so that it comes from where it says.

    A web page can have a browser send requests to loopback under a name of its own (DNS
    rebinding). Whoever has a key is who he is whatever the name; without one only loopback's own
    names, the address that is listened on and `allowed_hosts` will do.
    """
    if is_keyed(settings) or settings.allow_open:
        return True
    return not header or names_this(header, settings)  # no browser leaves it out
