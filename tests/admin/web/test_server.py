"""How the page is served: TLS with a certificate of its own, probes that really ask, an orderly end."""

import contextlib
import json
import os
import socket
import ssl
import stat
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from admin.web.certificate import certificate_files
from admin.web.probes import broker_answers
from admin.web.server import run, start
from tasks.catalog import Counter, Process, Run, session, transaction
from tasks.catalog.database import database
from tasks.errors import Invalid
from tasks.settings import Settings
from tests.admin.web.site import Site, add_persons, fill, settings_for
from tests.services import wait_until


def test_the_own_certificate_is_made_once_with_a_private_key_that_only_the_owner_reads(tmp_path: Path) -> None:
    """Feature 94: ECDSA P-256 for localhost, loopback and the host's name."""
    settings = Settings(home=tmp_path)
    certificate, key = certificate_files(settings)
    made = x509.load_pem_x509_certificate(certificate.read_bytes())
    public = made.public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    assert public.curve.name == "secp256r1"
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {"localhost", socket.gethostname()} <= set(names.get_values_for_type(x509.DNSName))
    assert {"127.0.0.1", "::1"} == {str(ip) for ip in names.get_values_for_type(x509.IPAddress)}
    assert 300 < (made.not_valid_after_utc - datetime.now(UTC)).days < 398
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    before = certificate.read_bytes()
    certificate_files(settings)
    assert certificate.read_bytes() == before
    certificate.write_text("damaged")
    certificate_files(settings)
    assert certificate.read_bytes() not in (before, b"damaged")


def test_an_own_certificate_replaces_ours_and_half_of_one_is_refused(tmp_path: Path) -> None:
    """Feature 94."""
    certificate, key = certificate_files(Settings(home=tmp_path))
    given = Settings(home=tmp_path / "x", tls_cert_file=str(certificate), tls_key_file=str(key))
    assert certificate_files(given) == (certificate, key)
    with pytest.raises(Invalid, match="both"):
        certificate_files(Settings(home=tmp_path, tls_cert_file=str(certificate)))
    with pytest.raises(Invalid, match="cannot be read"):
        certificate_files(Settings(home=tmp_path, tls_cert_file="/nonexistent", tls_key_file=str(key)))


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_the_listener_speaks_tls_only_and_survives_those_who_do_not(site: Site) -> None:
    """Feature 94: plain HTTP gets no page; old TLS gets none either; others are served meanwhile."""
    with socket.create_connection(("127.0.0.1", site.handle.port), timeout=5) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert b"200 OK" not in plain.recv(1000)
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.minimum_version = ssl.TLSVersion.TLSv1
    old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(OSError), socket.create_connection(("127.0.0.1", site.handle.port), timeout=5) as plain:
        old.wrap_socket(plain)
    with socket.create_connection(("127.0.0.1", site.handle.port), timeout=5):  # says nothing
        assert site.client().get("/livez").text == "alive\n"


def test_probes_need_no_login_and_say_one_word(site: Site) -> None:
    """Feature 64: a live process whose catalog is gone is alive and not ready."""
    client = site.client()
    assert (client.get("/livez").text, client.get("/readyz").text) == ("alive\n", "ready\n")
    with transaction():
        database.execute_sql("ALTER TABLE meta RENAME TO elsewhere")
    wait_until(lambda: client.get("/readyz").status_code == 503, 8, "unready")
    assert client.get("/readyz").text == "unready\n"
    assert client.get("/livez").status_code == 200
    with transaction():
        database.execute_sql("ALTER TABLE elsewhere RENAME TO meta")
    wait_until(lambda: client.get("/readyz").status_code == 200, 8, "ready")


def test_readiness_in_a_fleet_waits_for_the_greeting_of_a_broker(tmp_path: Path) -> None:
    """Feature 64: an open port is not a broker."""
    answers: list[bytes] = [b"\x01\x00\x00\x00\x00", b"AMQP\x00\x00\x09\x01", b""]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        settings = Settings(home=tmp_path, broker_url=f"amqp://guest:guest@127.0.0.1:{listener.getsockname()[1]}/")
        threading.Thread(target=_greet, args=(listener, answers), daemon=True).start()
        assert [broker_answers(settings) for _ in range(3)] == [True, False, False]
    assert broker_answers(settings) is False


def _greet(listener: socket.socket, answers: list[bytes]) -> None:
    for answer in answers:
        connection, _ = listener.accept()
        with connection:
            assert connection.recv(8) == b"AMQP\x00\x00\x09\x01"
            connection.sendall(answer)


