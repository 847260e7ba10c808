"""An estate is protected, lost and restored by one `snapfleet up` over the emulated AWS, behind a proxy, under watch.

The story is told once for the module; each test looks at one side of it.
"""

import hashlib
import os
import re
import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from deploy.sandbox.demo import ALIAS
from tests.proxy import login_proxy
from tests.sandbox import FAST, Sandbox, start
from tests.scenario.installation import Installation

PROD, VAULT, HOME, AWAY, FAR = "111111111111", "222222222222", "us-east-1", "eu-west-1", "eu-central-1"
PASSWORD = "planted admin password"
SECRETS = {
    "PROD_EXTERNAL_ID": "planted-external-id-of-prod",
    "VAULT_EXTERNAL_ID": "planted-external-id-of-vault",
    "PROXY_LOGIN": "planted/proxy@password",
    "HOOK_SECRET": "planted-webhook-secret",
    "METRICS_SECRET": "planted-metrics-token",
    "SNAPFLEET_ADMIN_PASSWORD": PASSWORD,
}
# What a machine in the guest's place would need: reading blocks is not among what a snapshot asks for.
MAKES = {"CreateSnapshots", "CreateSnapshot", "CopySnapshot", "ModifySnapshotAttribute", "CreateTags", "DeleteSnapshot"}

ESTATE = {
    "version": 1,
    "accounts": [
        {
            "name": "prod",
            "cloud": "aws",
            "role_arn": f"arn:aws:iam::{PROD}:role/snapfleet",
            "external_id": "env:PROD_EXTERNAL_ID",
            "regions": [HOME, AWAY],
        },
        {
            "name": "vault",
            "cloud": "aws",
            "kind": "dr",
            "role_arn": f"arn:aws:iam::{VAULT}:role/snapfleet-dr",
            "external_id": "env:VAULT_EXTERNAL_ID",
            "regions": [FAR],
        },
    ],
    "schedules": [{"name": "nightly", "every": "1d", "starts_at": "2030-01-01T01:30", "time_zone": "UTC"}],
    "policies": [
        {
            "name": "web",
            "schedules": ["nightly"],
            "targets": [{"tag": {"Name": "web-2"}, "types": ["instance"], "accounts": ["prod"]}],
            "generations": 3,
            "dr": [{"region": AWAY}, {"account": "vault", "region": FAR, "kms_key": ALIAS}],
        },
        {
            "name": "disk",
            "targets": [{"tag": {"Name": "scratch"}, "types": ["volume"], "accounts": ["prod"]}],
            "generations": 1,
            "dr": [{"region": AWAY}, {"account": "vault", "region": FAR, "kms_key": ALIAS}],
        },
    ],
}
PLACES = {"": (PROD, HOME), f"prod/{AWAY}": (PROD, AWAY), f"vault/{FAR}": (VAULT, FAR)}


@dataclass
class Story:
    """What there is to look at afterwards."""

    sandbox: Sandbox
    here: Installation
    proxied: list[str]
    machine: str
    disks: dict[str, str]  # device to volume id
    before: Any = None
    after: Any = None
    calls: list[dict[str, Any]] = field(default_factory=list)
    points: list[dict[str, Any]] = field(default_factory=list)
    hashes: dict[str, str] = field(default_factory=dict)
    restored: dict[str, str] = field(default_factory=dict)
    restored_there: dict[str, list[str]] = field(default_factory=dict)  # by place: each volume's bytes
    disk: str = ""  # the loose volume's bytes at its last backup
    restored_disk: dict[str, list[str]] = field(default_factory=dict)

    def sources(self) -> dict[str, Any]:
        """Everything in the production account that a backup has no business with, as EC2 describes it."""
        ec2 = self.sandbox.client(PROD, HOME)
        looks = ("instances", "volumes", "subnets", "security_groups", "network_interfaces", "key_pairs")
        found = {look: getattr(ec2, f"describe_{look}")() for look in looks}
        found["images"] = ec2.describe_images(Owners=["self"])
        return {look: _without_noise(answer) for look, answer in found.items()}


