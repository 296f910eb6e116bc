"""Listening sockets: a default port moves on when it is taken, one that was asked for does not."""

from __future__ import annotations

import errno
import ipaddress
import socket

from h2o_relay.settings import SettingError, Settings, about

from .announce import told_port

LOOPBACK = "127.0.0.1"
BACKLOG = 4096  # connections opened at once; with 128 a thousand streams wait for seconds
TRIES = 50  # ports after a taken default that are tried


def api_socket(settings: Settings) -> socket.socket:
    """The socket of the API: on `openai_port`, or, where programs may not use it, on any port of
    this machine alone, for the chat UI. Raises SettingError.
    """
    return listen(settings, "openai_port") if settings.serves_api else bind(LOOPBACK, 0)


def listen(settings: Settings, name: str) -> socket.socket:
    """A listening socket for the port setting `name`. Raises SettingError.

    A default port that is taken moves to the next free one; one that was asked for does not.
    """
    wanted = getattr(settings, name)
    movable = wanted == about(name).default
    flag = f"--{name.replace('_', '-')}"
    for port in range(wanted, min(wanted + TRIES, 65536) if movable else wanted + 1):
        try:
            found = bind(settings.host, port)
        except OSError as error:
            if not movable or not _in_use(error):
                hint = "choose another with " + flag if _in_use(error) else "see --host"
                reason = error.strerror or str(error)
                raise SettingError(
                    f"cannot listen on {settings.host} port {port}: {reason.lower()}; {hint}"
                ) from None
        else:
            if port != wanted:
                told_port(wanted, port, flag)
            return found
    raise SettingError(f"no free port from {wanted} on; choose one with {flag}")


def bind(host: str, port: int, *, several: bool = False) -> socket.socket:
    """A bound, listening TCP socket; with `several` others of this user may have the same port.
    Raises OSError.
    """
    family, _, _, _, place = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if several:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.bind(place)
        made.listen(BACKLOG)
        made.setblocking(False)
    except BaseException:
        made.close()
        raise
    return made


def _in_use(error: OSError) -> bool:
    return error.errno == errno.EADDRINUSE


def inner_socket(settings: Settings) -> socket.socket | None:
    """Where the chat UI's process reaches the API if that speaks https, whose certificate is not
    for this machine's own address: a socket of this machine alone.
    """
    return bind(LOOPBACK, 0) if settings.ssl_certfile else None


def address(made: socket.socket, secure: bool = False) -> str:
    """The URL at which a listening socket is reached from this machine."""
    host, port = made.getsockname()[:2]
    found = ipaddress.ip_address(host.split("%")[0])
    if found.is_unspecified:
        host = "::1" if found.version == 6 else "127.0.0.1"
    scheme = "https" if secure else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
