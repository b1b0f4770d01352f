"""Which addresses a crawler may connect to: names are resolved once, checked, and pinned.

A page may link to `http://169.254.169.254/` or to a name that points there. Every connection goes
to an address that was checked here, so that a second DNS answer (rebinding) changes nothing.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

Address = IPv4Address | IPv6Address
Lookup = Callable[[str], list[str]]

_NAT64 = IPv6Network("64:ff9b::/96")
# Cloud metadata services that live inside otherwise private ranges.
_METADATA = frozenset({ip_address("fd00:ec2::254"), ip_address("169.254.169.254")})
_DNS_SECONDS = 10.0
_DNS_ATTEMPTS = 2


class PrivateAddress(OSError):
    """The host's address is not one a crawler may connect to."""


class DnsError(OSError):
    """The host's name does not resolve."""


def is_refused(address: Address, private_allowed: bool) -> bool:
    """Whether connecting to the address is refused.

    Public addresses never are. Loopback and private ones are, unless allowed; link-local, metadata,
    multicast and reserved ones always. IPv4 inside IPv6 (mapped, 6to4, NAT64) counts as itself.
    """
    inner = _embedded(address)
    if inner is not None:
        return is_refused(inner, private_allowed)
    never = address.is_link_local or address.is_multicast or address.is_unspecified
    if never or address in _METADATA:
        return True
    if address.is_loopback:  # before is_reserved: ::1 counts as reserved too
        return not private_allowed
    if address.is_global:
        return False
    return not (private_allowed and address.is_private and not address.is_reserved)


def _embedded(address: Address) -> IPv4Address | None:
    if isinstance(address, IPv4Address):
        return None
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


def system_lookup(host: str) -> list[str]:
    """Addresses of a name, by the system's resolver."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class PinnedResolver(AbstractResolver):
    """aiohttp's resolver: answers from the pins only. `pin` a host before connecting to it."""

    def __init__(self, private_hosts: Iterable[str] = (), lookup: Lookup = system_lookup) -> None:
        """`private_hosts`: names (or address literals) whose private addresses are allowed."""
        self._private = frozenset(private_hosts)
        self._lookup = lookup
        self._pins: dict[str, asyncio.Task[list[str]]] = {}

    async def pin(self, host: str) -> list[str]:
        """Checked addresses of a host, resolved at most once. Raises DnsError, PrivateAddress."""
        if host not in self._pins:
            self._pins[host] = asyncio.ensure_future(self._checked(host))
        return await asyncio.shield(self._pins[host])

    async def _checked(self, host: str) -> list[str]:
        addresses = await self._addresses(host)
        for address in addresses:
            # One bad address among good ones is an attack or a mistake: refuse them all.
            if is_refused(ip_address(address.partition("%")[0]), host in self._private):
                raise PrivateAddress(f"{host} has the address {address}, which is not public")
        return addresses

    async def _addresses(self, host: str) -> list[str]:
        try:
            return [str(ip_address(host.strip("[]")))]
        except ValueError:
            pass  # a name, not an address literal
        loop = asyncio.get_running_loop()
        for attempt in range(_DNS_ATTEMPTS):
            try:
                lookup = loop.run_in_executor(None, self._lookup, host)
                return await asyncio.wait_for(lookup, _DNS_SECONDS)
            except (OSError, UnicodeError, TimeoutError) as error:
                final = getattr(error, "errno", None) == socket.EAI_NONAME
                if final or attempt == _DNS_ATTEMPTS - 1:
                    raise DnsError(f"{host} does not resolve: {error}") from error
            await asyncio.sleep(1.0)
        raise DnsError(f"{host} does not resolve")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """aiohttp's hook: the pinned addresses, never a fresh lookup."""
        return [_result(host, address, port) for address in await self.pin(host)]

    async def close(self) -> None:
        """Nothing to close."""


def _result(host: str, address: str, port: int) -> ResolveResult:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    entry: Any = {
        "hostname": host,
        "host": address,
        "port": port,
        "family": family,
        "proto": 0,
        "flags": socket.AI_NUMERICHOST,
    }
    return entry