def _without_noise(answer: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in answer.items() if name != "ResponseMetadata"}


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """Set up, back up, copy, lose, restore; the process still runs afterwards."""
    process, url = start(**FAST, snapshot_interval_seconds=0.0, metering=False)
    sandbox = Sandbox(url, FAST)
    facts = sandbox.seed(kind="demo")
    for account, role in (("PROD", f"{PROD}:role/snapfleet"), ("VAULT", f"{VAULT}:role/snapfleet-dr")):
        sandbox.role(f"arn:aws:iam::{role}", external_id=SECRETS[f"{account}_EXTERNAL_ID"])
    with login_proxy("robot", SECRETS["PROXY_LOGIN"]) as (port, proxied):
        here = Installation(
            tmp_path_factory.mktemp("story") / "home",
            {**sandbox.environment, **SECRETS},
            poll_floor_seconds="0.2",
            tick_seconds="0.2",
            retention_seconds="1",
            proxy=f"127.0.0.1:{port}",
            proxy_user="robot",
            proxy_password="env:PROXY_LOGIN",
            webhook_secret="env:HOOK_SECRET",
            metrics_token="env:METRICS_SECRET",
        )
        here.by_script = True
        machine = facts["instances"]["web-2"]
        devices = sandbox.instance(PROD, HOME, machine)["volumes"]
        told = Story(sandbox, here, proxied, machine, {name: str(one) for name, one in devices.items()})
        try:
            _protect(told)
            _lose_and_restore(told)
            _lose_and_restore_a_disk(told)
            yield told
        finally:
            here.kill()
            process.kill()
            process.wait()


def _protect(story: Story) -> None:
    here, sandbox = story.here, story.sandbox
    here.type("init", "--yes")
    file = here.home.parent / "estate.yaml"
    file.write_text(yaml.safe_dump(ESTATE))
    here.type("apply", "-f", str(file))
    for number, volume in enumerate(story.disks.values()):
        sandbox.write(PROD, HOME, volume, 4096 * 256 * (number + 3), os.urandom(1 << 16))
    story.hashes = {device: sandbox.sha256(PROD, HOME, volume) for device, volume in story.disks.items()}
    story.before = story.sources()
    sandbox.clear_calls()
    story.proxied.clear()
    here.up()
    assert here.type("run", "web", "--wait")["state"] == "done"
    story.calls = [call for call in sandbox.calls(recent=5000) if call["account"] in (PROD, VAULT)]
    story.after = story.sources()
    story.points = here.type("points", "--limit", "100")


def _lose_and_restore(story: Story) -> None:
    here, sandbox = story.here, story.sandbox
    sandbox.destroy(PROD, HOME, *story.disks.values(), story.machine)
    ids = {point["destination"]: point["id"] for point in story.points}
    home = ids.pop("")
    done = here.type("restore", home, "--to", "instance", "--wait")
    (launch,) = [step for step in done["steps"] if step["kind"] == "run-instance"]
    volumes = launch["outputs"]["volumes"]
    story.restored = {device: sandbox.sha256(PROD, HOME, volume) for device, volume in volumes.items()}
    story.restored_there = {place: _volumes_from(story, place, point) for place, point in ids.items()}


def _volumes_from(story: Story, place: str, point: str) -> list[str]:
    """A point's volumes made anew where it lies: the bytes of each."""
    account, region = PLACES[place]
    done = story.here.type("restore", point, "--to", "volume", "--zone", f"{region}a", "--wait")
    made = [item["id"] for item in done["made"] if item["kind"] == "volume"]
    return sorted(story.sandbox.sha256(account, region, volume) for volume in made)


def _lose_and_restore_a_disk(story: Story) -> None:
    """A volume by itself: backed up twice, its first generation gone everywhere, lost, restored from each place."""
    here, sandbox = story.here, story.sandbox
    named = [{"Name": "tag:Name", "Values": ["scratch"]}]
    (volume,) = sandbox.client(PROD, HOME).describe_volumes(Filters=named)["Volumes"]
    first: set[str] = set()
    for turn in range(2):
        sandbox.write(PROD, HOME, volume["VolumeId"], 4096 * 512 * (turn + 1), os.urandom(1 << 16))
        assert here.type("run", "disk", "--wait")["state"] == "done"
        first = first or {point["id"] for point in _of_the_disk(here)}
    story.disk = sandbox.sha256(PROD, HOME, volume["VolumeId"])
    points = here.until(
        "the first points are gone",
        lambda: [] if first & {one["id"] for one in _of_the_disk(here)} else _of_the_disk(here),
    )
    sandbox.destroy(PROD, HOME, volume["VolumeId"])
    story.restored_disk = {
        point["destination"]: _volumes_from(story, point["destination"], point["id"]) for point in points
    }


