"""Clients for AWS: one per account, region, service and flavour, made lazily and kept in a bounded cache.

Two flavours. `read` retries by itself (5 attempts in all): looking twice harms nobody. `create` sends exactly once,
because botocore silently re-sends CreateSnapshot, CopySnapshot and CreateImage after a time-out, which AWS answers
with a second snapshot (measured 2026-11 with botocore 1.44: one lost answer, two snapshots).

Where AWS is (endpoints, certificates, base credentials) comes from the SDK's own settings: AWS_ENDPOINT_URL,
profiles, the environment. One loader of AWS's models is shared by all sessions (models.py says why).
"""

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote, urlsplit
from urllib.request import proxy_bypass

import botocore.session
from botocore.config import Config
from botocore.exceptions import ClientError

from tasks.secrets import Secret
from workers.aws.credentials import assumed_role
from workers.aws.errors import EXPIRED_CODES, THROTTLED_CODES, outcome_code
from workers.aws.models import instant, models
from workers.driver import Account
from workers.repository.http import proxy_for

Client = Any  # a botocore client: its methods are generated from AWS's models at run time
Flavour = Literal["read", "create"]
# service, operation, account name, region, outcome ('ok' or the error's code), seconds
OnCall = Callable[[str, str, str, str, str, float], None]
# service, operation, account name, region: may raise the error family, and then the call is not sent
BeforeCall = Callable[[str, str, str, str], None]

_ATTEMPTS: dict[Flavour, int] = {"read": 5, "create": 1}
# A throttled look is taken once more within a second. The SDK's further pauses, up to 20 s, would be a thread asleep
# beside a queue of work for others: the job is put off instead.
_THROTTLED_ATTEMPTS = 2
# Credentials are fetched inside the call that needs them. STS answers in tens of milliseconds; with at most 50 s for it
# a creating call is over before its job's lease is (workers.fence).
_STS_ATTEMPTS, _STS_READ_TIMEOUT = 3, 10.0
_BUSY = 8  # times the connections for objects: jobs copy sixteen at once each (workers.syncing)


@dataclass(frozen=True)
class AwsSettings:
    """How AWS is reached, beyond what the SDK reads from its own environment.

    Seconds: a connection that takes longer than 5 s goes to a broken network, and 30 s without an answer is more
    than EC2's create calls need; shorter would make results unknown that were only slow.
    """

    proxy_address: str = ""
    proxy_port: int = 0
    proxy_user: str = ""
    proxy_password: Secret = Secret("")
    connect_timeout: float = 5.0
    read_timeout: float = 30.0
    clients: int = 256  # two for each account and region in use; some 0.1 MB each, and a connection or two
    connections: int = 16  # per client: a worker's threads share one

    def proxies(self) -> dict[str, str] | None:
        """What botocore takes as proxies; None leaves it to the environment (HTTPS_PROXY)."""
        if not self.proxy_address:
            return None
        login = ""
        if self.proxy_user:
            login = f"{quote(self.proxy_user, safe='')}:{quote(self.proxy_password.reveal(), safe='')}@"
        port = f":{self.proxy_port}" if self.proxy_port else ""
        url = f"http://{login}{self.proxy_address}{port}"
        return {"http": url, "https": url}


@dataclass(frozen=True)
class Entry:
    """What decides as whom and where a session speaks: the parts of an account that matter for entering it."""

    name: str
    role_arn: str
    external_id: Secret
    profile: str
    region: str


