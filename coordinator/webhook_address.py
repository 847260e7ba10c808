"""Which receivers of webhooks are allowed: https anywhere but where clouds keep credentials, http on loopback only.

The name is resolved once and every address it has is judged; the call then goes to the judged address, so that a name
which changes in between leads nowhere else.
"""

import ipaddress
import socket

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Metadata services that are not link-local: AWS over IPv6, Alibaba Cloud, Azure's host, Oracle Cloud's.
_METADATA = frozenset(map(ipaddress.ip_address, ("fd00:ec2::254", "100.100.100.200", "168.63.129.16", "192.0.0.192")))
_METADATA_NAMES = frozenset({"metadata", "metadata.google.internal", "instance-data", "instance-data.ec2.internal"})


class Refusal(Exception):
    """A URL that is never called. The text names the reason, never the URL, which may hold a token."""

    PREFIX = "The webhook URL is refused: "

    def __init__(self, why: str) -> None:
        super().__init__(f"{self.PREFIX}{why}.")


def address_of(scheme: str, host: str, port: int, *, resolve: bool = True) -> str:
    """The address to call. Raises Refusal, or OSError when the name does not resolve.

    With `resolve` False only what the URL itself says is judged, and the name is returned.
    """
    if scheme not in ("http", "https"):
        raise Refusal("it must begin with https://")
    if not host or host.rstrip(".").lower() in _METADATA_NAMES:
        raise Refusal("its host is not allowed")
    if scheme == "http" and not is_loopback(host):
        raise Refusal("http is allowed on loopback only")
    literal = _literal(host)
    if literal is None and not resolve:
        return host
    found = [literal] if literal is not None else _resolve(host, port)
    for address in found:
        _judge(address, scheme)
    return str(found[0])


def is_loopback(host: str) -> bool:
    """Whether a host, as it is written, is this one."""
    literal = _literal(host)
    return host.lower() == "localhost" or (literal is not None and _unwrapped(literal).is_loopback)


def _literal(host: str) -> Address | None:
    """The address that a host already is, also in the old ways of writing one (2852039166, 0xa9fea9fe)."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except OSError:
        return None


def _resolve(host: str, port: int) -> list[Address]:
    entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in entries]


def _judge(address: Address, scheme: str) -> None:
    plain = _unwrapped(address)
    if plain.is_loopback:
        return
    if scheme == "http":  # a name of this host that leads elsewhere
        raise Refusal("http is allowed on loopback only")
    if plain in _METADATA or plain.is_link_local or plain.is_multicast or plain.is_unspecified or plain.is_reserved:
        raise Refusal("its address is link-local, reserved or a metadata service")


def _unwrapped(address: Address) -> Address:
    """The IPv4 address inside an IPv6 one (mapped, 6to4, NAT64), else the address itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in ipaddress.ip_network("64:ff9b::/96"):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address
