"""Clients for Azure: one per subscription and credentials, made lazily and kept in a bounded cache.

Nothing is repeated by the SDK (`retry_total=0`): its own retries sleep inside a worker for as long as Retry-After says,
POST included (azure-core 1.41, measured 2026-11). HTTPS always; where Azure is comes from the settings, so that
sovereign clouds and tests need no other code. Clients are cheap (0.15 ms and 2 KiB with a shared transport).
"""

import json
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote, urlsplit
from urllib.request import proxy_bypass

import requests
from azure.core import PipelineClient
from azure.core.pipeline import PipelineRequest, PipelineResponse
from azure.core.pipeline.policies import BearerTokenCredentialPolicy, SansIOHTTPPolicy
from azure.core.pipeline.transport import RequestsTransport
from azure.core.rest import HttpRequest
from azure.identity import ClientSecretCredential, ManagedIdentityCredential
from azure.mgmt.compute import ComputeManagementClient
from azure.mgmt.sql import SqlManagementClient
from requests.adapters import HTTPAdapter

from tasks.errors import Invalid, Throttled
from tasks.secrets import Secret
from workers.azure.errors import translated
from workers.azure.limits import Starts
from workers.azure.rates import SPENT, Rates
from workers.azure.seats import OwnSeats, Seats
from workers.driver import Account
from workers.repository.places import BLOB_SUFFIX

# service, operation, account name, outcome ('ok' or the status), seconds
OnCall = Callable[[str, str, str, str, float], None]


class Budget(Protocol):
    """The fleet's paces. A call is named by service ('azure-compute'), operation, account and region ('' for none)."""

    def take(self, service: str, operation: str, account: str, region: str) -> None:
        """Count a call that is about to be sent. Raises Throttled when it should not be."""

    def throttled(self, service: str, operation: str, account: str, region: str) -> None:
        """Azure refused a call because there were too many."""


# Resource manager and login of each cloud (azure-mgmt-core, ARM_ENDPOINTS; azure-identity, AzureAuthorityHosts).
CLOUDS: Mapping[str, tuple[str, str]] = {
    "public": ("https://management.azure.com", "https://login.microsoftonline.com"),
    "us-government": ("https://management.usgovcloudapi.net", "https://login.microsoftonline.us"),
    "china": ("https://management.chinacloudapi.cn", "https://login.chinacloudapi.cn"),
}
# Suffix of storage accounts in each cloud (the clouds' own endpoint tables).
_BLOB_SUFFIXES: Mapping[str, str] = {
    "public": BLOB_SUFFIX,
    "us-government": "blob.core.usgovcloudapi.net",
    "china": "blob.core.chinacloudapi.cn",
}
_STORAGE_AUDIENCE = "https://storage.azure.com/.default"  # of all clouds
_TOO_MANY = 429
# A machine's identity endpoint answers within milliseconds where there is one; the SDK's five retries of growing pauses
# would hold a thread for a minute where there is none.
_IDENTITY_RETRIES = 1
_NETWORK_VERSION = "2024-05-01"  # of Microsoft.Network, for interfaces
# One audience for blobs in every cloud; a token takes this version or a later one ("Authorize access to blobs using
# Microsoft Entra ID").
_STORAGE_SCOPE, _STORAGE_VERSION = "https://storage.azure.com/.default", "2021-12-02"


@dataclass(frozen=True)
class AzureSettings:
    """How Azure is reached. `endpoint` and `authority` replace those of `cloud`; `ca` is a file of authorities;
    `blob_endpoint` replaces https://ACCOUNT.blob.SUFFIX, and may have {account} in it.

    Seconds: as for AWS, a connection that takes 5 s goes to a broken network, and 30 s without an answer is more than
    ARM needs to accept a call.
    """

    cloud: str = "public"
    endpoint: str = ""
    authority: str = ""
    ca: str = ""
    proxy_address: str = ""
    proxy_port: int = 0
    proxy_user: str = ""
    proxy_password: Secret = Secret("")
    blob_endpoint: str = ""
    connect_timeout: float = 5.0
    read_timeout: float = 30.0
    clients: int = 512
    connections: int = 32

    def places(self) -> tuple[str, str]:
        """The resource manager and the login service. Raises Invalid for an unknown cloud or a plain address."""
        if self.cloud not in CLOUDS:
            raise Invalid(f"There is no Azure cloud {self.cloud!r}.", advice=f"Known: {', '.join(CLOUDS)}.")
        endpoint, authority = CLOUDS[self.cloud]
        found = (self.endpoint or endpoint).rstrip("/"), (self.authority or authority).rstrip("/")
        if not all(one.startswith("https://") for one in found):
            raise Invalid("Azure is only spoken to over HTTPS: azure_endpoint and azure_authority must begin with it.")
        return found

    def proxies(self, url: str) -> dict[str, str]:
        """What the SDK takes as proxies for an address: none where NO_PROXY names it."""
        if not self.proxy_address or proxy_bypass(urlsplit(url).netloc):
            return {}
        login = ""
        if self.proxy_user:
            login = f"{quote(self.proxy_user, safe='')}:{quote(self.proxy_password.reveal(), safe='')}@"
        port = f":{self.proxy_port}" if self.proxy_port else ""
        return {"https": f"http://{login}{self.proxy_address}{port}"}


