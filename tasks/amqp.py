"""Where the broker is and how we connect to it: one URL, read once, for consumers and publisher alike.

    amqps://user:password@host-a,host-b:5671/vhost?ca=/etc/ssl/ca.pem&cert=/etc/ssl/us.pem&key=/etc/ssl/us.key

Several hosts are tried in turn. `amqps` always verifies the server; there is no way to switch that off. Without `ca`
the host's own certificate authorities count.
"""

from __future__ import annotations

import os
import ssl
from datetime import timedelta
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import pika
import pika.exceptions

from tasks.errors import Invalid

HEARTBEAT = timedelta(seconds=10)
"""A silent partition is noticed after two to three of these: 29 s measured with 10, 69 s with 30 (2026-11-22,
`tests.scenario.recovery`). RabbitMQ's guide calls 5 to 20 s optimal; shorter ones cut connections on a busy host."""

BLOCKED_TIMEOUT = timedelta(seconds=300)
"""How long a connection stays open while the broker refuses to take messages (memory or disk alarm). Long, because a
closed connection loses track of messages which the broker then still takes."""

_CONNECT_SECONDS = 10.0  # a host that does not answer a TCP handshake by then is left for the next one
_PORTS = {"amqp": 5672, "amqps": 5671}
_TLS_KEYS = frozenset(("ca", "cert", "key"))


class TolerantProperties(pika.BasicProperties):  # type: ignore[misc]
    """Message properties that are left out when they cannot be read, instead of ending the connection.

    One message whose header holds a date beyond the calendar made pika 1.4.4 drop the connection at every delivery;
    messages delivered along with it went to the dead queue at the delivery limit (measured 2026-11). Nothing of ours
    depends on a property: the body is signed, and it is judged as usual.
    """

    def decode(self, encoded: bytes, offset: int = 0) -> pika.BasicProperties:
        """As pika's, and never raises."""
        try:
            return super().decode(encoded, offset)
        except Exception:  # noqa: BLE001 - hostile bytes raise anything from struct.error to RecursionError
            return TolerantProperties()


pika.spec.props[pika.BasicProperties.INDEX] = TolerantProperties


def is_local(url: str) -> bool:
    """Whether the URL means the in-process broker: empty or `local:`."""
    return url in ("", "local:", "local://")


def connection_parameters(
    url: str, *, name: str, heartbeat: timedelta = HEARTBEAT, blocked_timeout: timedelta = BLOCKED_TIMEOUT
) -> list[pika.ConnectionParameters]:
    """The parameters for each host of the URL, in the order to try; `name` is what the broker's connection list
    shows.

    Raises Invalid, without the password, when the URL cannot be used, and for the account `guest` (whose password
    everybody knows) on any host but this one.
    """
    try:
        parts = urlsplit(url)
        account, _, hosts = parts.netloc.rpartition("@")
        found = [_host_and_port(host, parts.scheme) for host in hosts.split(",")]
    except ValueError:
        raise Invalid("The broker URL has a host or port that cannot be read.", code="broker-url") from None
    if parts.scheme not in _PORTS or not all(host for host, _ in found):
        raise Invalid("The broker URL must look like amqps://user:password@host/vhost.", code="broker-url")
    user, _, password = account.partition(":")
    user, password = unquote(user) or "guest", unquote(password) or "guest"
    if user == "guest" and any(host not in ("127.0.0.1", "localhost", "::1") for host, _ in found):
        raise Invalid("The broker account guest is for this host only; create an account.", code="broker-guest")
    context = _tls_context(parts)
    turn = os.getpid() % len(found)  # processes begin at different hosts, which spreads them over the cluster
    return [
        pika.ConnectionParameters(
            host=host,
            port=port,
            virtual_host=unquote(parts.path[1:]) or "/",
            credentials=pika.PlainCredentials(user, password),
            heartbeat=int(heartbeat.total_seconds()),
            blocked_connection_timeout=blocked_timeout.total_seconds(),
            socket_timeout=_CONNECT_SECONDS,
            stack_timeout=_CONNECT_SECONDS + 5,
            ssl_options=pika.SSLOptions(context, server_hostname=host) if context else None,
            client_properties={"connection_name": name},
        )
        for host, port in found[turn:] + found[:turn]
    ]


def _host_and_port(text: str, scheme: str) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    return parts.hostname or "", parts.port or _PORTS.get(scheme, 0)


def _tls_context(parts: SplitResult) -> ssl.SSLContext | None:
    options = dict(parse_qsl(parts.query))
    unknown = sorted(options.keys() - _TLS_KEYS)
    if unknown:
        raise Invalid(
            f"The broker URL has an unknown option {unknown[0]!r}; ca, cert and key exist.", code="broker-url"
        )
    if parts.scheme != "amqps":
        if options:
            raise Invalid("The broker URL names certificates but is not amqps.", code="broker-url")
        return None
    try:
        context = ssl.create_default_context(cafile=options.get("ca"))
        if "cert" in options:
            context.load_cert_chain(options["cert"], options.get("key"))
    except OSError as error:  # ssl.SSLError is one
        text = f"A certificate of the broker URL cannot be used ({error.strerror})."
        raise Invalid(text, code="broker-tls") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def sentence(error: BaseException) -> str:
    """What happened, for an operator: without addresses, accounts or the broker's own wording where ours is clearer."""
    if isinstance(error, pika.exceptions.ChannelClosedByBroker):
        return f"RabbitMQ refuses the lanes' queues ({error.reply_code}): one exists with other arguments."
    text = repr(error)
    if "Authentication" in text:
        return "RabbitMQ refuses the account of the broker URL."
    if "AccessDenied" in text or "NOT_ALLOWED" in text:
        return "RabbitMQ refuses access to the virtual host of the broker URL."
    if isinstance(error, pika.exceptions.ConnectionClosedByBroker):
        return f"RabbitMQ closed the connection ({error.reply_code})."
    return f"RabbitMQ cannot be reached ({type(error).__name__})."
