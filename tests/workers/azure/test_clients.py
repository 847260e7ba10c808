"""How a subscription is reached: clouds, proxies, who enters it, and what is never sent."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from deploy.sandbox.azure import seed
from tasks import errors
from tasks.secrets import Secret
from tests.azure import AzureRig
from tests.proxy import login_proxy
from workers.azure import build_drivers
from workers.azure.clients import CLOUDS, AzureSettings, Subscriptions
from workers.driver import Scope


@pytest.mark.parametrize(
    ("cloud", "endpoint", "authority"),
    [
        ("public", "https://management.azure.com", "https://login.microsoftonline.com"),
        ("us-government", "https://management.usgovcloudapi.net", "https://login.microsoftonline.us"),
        ("china", "https://management.chinacloudapi.cn", "https://login.chinacloudapi.cn"),
    ],
)
def test_each_cloud_has_its_own_resource_manager_and_login(cloud: str, endpoint: str, authority: str) -> None:
    """Feature 3: sovereign clouds need a setting, and no other code."""
    assert AzureSettings(cloud=cloud).places() == (endpoint, authority)


def test_an_unknown_cloud_is_refused_with_the_known_ones() -> None:
    with pytest.raises(errors.Invalid, match=f"Known: {', '.join(CLOUDS)}"):
        AzureSettings(cloud="moon").places()


@pytest.mark.parametrize("given", [{"endpoint": "http://arm"}, {"authority": "http://login"}])
def test_azure_is_never_spoken_to_in_the_clear(given: dict[str, str]) -> None:
    with pytest.raises(errors.Invalid, match="only spoken to over HTTPS"):
        AzureSettings(**given).places()


def test_a_login_at_the_proxy_is_quoted_and_names_in_no_proxy_go_past_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Feature 72"""
    given = AzureSettings(
        proxy_address="proxy.local", proxy_port=3128, proxy_user="a@b", proxy_password=Secret("p/w:1")
    )
    assert given.proxies("https://management.azure.com") == {"https": "http://a%40b:p%2Fw%3A1@proxy.local:3128"}
    monkeypatch.setenv("NO_PROXY", "management.azure.com")
    assert given.proxies("https://management.azure.com") == {}
    assert AzureSettings().proxies("https://management.azure.com") == {}


def test_login_and_resource_manager_are_both_reached_through_the_proxy(azure: AzureRig) -> None:
    """Feature 72: what a worker sends to Azure goes through the proxy, with its login."""
    with login_proxy("worker", "pass/word@") as (port, hosts):
        settings = AzureSettings(
            endpoint=azure.cloud.url, authority=azure.cloud.url, ca=azure.cloud.ca, proxy_address="127.0.0.1",
            proxy_port=port, proxy_user="worker", proxy_password=Secret("pass/word@"),
        )  # fmt: skip
        driver = build_drivers(Subscriptions(settings), azure.pace)["azure-disk"]
        assert driver.discover(Scope(azure.account, seed.HOME, ("azure-disk",)), None).resources
        assert set(hosts) == {urlsplit(azure.cloud.url).netloc}
        assert len(hosts) == 2, "one tunnel for the login, one for the resource manager"


def test_blobs_are_deleted_through_the_proxy(azure: AzureRig) -> None:
    """Feature 72: bacpac files are asked about outside of the SDK's clients."""
    with login_proxy("worker", "pass") as (port, hosts):
        settings = AzureSettings(
            endpoint=azure.cloud.url, authority=azure.cloud.url, ca=azure.cloud.ca, proxy_address="127.0.0.1",
            proxy_port=port, proxy_user="worker", proxy_password=Secret("pass"),
        )  # fmt: skip
        clients = Subscriptions(settings).at(azure.account)
        assert clients.remove_blob(f"{azure.cloud.url}/blobs/backups/never-there.bacpac") is False
        assert len(hosts) == 2, "one tunnel for the login, one for the blob"


@contextmanager
def identity_endpoint(azure: AzureRig, asked: list[dict[str, list[str]]]) -> Iterator[str]:
    """What a machine with a managed identity has beside it: it gives tokens of the emulated principal."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(parse_qs(urlsplit(self.path).query))
            form = {"client_id": seed.CLIENT, "client_secret": seed.SECRET, "grant_type": "client_credentials"}
            url = f"{azure.cloud.url}/{seed.TENANT}/oauth2/v2.0/token"
            token = requests.post(url, data=form, verify=azure.cloud.ca, timeout=10).json()["access_token"]
            body = {"access_token": token, "expires_on": "4102444800", "resource": "r", "token_type": "Bearer"}
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/token"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("client", ["", "5d929ae3-d1c5-4ee9-8e5a-a6d9b0b6a8d1"])
def test_without_a_secret_the_machines_managed_identity_enters(
    azure: AzureRig, monkeypatch: pytest.MonkeyPatch, client: str
) -> None:
    """Feature 3: the system's identity, or the one that client_id names; no secret is kept anywhere."""
    asked: list[dict[str, list[str]]] = []
    with identity_endpoint(azure, asked) as url:
        monkeypatch.setenv("IDENTITY_ENDPOINT", url)
        monkeypatch.setenv("IDENTITY_HEADER", "of-this-machine")
        account = replace(azure.account, name="managed", client_id=client, client_secret=Secret(""))
        assert azure.driver.discover(Scope(account, seed.HOME, ("azure-disk",)), None).resources
    assert asked[0].get("client_id", [""]) == [client]
    assert asked[0]["resource"] == [azure.cloud.url]
