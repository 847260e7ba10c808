"""The files by which a fleet is run: read by systemd's, RabbitMQ's and our own programs, with no secret in them."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pika.exceptions
import pytest
import yaml

from admin.cli.reference import walk
from coordinator.rabbitmq import ConfirmingPublisher, declare_pools, queue_depths
from tasks.lanes import Lane, queue_name
from tasks.messages import JobMessage, SignedEncoder
from tests.integration.fleet import fleet_worker, raw_channel
from tests.services import wait_until
from tests.tasks.poison import KEYS

DEPLOY = Path(__file__).parents[2] / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
PASSWORDS = {name: f"a-made-password-of-{name}" for name in ("coordinator", "worker", "monitor")}


def systemd(*arguments: str, units: list[Path]) -> subprocess.CompletedProcess[str]:
    tool = shutil.which("systemd-analyze")
    if tool is None:
        pytest.fail("systemd-analyze is missing: apt-get install systemd.")
    return subprocess.run([tool, *arguments, *map(str, units)], capture_output=True, text=True, timeout=60, check=False)


def test_systemd_accepts_the_units_and_finds_them_well_confined(tmp_path: Path) -> None:
    """Feature 60: by its own tools; only the program's place is changed. A worker has the time that a drain takes."""
    program = tmp_path / "snapfleet"
    program.symlink_to("/bin/true")
    units = []
    for unit in UNITS:
        copy = tmp_path / unit.name
        copy.write_text(unit.read_text().replace("/opt/snapfleet/bin/snapfleet", str(program)))
        units.append(copy)
    assert len(units) == 3
    verified = systemd("verify", units=units)
    assert (verified.returncode, verified.stderr) == (0, "")
    judged = systemd("security", "--offline=true", "--threshold=15", units=units)
    assert judged.returncode == 0, judged.stdout[-2000:]
    worker = (DEPLOY / "systemd" / "snapfleet-worker@.service").read_text()
    assert re.search(r"^KillSignal=SIGTERM$", worker, re.M)
    assert re.search(r"^KillMode=mixed$", worker, re.M)
    assert int(re.findall(r"^TimeoutStopSec=(\d+)$", worker, re.M)[0]) >= 30 + 10


def test_compose_accepts_the_fleet_and_refuses_it_without_its_secrets() -> None:
    """Feature 60: by docker-compose's own check, which needs no daemon."""
    tool = shutil.which("docker-compose")
    if tool is None:
        pytest.fail("docker-compose is missing: apt-get install docker-compose.")
    file = DEPLOY / "fleet" / "compose.yaml"
    secrets = sorted(set(re.findall(r"\$\{(\w+):\?\}", file.read_text())))

    def check(names: list[str]) -> subprocess.CompletedProcess[str]:
        env = {"PATH": os.environ["PATH"], "COMPOSE_PROJECT_NAME": "snapfleet", **dict.fromkeys(names, "made-up")}
        command = [tool, "-f", str(file), "config", "--quiet"]
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)

    accepted = check(secrets)
    assert (accepted.returncode, accepted.stderr) == (0, "")
    assert len(secrets) == 5
    for missing in secrets:
        refused = check([name for name in secrets if name != missing])
        assert refused.returncode != 0, missing
        assert missing in refused.stderr


@pytest.mark.unit
def test_units_and_containers_start_commands_that_exist_and_hold_no_secret() -> None:
    """Feature 60: every process has a health check, drains when it is stopped, and gets its secrets from outside, the
    broker's account with the rights of its role among them."""
    commands = {name for name, _ in walk()}
    started = {re.findall(r"^ExecStart=\S+ (.+)$", unit.read_text(), re.M)[0] for unit in UNITS}
    assert started == {"coordinator", "worker", "web"} <= commands
    compose = yaml.safe_load((DEPLOY / "fleet" / "compose.yaml").read_text())
    services = compose["services"]
    ours = {name: service for name, service in services.items() if service["image"] == "snapfleet"}
    assert {service["command"][0] for service in ours.values()} == {"init", "coordinator", "worker", "web"} <= commands
    for name, service in services.items():
        assert service["healthcheck"].get("test") or service["healthcheck"] == {"disable": True}, name
        for variable, value in service.get("environment", {}).items():
            if re.search("PASSWORD|BROKER_URL", variable):
                assert re.fullmatch(r"\$\{\w+:\?\}", value), variable
        assert not re.search(r"://\w+:[^$@]+@", json.dumps(service)), name
    for name in ("coordinator", "worker"):  # the process itself is asked for, so that `up --wait` waits for it
        assert services[name]["healthcheck"]["test"] == ["CMD", "snapfleet", "processes", "--here"]
    for name, account in {"coordinator": "COORDINATOR", "worker": "WORKER", "web": "MONITOR"}.items():
        assert account in services[name]["environment"]["SNAPFLEET_BROKER_URL"], name
        (unit,) = [one for one in UNITS if f"snapfleet {name}\n" in one.read_text()]
        read = re.findall(r"^EnvironmentFile=(.+)$", unit.read_text(), re.M)  # a later file's values win
        assert read == ["/etc/snapfleet/fleet.env", f"-/etc/snapfleet/{name}.env"]
    assert services["worker"]["stop_signal"] == "SIGTERM"
    assert services["worker"]["stop_grace_period"] == "45s"
    assert services["coordinator"]["deploy"]["replicas"] >= 2
    assert all(service["read_only"] and service["cap_drop"] == ["ALL"] for service in ours.values())
    volumes = {volume.split(":")[0] for service in services.values() for volume in service.get("volumes", ())}
    assert {name for name in volumes if not name.startswith(".")} == set(compose["volumes"])


