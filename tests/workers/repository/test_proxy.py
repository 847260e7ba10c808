"""The lean client behind a proxy and a private certificate authority, as the SDK would be there (feature 72)."""

import base64
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tasks.secrets import Secret
from tests.bench.thin_server import Connection, Snapshot, World
from tests.workers.repository.servers import CREDENTIALS
from workers.aws.session import AwsSettings, Sessions
from workers.driver import Account
from workers.repository.ebs import EbsClient, EbsSink, EbsSource, start_snapshot
from workers.repository.errors import StoreUnavailable
from workers.repository.http import Http, proxy_for
from workers.repository.pace import Pace

LOGIN = "Basic " + base64.b64encode(b"us er:p@ss").decode()
PROXY_ENVIRONMENT = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def no_proxies_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXY_ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-made authority's certificate for 127.0.0.1, and its key."""
    folder = tmp_path_factory.mktemp("authority")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a private authority")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    kind = serialization.PrivateFormat.PKCS8
    private = key.private_bytes(serialization.Encoding.PEM, kind, serialization.NoEncryption())
    (folder / "key").write_bytes(private)
    (folder / "certificate").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return folder / "certificate", folder / "key"


@pytest.fixture
def secure(tmp_path: Path, certificate: tuple[Path, Path]) -> Iterator[tuple[World, str]]:
    """The stand-in behind TLS, with one snapshot of three blocks, and its address."""
    world = World(str(tmp_path), verify=True)
    disk = tmp_path / "disk"
    with disk.open("wb") as file:
        file.write(b"first".ljust(1 << 19, b"1") + b"second".ljust(1 << 19, b"2") + b"third".ljust(1 << 19, b"3"))
        file.truncate(1 << 30)
    world.snapshots["snap-1"] = Snapshot(str(disk))
    for block in range(3):
        world.snapshots["snap-1"].hash_one(block)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                plain, _ = server.accept()
            except OSError:
                return
            try:
                Tls(context.wrap_socket(plain, server_side=True), world).start()
            except OSError:
                plain.close()  # who does not trust us goes away

    threading.Thread(target=serve, daemon=True).start()
    yield world, f"https://127.0.0.1:{server.getsockname()[1]}"
    server.close()


class Tls(Connection):
    """A connection without sendfile, which would pass TLS by."""

    def file(self, handle: int, start: int, length: int) -> None:
        with open(handle, "rb", closefd=False) as file:
            file.seek(start)
            self.sock.sendall(file.read(length))


