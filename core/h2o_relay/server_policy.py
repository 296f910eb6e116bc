"""Which servers may be added while the relay runs, and what they are given: against requests that
are forged through the relay (OWASP API7, SSRF).

What the operator writes, on the command line or in the file, is not judged. What is added later
may come from anybody who may use the page: its host is resolved once for each connection, every
address is judged, and a judged address is the one that is dialled, so that a name that changes in
between gains nothing. The kernel sends all that such a server is asked over a client of its own
that has the policy (`Kernel`, `Catalog`), so that a connection of the operator's is never used.

Ranges: RFC 6890 and IANA's registries of special addresses, as `ipaddress` has them; addresses of
metadata services: the documentation of AWS, Google Cloud, Azure, Oracle Cloud and Alibaba Cloud.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Final

from .errors import Forbidden, UpstreamDNSError, UpstreamUnreachable
from .hosts import is_for_this_machine
from .http_head import Origin, split_url
from .settings import Settings
from .types import Server

Address = IPv4Address | IPv6Address
CODE = "address_refused"
PARAM = "inference_server"
FLAG = "--allow-private-servers"
METADATA: Final = frozenset(
    map(ipaddress.ip_address, (
        "169.254.169.254", "169.254.170.2", "169.254.170.23", "fd00:ec2::254", "fd00:ec2::23",
        "fd20:ce::254", "168.63.129.16", "192.0.0.192", "100.100.100.200",
    ))
)  # fmt: skip
"""Where clouds tell a machine its credentials (AWS, and most others; Google, Azure, Oracle,
Alibaba)."""
NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
COMPATIBLE: Final = ipaddress.IPv6Network("::/96")
UNICAST: Final = ipaddress.IPv6Network("2000::/3")
"""All that is routed on the internet (RFC 4291, 2.4)."""


class ServerPolicy:
    """`private`: servers may be in a private network or here; `trusted`: who adds them may use the
    keys and the identity of the operator's environment for an address of their own.
    """

    def __init__(self, *, private: bool, trusted: bool) -> None:
        self.private = private
        self.trusted = trusted

    @classmethod
    def of(cls, settings: Settings) -> ServerPolicy:
        """A relay that nobody else can reach serves whoever runs it."""
        here = is_for_this_machine(settings)
        allowed = settings.allow_private_servers
        return cls(private=here if allowed is None else allowed, trusted=here)

    # Before a server is added, changed or looked at.

    async def check(self, server: Server) -> None:
        """Raises Forbidden for a server that may not be added, InvalidRequest for a URL that is
        none. A name that cannot be resolved now passes: it is judged again when it is dialled.
        """
        if server.url is None:
            return
        if not self.trusted and server.options.get("auth", "key") != "key":
            raise Forbidden(
                "A server that is added here cannot use the relay's own identity: give it a key.",
                param=PARAM, code="identity_refused",
            )  # fmt: skip
        origin, _, _ = split_url(server.url)
        try:
            await self.resolve(origin.host, origin.port)
        except UpstreamUnreachable as error:
            raise Forbidden(error.message, param=PARAM, code=CODE) from None
        except OSError:
            return

    def environment(self, server: Server, env: Mapping[str, str]) -> Mapping[str, str]:
        """What of the environment a server is completed with: a key or an identity of the
        operator's goes to no address that somebody else chose.
        """
        return env if self.trusted or server.url is None else {}

    # When it is dialled.

    async def resolve(self, host: str, port: int) -> list[str]:
        """The addresses of a host, in the resolver's order. Raises OSError where it has none, and
        UpstreamUnreachable (`address_refused`) where one of them may not be asked.
        """
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        texts = list(dict.fromkeys(str(place[0]) for *_, place in found))
        for text in texts:
            if reason := self.refusal(ipaddress.ip_address(text)):
                raise UpstreamUnreachable(f"{host} is {reason}", code=CODE)
        return texts

    def refusal(self, address: Address) -> str:
        """Why an address may not be asked; "" if it may."""
        meant = inside(address)
        if METADATA & set(meant):
            return "where a cloud keeps its machines' credentials, which no server may be added at"
        if any(one.is_multicast or (one.version == 4 and one.is_reserved) for one in meant):
            return "no address of a server"
        if self.private or all(map(is_public, meant)):
            return ""
        return (
            "in a private network or on this machine, where no server may be added while the relay "
            f"runs ({FLAG} allows it)"
        )

    async def dial(
        self, made: Callable[[], asyncio.Protocol], origin: Origin, tls: ssl.SSLContext | None
    ) -> None:
        """Connect to a judged address of the origin; TLS is verified for its name. Raises OSError
        and UpstreamUnreachable.
        """
        loop = asyncio.get_running_loop()
        problem: OSError = OSError("no address")
        name = origin.host if tls is not None else None
        for address in await self.resolve(origin.host, origin.port):
            try:
                await loop.create_connection(
                    made, address, origin.port, ssl=tls, server_hostname=name
                )
            except ssl.SSLError:
                raise
            except OSError as error:
                problem = error
            else:
                return
        raise problem

    async def pinned(self, url: str) -> tuple[str, dict[str, str], str]:
        """The same for what a proxy is asked to dial: the URL with a judged address in the place
        of the host, the Host header and the name for TLS. Raises RelayError.
        """
        origin, path, host = split_url(url)
        try:
            address, *_ = await self.resolve(origin.host, origin.port)
        except OSError as error:
            message = "the upstream server's name could not be resolved"
            raise UpstreamDNSError(message) from error
        shown = f"[{address}]" if ":" in address else address
        scheme = "https" if origin.secure else "http"
        return f"{scheme}://{shown}:{origin.port}{path}", {"host": host}, origin.host


def inside(address: Address) -> list[Address]:
    """An address, and the IPv4 addresses that stand in it for who translates: mapped (RFC 4291),
    compatible (the same), 6to4 (RFC 3056), Teredo (RFC 4380), NAT64 (RFC 6052).
    """
    if isinstance(address, IPv4Address):
        return [address]
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    found: list[Address] = [address]
    if address.sixtofour is not None:
        found.append(address.sixtofour)
    if address.teredo is not None:
        found += address.teredo
    if address in NAT64 or address in COMPATIBLE:
        meant = IPv4Address(int(address) & 0xFFFFFFFF)
        found = [meant] if address in NAT64 else [address, meant]
    return found


def is_public(address: Address) -> bool:
    """Whether anybody on the internet reaches the same server there."""
    return address.is_global and (isinstance(address, IPv4Address) or address in UNICAST)


def keyless(
    before: Mapping[str, Any], change: Mapping[str, Any], keys: tuple[str, ...]
) -> set[str]:
    """The `keys` of an entry that do not outlive a change: a key belongs to the server that it was
    given for, and is given again with another one.
    """
    moved = PARAM in change and change[PARAM] != before.get(PARAM)
    return {key for key in keys if moved and key not in change}