def _of_the_disk(here: Installation) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = here.type("points", "--limit", "100")
    return [row for row in rows if row["policy"] == "disk" and row["state"] == "good"]


def test_every_byte_comes_back_at_home_and_from_the_copies_in_another_region_and_account(story: Story) -> None:
    """feature 1: policy, snapshot, copies, restore; 11: what is protected lies in three places."""
    assert {point["destination"] for point in story.points} == {"", f"prod/{AWAY}", f"vault/{FAR}"}
    assert {point["state"] for point in story.points} == {"good"}
    assert len(story.hashes) == 2
    assert story.restored == story.hashes
    assert story.restored_there == dict.fromkeys((f"prod/{AWAY}", f"vault/{FAR}"), sorted(story.hashes.values()))


def test_a_volume_by_itself_comes_back_from_each_place_as_it_was_last(story: Story) -> None:
    """feature 14, feature 42: backed up twice, copied twice, its first generation expired, lost, restored."""
    assert story.restored_disk == {place: [story.disk] for place in PLACES}
    assert _snapshots_of_the_disk(story) == dict.fromkeys(PLACES, 1)


def _snapshots_of_the_disk(story: Story) -> dict[str, int]:
    named = [{"Name": "tag:snapfleet:policy", "Values": ["disk"]}]
    return {
        place: len(story.sandbox.client(*there).describe_snapshots(OwnerIds=["self"], Filters=named)["Snapshots"])
        for place, there in PLACES.items()
    }


def test_a_backup_is_made_of_api_calls_that_make_snapshots_and_read_no_block(story: Story) -> None:
    """feature 2"""
    made = {call["operation"] for call in story.calls if not re.match(r"Describe|Get|Assume|List", call["operation"])}
    assert {"CreateSnapshots", "CopySnapshot"} <= made <= MAKES
    assert not [call for call in story.calls if "Block" in call["operation"]]


def test_a_backup_leaves_everything_but_its_own_snapshots_as_it_was(story: Story) -> None:
    """feature 66: no tag, attribute or state of a machine, disk or network differs afterwards."""
    assert len(story.before["volumes"]["Volumes"]) > 10
    assert story.after == story.before
    tagged = [call["parameters"] for call in story.calls if call["operation"] == "CreateTags"]
    assert all(value.startswith("snap-") for call in tagged for value in _resources(call))
    assert story.sandbox.boots(PROD, HOME, _sibling(story)) == ["RunInstances"]


def _resources(parameters: dict[str, Any]) -> list[str]:
    found = parameters.get("ResourceIds") or parameters.get("ResourceId") or parameters.get("Resources") or []
    return [str(one) for one in (found.values() if isinstance(found, dict) else found)]


def _sibling(story: Story) -> str:
    """Another machine of the estate, which no policy names."""
    ids = story.sandbox.state(PROD, HOME)["instances"]
    return next(one for one in ids if one != story.machine)


def test_the_cloud_is_reached_through_the_proxy_and_no_guest_is_reached_at_all(story: Story) -> None:
    """features 61, 62, 72: the one process connects to the proxy and to nothing else, and starts no other program."""
    here = story.here
    assert len(story.proxied) >= len(story.calls) > 10
    assert set(story.proxied) == {story.sandbox.url.removeprefix("http://")}
    proxy = here.env["SNAPFLEET_PROXY"].partition(":")[2]
    assert here.seen("connect") == {f"('127.0.0.1', {proxy})"}
    assert here.seen("program") <= {"uname"}