class Sessions:
    """Makes and keeps clients; safe to be shared by threads."""

    def __init__(
        self,
        settings: AwsSettings | None = None,
        on_call: OnCall | None = None,
        before_call: BeforeCall | None = None,
        patient: Callable[[], bool] = lambda: False,
    ) -> None:
        self._settings = settings or AwsSettings()
        self._on_call, self._before_call, self._patient = on_call, before_call, patient
        self._lock = threading.RLock()
        self._sessions: dict[Entry, botocore.session.Session] = {}
        self._clients: OrderedDict[Hashable, Client] = OrderedDict()
        self._numbers: dict[Entry, str] = {}

    def at(self, account: Account, region: str) -> "Clients":
        """The clients of one account and region."""
        return Clients(self, account, region)

    def client(self, account: Account, region: str, service: str, flavour: Flavour) -> Client:
        """One client. Its credentials renew themselves; no call is made here for an account with a role."""
        entry = _entry(account, region)
        key = (entry, service, flavour)
        with self._lock:
            if key in self._clients:
                self._clients.move_to_end(key)
                return self._clients[key]
            client = self._make(self._session(entry), region, service, flavour)
            self._clients[key] = client
            while len(self._clients) > self._settings.clients:
                self._clients.popitem(last=False)  # a thread that still uses it keeps it alive
            return client

    def session(self, account: Account, region: str) -> botocore.session.Session:
        """The session behind an account's clients, for what signs its own requests; credentials renew themselves."""
        with self._lock:
            return self._session(_entry(account, region))

    def way(self, account: Account, region: str, endpoint: str) -> tuple[str, str]:
        """For what speaks to an endpoint without the SDK: the proxy's URL ('' for none), as settings, HTTPS_PROXY and
        NO_PROXY say, and the file of certificates to trust ('' for the system's)."""
        bundle = self.session(account, region).get_config_variable("ca_bundle")
        return proxy_for(endpoint, self._settings.proxies()), bundle or os.environ.get("REQUESTS_CA_BUNDLE", "")

    def proxies(self) -> dict[str, str] | None:
        """The settings' proxies, as the SDK takes them."""
        return self._settings.proxies()

    def number(self, account: Account, region: str) -> str:
        """The account's 12 digits: as configured, else asked once (sts GetCallerIdentity, botocore errors)."""
        if account.number:
            return account.number
        entry = _entry(account, region)
        known = self._numbers.get(entry)
        if known is None:
            known = str(self.client(account, region, "sts", "read").get_caller_identity()["Account"])
            self._numbers[entry] = known
        return known

    def forget(self, entry: Entry) -> None:
        """Drop credentials and clients of an entry: the next call gets new ones."""
        with self._lock:
            self._sessions.pop(entry, None)
            for key in [key for key in self._clients if isinstance(key, tuple) and key[0] == entry]:
                del self._clients[key]

    def _session(self, entry: Entry) -> botocore.session.Session:
        if entry in self._sessions:
            return self._sessions[entry]
        base = self._bare(entry, entry.profile)
        session = base
        if entry.role_arn:
            session = self._bare(entry, "")
            session._credentials = assumed_role(  # type: ignore[attr-defined]
                lambda: self._make(base, entry.region, "sts", "read"), entry.role_arn, entry.external_id, entry.name
            )
        self._sessions[entry] = session
        return session

    def _bare(self, entry: Entry, profile: str) -> botocore.session.Session:
        session = botocore.session.Session(profile=profile or None)
        session.register_component("data_loader", models())
        session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=instant)
        session.register("before-call", lambda **event: self._begins(entry, **event))
        session.register("needs-retry", self._give_way)
        session.register("after-call", lambda **event: self._ended(entry, **event))
        session.register("after-call-error", lambda **event: self._ended(entry, **event))
        return session

    def _begins(self, entry: Entry, event_name: str, context: dict[str, Any], **event: Any) -> None:  # noqa: ARG002
        if self._before_call is not None:
            service, operation = event_name.split(".", 2)[1:]
            self._before_call(service, operation, entry.name, entry.region)
        context["snapfleet_started"] = time.monotonic()

    def _give_way(self, **event: Any) -> None:
        """Ends a throttled call after its second attempt, before the SDK sleeps, unless its work may be slowed down; S3
        asks every client to slow down while it spreads a prefix. Raises what the SDK would in the end."""
        if event["operation"].service_model.service_name == "s3" or self._patient():
            return
        parsed: Any = event["response"][1] if event["response"] else {}
        code = str(parsed.get("Error", {}).get("Code", ""))
        if event["attempts"] >= _THROTTLED_ATTEMPTS and code in THROTTLED_CODES:
            raise ClientError(parsed, event["operation"].name)

    def _ended(self, entry: Entry, event_name: str, context: dict[str, Any], **event: Any) -> None:
        code = outcome_code(event.get("parsed"), event.get("exception"))
        if code in EXPIRED_CODES:
            self.forget(entry)
        if self._on_call is not None:
            _, service, operation = event_name.split(".", 2)
            seconds = time.monotonic() - context.get("snapfleet_started", time.monotonic())
            self._on_call(service, operation, entry.name, entry.region, code, seconds)

    def _make(self, session: botocore.session.Session, region: str, service: str, flavour: Flavour) -> Client:
        attempts, patience = _ATTEMPTS[flavour], self._settings.read_timeout
        if service == "sts":
            attempts, patience = min(attempts, _STS_ATTEMPTS), min(patience, _STS_READ_TIMEOUT)

        def create(proxies: dict[str, str] | None) -> Client:
            config = Config(
                retries={"mode": "standard", "total_max_attempts": attempts},
                connect_timeout=self._settings.connect_timeout,
                read_timeout=patience,
                max_pool_connections=self._settings.connections * (_BUSY if service == "s3" else 1),
                tcp_keepalive=True,
                user_agent_extra="snapfleet",
                proxies=proxies,
            )
            return session.create_client(service, region_name=region, config=config)

        proxies = self._settings.proxies()
        client = create(proxies)
        # botocore ignores NO_PROXY once proxies are given, and the endpoint is known only from a client
        if proxies and proxy_bypass(urlsplit(client.meta.endpoint_url).netloc):
            return create({})
        return client


class Clients:
    """The clients of one account and region, as drivers use them."""

    def __init__(self, sessions: Sessions, account: Account, region: str) -> None:
        self.sessions = sessions
        self.account = account
        self.region = region

    def read(self, service: str = "ec2") -> Client:
        """For calls that may be sent twice: looking, deleting, tagging, sharing, and creates with a client token."""
        return self.sessions.client(self.account, self.region, service, "read")

    def create(self, service: str = "ec2") -> Client:
        """For calls that make something and have no token: sent once."""
        return self.sessions.client(self.account, self.region, service, "create")

    def number(self) -> str:
        """The account's 12 digits."""
        return self.sessions.number(self.account, self.region)


def _entry(account: Account, region: str) -> Entry:
    return Entry(account.name, account.role_arn, account.external_id, account.profile, region)