@pytest.mark.unit
def test_the_autoscaling_example_asks_for_a_metric_that_exists() -> None:
    """Feature C17."""
    keda = yaml.safe_load((DEPLOY / "autoscaling" / "keda.yaml").read_text())
    (trigger,) = keda["spec"]["triggers"]
    assert trigger["metadata"]["query"] == 'max(snapfleet_workers_needed{pool="common"})'
    script = DEPLOY / "autoscaling" / "asg.sh"
    assert subprocess.run(["sh", "-n", script], check=False, timeout=10).returncode == 0
    assert "workers needed" in {name for name, _ in walk()}


@pytest.mark.unit
def test_the_definitions_hold_no_password_and_are_not_written_without_good_ones() -> None:
    definitions = json.loads((DEPLOY / "rabbitmq" / "definitions.json").read_text())
    assert {user["password_hash"] for user in definitions["users"]} == {""}
    said = _definitions({})
    assert said.returncode == 2
    assert "SNAPFLEET_RABBITMQ_COORDINATOR" in said.stderr
    made = _definitions(PASSWORDS).stdout
    assert len({user["password_hash"] for user in json.loads(made)["users"]}) == 3
    assert not any(password in made for password in PASSWORDS.values())


def _definitions(passwords: dict[str, str]) -> subprocess.CompletedProcess[str]:
    env = {f"SNAPFLEET_RABBITMQ_{name.upper()}": password for name, password in passwords.items()}
    command = [sys.executable, "-m", "deploy.rabbitmq"]
    base = {"PATH": os.environ["PATH"]}
    return subprocess.run(
        command, env={**base, **env}, capture_output=True, text=True, cwd=DEPLOY.parent, timeout=30, check=False
    )


def test_rabbitmq_takes_the_definitions_and_each_account_may_do_its_part_only(rabbitmq: Any, tmp_path: Path) -> None:
    """Feature 94: the coordinator declares and publishes, a worker takes and acknowledges, the monitor sees figures;
    a worker that is taken over can neither forge a job nor make a queue."""
    file = tmp_path / "definitions.json"
    file.write_text(_definitions(PASSWORDS).stdout)
    rabbitmq.ctl("import_definitions", str(file))
    try:
        urls = {
            name: f"amqp://snapfleet-{name}:{quote(password)}@127.0.0.1:{rabbitmq.port}/snapfleet"
            for name, password in PASSWORDS.items()
        }
        publisher = ConfirmingPublisher(urls["coordinator"], SignedEncoder(KEYS))
        try:
            wait_until(lambda: publisher.available, 20, publisher.last_error)
            with fleet_worker(urls["worker"]) as (_, recorder):
                sent = [(Lane.SNAPSHOT, JobMessage(job, 0, 0)) for job in (1, 2, 3)]
                assert publisher.publish(sent) == [True] * 3
                wait_until(lambda: sorted(recorder.ended) == [1, 2, 3], 10, "three jobs")
        finally:
            publisher.close()
        declare_pools(urls["coordinator"], ["site-a"])
        with raw_channel(urls["worker"]) as channel:
            channel.queue_declare(queue_name(Lane.RESTORE, "site-a"), passive=True)
        assert queue_depths(urls["worker"])[Lane.SNAPSHOT].ready == 0
        _refused(urls["worker"], lambda channel: channel.queue_declare("snapfleet.mine"))
        _refused(urls["worker"], _publish)
        _refused(urls["monitor"], _publish)
        _refused(urls["monitor"], lambda channel: channel.basic_get(queue_name(Lane.SNAPSHOT)))
        policies = rabbitmq.api("GET", "/policies/snapfleet")
        assert [policy["name"] for policy in policies] == ["lanes"]
        path = f"/queues/snapfleet/{queue_name(Lane.SNAPSHOT)}"
        wait_until(lambda: rabbitmq.api("GET", path).get("policy") == "lanes", 20, "the policy on the queue")
        assert rabbitmq.api("GET", path)["type"] == "quorum"
    finally:
        rabbitmq.delete_vhost("snapfleet")
        for name in PASSWORDS:
            rabbitmq.api("DELETE", f"/users/snapfleet-{name}")


def _publish(channel: Any) -> None:
    channel.confirm_delivery()
    channel.basic_publish("", queue_name(Lane.SNAPSHOT), b"forged")


def _refused(url: str, act: Any) -> None:
    """The broker answers with ACCESS_REFUSED."""
    with raw_channel(url) as channel, pytest.raises(pika.exceptions.ChannelClosedByBroker) as refused:
        act(channel)
    assert refused.value.reply_code == 403