class Watch(SansIOHTTPPolicy[Any, Any]):
    """Sees every call and answer: what it was, how it ended, how long it took, what is left of the rates. A call for
    which the rates leave nothing is not sent: Throttled."""

    def __init__(
        self, service: str, account: str, on_call: OnCall | None, rates: Rates, budget: Budget | None = None
    ) -> None:
        self._service, self._account, self._on_call = service, account, on_call
        self._rates, self._budget = rates, budget

    def on_request(self, request: PipelineRequest[Any]) -> None:
        operation, region = operation_name(request.http_request), _region(request.http_request)
        wait = self._rates.hold((self._account, region), operation)
        if wait is not None:
            text = f"Azure's rate for {operation} is nearly used up in {self._account}: others go first."
            raise Throttled(text, code=SPENT, wait=wait)
        if self._budget is not None:
            self._budget.take(self._service, operation, self._account, region)
        request.context["snapfleet_call"] = (operation, region, time.monotonic())

    def on_response(self, request: PipelineRequest[Any], response: PipelineResponse[Any, Any]) -> None:
        operation, region, began = request.context["snapfleet_call"]
        status = int(response.http_response.status_code)
        self._rates.note((self._account, region), operation, response.http_response.headers)
        if self._budget is not None and status == _TOO_MANY:
            self._budget.throttled(self._service, operation, self._account, region)
        if self._on_call is not None:
            outcome = "ok" if status < 400 else str(status)
            self._on_call(self._service, operation, self._account, outcome, time.monotonic() - began)


class _Way(SansIOHTTPPolicy[Any, Any]):
    """Sends each call through the proxy that its address has; a transport by itself knows none."""

    def __init__(self, settings: AzureSettings) -> None:
        self._settings = settings

    def on_request(self, request: PipelineRequest[Any]) -> None:
        request.context.options["proxies"] = self._settings.proxies(request.http_request.url)


def _region(request: Any) -> str:
    """The region that a request's body names; '' for calls of the whole subscription."""
    body = request.content if isinstance(request.content, str | bytes) else ""
    if not body:
        return ""
    try:
        found = json.loads(body)
    except ValueError:
        return ""
    return str(found.get("location") or "") if isinstance(found, dict) else ""


def operation_name(request: Any) -> str:
    """What a call is, without names: 'put-snapshots', 'list-disks', 'get-operation'."""
    words = [word for word in urlsplit(request.url).path.split("/") if word]
    lowered = [word.lower() for word in words]
    method = str(request.method).lower()
    if "locations" in lowered:
        return f"{method}-operation"
    if "providers" not in lowered:
        return f"{method}-subscription"
    rest = words[lowered.index("providers") + 2 :]
    verb = "list" if len(rest) == 1 and method == "get" else method
    return f"{verb}-{(rest[2] if len(rest) > 2 else rest[0])[:40].lower()}" if rest else method