@dataclass
class Proxy:
    """A proxy that wants a login: what it was asked for, and its address."""

    address: str = ""
    asked: list[str] = field(default_factory=list)
    refuses: bool = False

    def serve(self, client: socket.socket) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += client.recv(1)
        lines = head.decode().split("\r\n")
        method, target, _ = lines[0].split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        self.asked.append(f"{method} {target}")
        if self.refuses or headers.get("proxy-authorization") != LOGIN:
            client.sendall(b"HTTP/1.1 407 Who?\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            client.close()
            return
        if method != "CONNECT":
            client.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nplain")
            client.close()
            return
        host, _, port = target.rpartition(":")
        beyond = socket.create_connection((host, int(port)))
        client.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
        for one, other in ((client, beyond), (beyond, client)):
            threading.Thread(target=_pass_on, args=(one, other), daemon=True).start()


def _pass_on(one: socket.socket, other: socket.socket) -> None:
    try:
        while data := one.recv(65536):
            other.sendall(data)
    except OSError:
        pass
    other.close()


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    server = socket.create_server(("127.0.0.1", 0))
    made = Proxy(f"http://us%20er:p%40ss@127.0.0.1:{server.getsockname()[1]}")

    def serve() -> None:
        while True:
            try:
                made.serve(server.accept()[0])
            except OSError:
                return

    threading.Thread(target=serve, daemon=True).start()
    yield made
    server.close()


def client_of(address: str, certificate: tuple[Path, Path], proxy: str = "") -> EbsClient:
    return EbsClient(
        address, "us-east-1", lambda: CREDENTIALS, pace=Pace(1000), proxy=proxy, ca_bundle=str(certificate[0])
    )


@pytest.mark.parametrize("through", [False, True])
def test_blocks_are_read_and_written_over_tls_with_or_without_a_proxy(
    secure: tuple[World, str], certificate: tuple[Path, Path], proxy: Proxy, through: bool
) -> None:
    """A private authority is trusted by its bundle, and a proxy that wants a login passes TLS on (feature 72)."""
    world, address = secure
    client = client_of(address, certificate, proxy.address if through else "")
    source = EbsSource(client, "snap-1")
    buffer = memoryview(bytearray(source.block_bytes))
    refs = list(source.blocks(0, 2048))
    assert [ref.index for ref in refs] == [0, 1, 2]
    length, vouched = source.read(refs[1], buffer)
    assert bytes(buffer[:8]) == b"second22"
    snapshot = start_snapshot(client, source.size, "token", {})
    sink = EbsSink(client, snapshot, source.size)
    assert length == source.block_bytes
    assert vouched is not None
    sink.write(1, bytes(buffer), vouched)
    sink.finish()
    assert not world.snapshots[snapshot].pending
    assert proxy.asked == ([f"CONNECT {address.removeprefix('https://')}"] if through else [])


def test_an_unknown_authority_is_not_trusted(secure: tuple[World, str]) -> None:
    with pytest.raises(StoreUnavailable, match="CertVerification"):
        Http(secure[1]).request("GET", "/", {})


def test_a_proxy_that_refuses_is_no_answer_and_its_password_is_not_told(
    secure: tuple[World, str], certificate: tuple[Path, Path], proxy: Proxy
) -> None:
    proxy.refuses = True
    with pytest.raises(StoreUnavailable) as caught:
        Http(secure[1], proxy.address, str(certificate[0])).request("GET", "/", {})
    assert "p@ss" not in str(caught.value)
    assert "p%40ss" not in str(caught.value)


def test_a_plain_endpoint_is_asked_for_by_its_whole_address(proxy: Proxy) -> None:
    answer = Http("http://somewhere.example:81", proxy.address).request("GET", "/x?y=1", {"host": "somewhere"})
    assert bytes(answer.body) == b"plain"
    assert proxy.asked == ["GET http://somewhere.example:81/x?y=1"]


@pytest.mark.parametrize(
    ("environment", "configured", "expected"),
    [
        ({}, None, ""),
        ({"HTTPS_PROXY": "http://env:3128"}, None, "http://env:3128"),
        ({"HTTPS_PROXY": "http://env:3128", "NO_PROXY": ".example"}, None, ""),
        ({"HTTPS_PROXY": "http://env:3128"}, {"https": "http://set:1"}, "http://set:1"),
        ({"NO_PROXY": "ebs.example"}, {"https": "http://set:1"}, ""),
        ({"HTTPS_PROXY": "http://env:3128"}, {}, ""),
    ],
)
def test_settings_come_before_the_environment_and_no_proxy_before_both(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], configured: dict[str, str] | None, expected: str
) -> None:
    """Proxies by settings, HTTPS_PROXY and NO_PROXY as the SDK takes them (feature 72)."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert proxy_for("https://ebs.example", configured) == expected


def test_an_accounts_way_has_the_settings_proxy_and_the_sdks_bundle(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = AwsSettings(proxy_address="p.example", proxy_port=8, proxy_user="u s", proxy_password=Secret("a/b"))
    monkeypatch.setenv("AWS_CA_BUNDLE", "/etc/authority.pem")
    monkeypatch.setenv("NO_PROXY", "inside.example")
    sessions, account = Sessions(settings), Account("here")
    way = sessions.way(account, "eu-west-1", "https://ebs.eu-west-1.amazonaws.com")
    assert way == ("http://u%20s:a%2Fb@p.example:8", "/etc/authority.pem")
    assert sessions.way(account, "eu-west-1", "https://ebs.inside.example") == ("", "/etc/authority.pem")


def test_a_proxy_is_an_address_too() -> None:
    with pytest.raises(ValueError, match="proxy"):
        Http("https://h", "socks5://p:1080")