def test_no_planted_secret_is_in_the_catalog_a_log_an_answer_the_metrics_or_a_page(story: Story) -> None:
    """feature 94: secrets are sealed at rest and shown nowhere."""
    here = story.here
    tls = str(here.home / "tls" / "page.crt")
    base = f"https://localhost:{here.port}"
    bearer = {"Authorization": f"Bearer {SECRETS['METRICS_SECRET']}"}
    metrics = requests.get(f"{base}/metrics", headers=bearer, verify=tls, timeout=10)
    assert metrics.status_code == 200
    assert "snapfleet_" in metrics.text
    pages = _pages(base, tls)
    assert len(pages) > 8
    assert any("arn:aws:iam" in page or "web-2" in page for page in pages)
    exported = here.type("export")
    files = [path for path in here.home.rglob("*") if path.is_file()] + [here.log]
    assert {"catalog.sqlite", "master.key", "up.log"} <= {path.name for path in files}
    texts = {path.name: path.read_bytes() for path in files}
    texts |= {"pages": "\n".join(pages).encode(), "metrics": metrics.content, "said": "".join(here.said).encode()}
    texts["export"] = str(exported).encode()
    assert _holds(texts["catalog.sqlite"] + texts.get("catalog.sqlite-wal", b""), "web-2")
    found = [(name, where) for name, secret in SECRETS.items() for where, text in texts.items() if _holds(text, secret)]
    assert found == []


def _holds(text: bytes, secret: str) -> bool:
    forms = (secret, requests.utils.quote(secret, safe=""), hashlib.sha256(secret.encode()).hexdigest())
    return any(form.encode() in text for form in forms)


def _pages(base: str, tls: str) -> list[str]:
    """Every page that the menu leads to, as the first user sees it."""
    with requests.Session() as browser:
        browser.verify, browser.trust_env = tls, False
        form = browser.get(f"{base}/login", timeout=10).text
        token = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', form)
        assert token
        fields = {"name": "admin", "password": PASSWORD, "csrf_token": token[1]}
        first = browser.post(f"{base}/login", fields, headers={"Referer": f"{base}/login"}, timeout=10)
        assert first.status_code == 200
        paths = set(re.findall(r'href="(/[^"#?]*)"', first.text)) - {"/logout"}
        return [first.text, *(browser.get(base + path, timeout=10).text for path in sorted(paths))]


def test_the_only_open_port_speaks_tls_and_nothing_else(story: Story) -> None:
    """feature 94: TLS or nothing."""
    assert story.here.process is not None
    assert _listening(story.here.process.pid) == {story.here.port}
    with socket.create_connection(("127.0.0.1", story.here.port), 5) as plain:
        plain.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        plain.settimeout(5)
        try:
            answer = plain.recv(4096)
        except ConnectionResetError:
            answer = b""
    assert b"200" not in answer.split(b"\r\n")[0]


def _listening(pid: int) -> set[int]:
    """The TCP ports on which a process listens, from the kernel's tables."""
    inodes = {os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()}
    ports = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            columns = line.split()
            if columns[3] == "0A" and f"socket:[{columns[9]}]" in inodes:
                ports.add(int(columns[1].rpartition(":")[2], 16))
    return ports


def test_everything_but_the_catalog_and_the_key_may_be_lost_in_the_middle_of_a_run(story: Story) -> None:
    """feature 69: killed, moved to another folder with nothing but those two, it ends the run, and makes nothing twice.

    Last in the module: it takes the installation away.
    """
    here, sandbox = story.here, story.sandbox
    sandbox.configure(snapshot_seconds=3600.0)
    here.type("discover", "--wait")
    held = set(sandbox.state(PROD, HOME)["snapshots"])
    run = here.type("run", "web")["run"]
    here.until("a snapshot under way", lambda: _states(here, run) == {"waiting"})
    here.kill()
    moved = here.home.parent / "moved"
    (moved / "keys").mkdir(parents=True)
    shutil.copy(here.home / "keys" / "master.key", moved / "keys")
    for part in here.home.glob("catalog.sqlite*"):
        shutil.copy(part, moved)
    shutil.rmtree(here.home)
    here.env["SNAPFLEET_HOME"] = str(moved)
    sandbox.configure(snapshot_seconds=0.0)
    here.up()
    sandbox.advance(3600)
    ended = here.until("the end of the run", lambda: _ended(here, run))
    assert ended["state"] == "done"
    assert len(set(sandbox.state(PROD, HOME)["snapshots"]) - held) == len(story.disks)


def _states(here: Installation, run: str) -> set[str]:
    return {job["state"] for job in here.type("runs", "show", run)["jobs"]}


def _ended(here: Installation, run: str) -> Any:
    row = here.type("runs", "show", run)
    return row if row["finished_at"] else None