class Subscriptions:
    """Makes and keeps clients; safe to be shared by threads."""

    def __init__(
        self,
        settings: AzureSettings | None = None,
        on_call: OnCall | None = None,
        budget: Budget | None = None,
        seats: Seats | None = None,
    ) -> None:
        self._settings = settings or AzureSettings()
        # The SDK logs every call and answer with its headers at level INFO: a night of polls would fill a disk.
        logging.getLogger("azure").setLevel(logging.WARNING)
        self._on_call, self._budget, self.rates = on_call, budget, Rates()
        self._starts = Starts()
        self.seats: Seats = seats or OwnSeats()
        self._lock = threading.Lock()
        self._clients: OrderedDict[Account, Clients] = OrderedDict()
        self._tokens: dict[Account, Any] = {}
        self._transport: Any = None

    def at(self, account: Account) -> "Clients":
        """The clients of a subscription. Raises Invalid when the account names none."""
        if not account.number:
            raise Invalid(f"The account {account.name} names no subscription.")
        with self._lock:
            if account not in self._clients:
                self._clients[account] = self._make(account)
            self._clients.move_to_end(account)
            while len(self._clients) > self._settings.clients:
                self._clients.popitem(last=False)  # a thread that still uses it keeps it alive
            return self._clients[account]

    def _make(self, account: Account) -> "Clients":
        endpoint, authority = self._settings.places()
        credential = self._credential(account, authority)
        given: dict[str, Any] = {
            "base_url": endpoint,
            "credential_scopes": [f"{endpoint}/.default"],
            "transport": self._shared(),
            "retry_total": 0,
            "polling_interval": 1,
            "user_agent": "snapfleet",
            **self._reach(endpoint),
        }

        def make(client: Any, service: str) -> Any:
            policies = [self._watch(service, account)]
            return client(credential, account.number, per_call_policies=policies, **given)

        compute, sql = make(ComputeManagementClient, "azure-compute"), make(SqlManagementClient, "azure-sql")
        storage: Any = PipelineClient(
            endpoint,
            transport=self._shared(),
            policies=[
                _Way(self._settings),
                BearerTokenCredentialPolicy(credential, _STORAGE_SCOPE),
                self._watch("azure-storage", account),
            ],
        )
        return Clients(account, compute, sql, storage, self._starts, self.seats)

    def blob_endpoint(self, name: str) -> str:
        """Where a storage account is."""
        given, cloud = self._settings.blob_endpoint, self._settings.cloud
        return given.replace("{account}", name) if given else f"https://{name}.{_BLOB_SUFFIXES[cloud]}"

    def storage_token(self, account: Account) -> str:
        """An access token for storage, which the SDK's credential keeps until it is old. Raises the family."""
        with translated("a token for storage"):
            _, authority = self._settings.places()
            with self._lock:
                if account not in self._tokens:
                    self._tokens[account] = self._credential(account, authority)
            return str(self._tokens[account].get_token(_STORAGE_AUDIENCE).token)

    def way(self, url: str = "") -> tuple[str, str]:
        """Proxy and certificate authorities for an address, as the engine's HTTP client takes them, '' for none."""
        return self._settings.proxies(url or self._settings.places()[0]).get("https", ""), self._settings.ca

    def _watch(self, service: str, account: Account) -> Watch:
        return Watch(service, account.name, self._on_call, self.rates, self._budget)

    def _credential(self, account: Account, authority: str) -> Any:
        """A service principal where a secret is configured, else the machine's managed identity."""
        reach = self._reach(authority)
        if not account.client_secret:
            return ManagedIdentityCredential(client_id=account.client_id or None, retry_total=_IDENTITY_RETRIES)
        return ClientSecretCredential(
            account.tenant_id,
            account.client_id,
            account.client_secret.reveal(),
            authority=authority,
            disable_instance_discovery=bool(self._settings.authority),
            retry_total=1,
            **reach,
        )

    def _reach(self, url: str) -> dict[str, Any]:
        proxies = self._settings.proxies(url)
        found: dict[str, Any] = {
            "connection_timeout": self._settings.connect_timeout,
            "read_timeout": self._settings.read_timeout,
        }
        if self._settings.ca:
            found["connection_verify"] = self._settings.ca
        return {**found, **({"proxies": proxies} if proxies else {})}

    def _shared(self) -> Any:
        """One transport for all subscriptions, with room for a worker's threads; identity has its own."""
        if self._transport is None:
            session = requests.Session()
            session.mount("https://", HTTPAdapter(pool_maxsize=self._settings.connections))
            self._transport = RequestsTransport(session=session, session_owner=False, **self._reach(""))
        return self._transport


class Clients:
    """The clients of one subscription, as drivers use them."""

    def __init__(
        self,
        account: Account,
        compute: Any,
        sql: Any = None,
        storage: Any = None,
        starts: Starts | None = None,
        seats: Seats | None = None,
    ) -> None:
        self.account = account
        self.compute = compute
        self.sql = sql
        self.storage = storage
        self.starts = starts or Starts()
        self.seats: Seats = seats or OwnSeats()

    @property
    def subscription(self) -> str:
        """The subscription's id."""
        return self.account.number

    def interface(self, resource_id: str) -> dict[str, Any]:
        """A network interface as Microsoft.Network shows it. Raises the SDK's errors."""
        found: dict[str, Any] = self._network("GET", resource_id).json()
        return found

    def put_interface(self, resource_id: str, body: dict[str, Any]) -> None:
        """Begin to make a network interface, which is followed by what it shows. Raises the SDK's errors."""
        self._network("PUT", resource_id, body)

    def remove_interface(self, resource_id: str) -> None:
        """Begin to delete a network interface. Raises the SDK's errors."""
        self._network("DELETE", resource_id)

    def _network(self, method: str, resource_id: str, body: dict[str, Any] | None = None) -> Any:
        request = HttpRequest(method, resource_id, params={"api-version": _NETWORK_VERSION}, json=body)
        answer = self.compute.send_request(request)
        answer.raise_for_status()
        return answer

    def remove_blob(self, url: str) -> bool:
        """Delete a blob by our own identity; whether it was there. Raises the SDK's errors."""
        request = HttpRequest("DELETE", url, headers={"x-ms-version": _STORAGE_VERSION})
        answer = self.storage.send_request(request)
        if answer.status_code == 404:
            return False
        answer.raise_for_status()
        return True

    def contact(self) -> None:
        """The cheapest call that shows that the subscription can be entered. Raises the SDK's errors."""
        next(iter(self.compute.disks.list().by_page()), None)
