"""Which hosts are this machine, and who may reach a relay that listens there."""

from __future__ import annotations

import ipaddress

from .api_keys import is_listed
from .settings import Settings

ANY = "*"


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
    listed = settings.enforce_h2ogpt_api_key is not False and is_listed(settings)
    return bool(settings.api_key) or listed


def is_exposed(settings: Settings) -> bool:
    """Whether anybody on the network could use the relay: it listens there and has no key."""
    return not (is_keyed(settings) or settings.allow_open or is_loopback(settings.host))


def host_allowed(header: str, settings: Settings) -> bool:
    """Whether a request's Host header names this relay, so that it comes from where it says.

    A web page can have a browser send requests to loopback under a name of its own (DNS
    rebinding). Whoever has a key is who he is whatever the name; without one only loopback's own
    names, the address that is listened on and `allowed_hosts` will do.
    """
    allowed = {name.strip().lower() for name in settings.allowed_hosts.split(",")}
    if is_keyed(settings) or settings.allow_open or ANY in allowed:
        return True
    if not header:
        return True  # no browser leaves it out
    name = header.rsplit(":", 1)[0] if not header.endswith("]") else header
    name = name.strip("[]").rstrip(".").lower()
    return is_loopback(name) or name == settings.host.lower() or name in allowed