def test_a_real_broker_is_recognised(rabbitmq_url: str, tmp_path: Path) -> None:
    """Feature 64."""
    assert broker_answers(Settings(home=tmp_path, broker_url=rabbitmq_url))


def test_the_process_reports_itself_and_what_it_counted(site: Site) -> None:
    """Feature 39: the page's own process is in the list, and logins are counted."""
    client = site.client("ada")
    client.log_in("nobody", "wrong")

    def shown() -> list[str]:
        with session():
            return [row.name for row in Process.select().where(Process.role == "web")]

    (name,) = wait_until(shown, 8, "a process row")
    assert name.endswith(f":{os.getpid()}:web")
    site.handle.stop()
    assert shown() == []
    with session():
        counted = {row.labels: row.value for row in Counter.select().where(Counter.name == "snapfleet_logins_total")}
    assert counted == {'{"result":"accepted"}': 1, '{"result":"refused"}': 1}


def test_a_taken_port_is_said_in_one_sentence(site: Site) -> None:
    """Feature 64."""
    with pytest.raises(Invalid, match="cannot listen on"):
        start(site.settings)


def test_the_role_serves_until_it_is_stopped(embedded_catalog: str, tmp_path: Path) -> None:
    """Feature 64: `run` is what the command starts."""
    settings = settings_for(tmp_path, embedded_catalog)
    add_persons()
    stop = threading.Event()
    thread = threading.Thread(target=run, args=(settings, stop))
    thread.start()
    wait_until(lambda: _listens(settings.port), 10, "the port")
    stop.set()
    thread.join(10)
    assert not thread.is_alive()
    assert not _listens(settings.port)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_lists_are_cut_into_pages_that_miss_and_repeat_nothing(site: Site) -> None:
    """Feature 38: following `next` shows every run once."""
    fill()
    with transaction():
        policy = Run.get().policy_id
        at = datetime.now(UTC)
        for number in range(120):
            slot = datetime(2026, 1, 1, number // 60, number % 60, tzinfo=UTC)
            Run.create(policy=policy, slot_at=slot, state="done", created_at=at)
    client = site.client("vic")
    seen: list[int] = []
    following: Any = None
    while True:
        page = client.get("/api/v1/runs" + (f"?before={following}" if following else "")).json()
        seen += [row["id"] for row in page["rows"]]
        following = page["next"]
        if following is None:
            break
    assert seen == sorted(seen, reverse=True)
    assert len(seen) == len(set(seen)) == 129
    assert "Older" in client.get("/runs").text
    only = client.get("/api/v1/runs?state=failed").json()["rows"]
    assert {row["state"] for row in only} == {"failed"}
    assert client.get("/api/v1/runs?policy=gold&state=open").json()["rows"][0]["policy"] == "gold"
    assert client.get("/api/v1/resources?text=db-p").json()["rows"][0]["name"] == "db-primary"


def test_the_lists_and_the_page_show_the_same(site: Site) -> None:
    """Feature 38: times are ISO 8601 in UTC, and why a point is as it is stands beside it."""
    fill()
    client = site.client("vic")
    points = client.get("/api/v1/points").json()["rows"]
    assert {point["state"] for point in points} == {"good", "failed"}
    assert all(point["taken_at"].endswith("Z") for point in points)
    failed = next(point for point in points if point["state"] == "failed")
    assert failed["why"][-1] == "The role may not create snapshots."
    text = client.get("/points").text
    assert "held: The role may not create snapshots." in text
    lanes = {lane["lane"]: lane for lane in client.get("/api/v1/queues").json()["rows"]}
    assert (lanes["snapshot"]["ready"], lanes["snapshot"]["running"], lanes["snapshot"]["dead"]) == (8, 4, 1)
    assert lanes["copy"]["consumers"] == 1
    json.dumps(lanes)


def test_the_catalog_going_away_is_said_and_ends(site: Site) -> None:
    """Feature 64: one sentence, status 503, and no trace of the database's text."""
    client = site.client("vic")
    with transaction():
        database.execute_sql("ALTER TABLE run RENAME TO elsewhere")
    answer = client.get("/runs")
    assert answer.status_code == 503
    assert "catalog cannot be reached" in answer.text
    assert "elsewhere" not in answer.text
    assert "no such table" not in answer.text
    with transaction():
        database.execute_sql("ALTER TABLE elsewhere RENAME TO run")
    assert client.get("/runs").status_code == 200


def test_the_overview_is_quick(site: Site) -> None:
    """Feature 38: figures of the whole estate are not read anew for everybody."""
    fill()
    client = site.client("vic")
    client.get("/")
    started = time.monotonic()
    for _ in range(5):
        assert client.get("/").status_code == 200
    assert (time.monotonic() - started) / 5 < 1
