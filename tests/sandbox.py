"""The emulated AWS as a fixture: one process a test session, emptied on request (`tests.conftest` loads it)."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from deploy.sandbox.client import ControlClient, ControlError
from deploy.sandbox.demo import environment
from deploy.sandbox.sts import ROOT_PREFIX, ROOT_SECRET

ROOT = Path(__file__).resolve().parent.parent
BASE_IMAGE = "ami-0ba5e000000000001"
FAST = {"snapshot_seconds": 0.0, "volume_seconds": 0.0, "instance_seconds": 0.0, "image_seconds": 0.0}
SOON = {"database_seconds": 0.0, "backup_seconds": 0.0, "backup_copy_seconds": 0.0, "backup_restore_seconds": 0.0}
QUICK = {**FAST, **SOON, "replace_root_seconds": 0.0, "snapshot_interval_seconds": 0.0, "metering": False}


class Sandbox(ControlClient):
    """The running sandbox, process `pid`. Control methods are ControlClient's; `settings` are those of its start."""

    pid = 0

    def __init__(self, url: str, settings: dict):
        super().__init__(url)
        self.settings = settings
        self.environment = environment(url)
        self._session = boto3.session.Session()

    def client(self, account: str, region: str = "us-east-1", service: str = "ec2", **config: Any) -> Any:
        """A boto3 client as the account's root, with one attempt a call unless `retries` says otherwise."""
        return self.client_with(ROOT_PREFIX + account, ROOT_SECRET, None, region, service, **config)

    def client_with(
        self, key: str, secret: str, token: str | None, region: str, service: str = "ec2", **config: Any
    ) -> Any:
        """A boto3 client with given credentials."""
        chosen = {"retries": {"total_max_attempts": 1}, "read_timeout": 30} | config
        return self._session.client(
            service,
            region_name=region,
            endpoint_url=self.url,
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            aws_session_token=token,
            config=Config(**chosen),
        )

    def assume(self, arn: str, external_id: str | None = None, account: str = "333333333333", **more: Any) -> dict:
        """Credentials of a role, asked for by an account's root."""
        given = {"ExternalId": external_id} if external_id else {}
        sts = self.client(account, service="sts")
        return sts.assume_role(RoleArn=arn, RoleSessionName="test", **given, **more)["Credentials"]

    def role_client(self, arn: str, external_id: str | None, region: str, service: str = "ec2") -> Any:
        """A boto3 client in an assumed role."""
        held = self.assume(arn, external_id)
        return self.client_with(held["AccessKeyId"], held["SecretAccessKey"], held["SessionToken"], region, service)

    def machine(self, account: str, region: str = "us-east-1", data: int = 1, **parameters: Any) -> dict:
        """A running instance with a root and `data` data volumes; DescribeInstances' view of it."""
        ec2 = self.client(account, region)
        mappings = [
            {"DeviceName": f"/dev/sd{letter}", "Ebs": {"VolumeSize": 1, "VolumeType": "gp3"}}
            for letter in "fghijklmnop"[:data]
        ]
        asked = {"ImageId": BASE_IMAGE, "MinCount": 1, "MaxCount": 1, "BlockDeviceMappings": mappings} | parameters
        made = ec2.run_instances(**asked)["Instances"][0]["InstanceId"]
        return ec2.describe_instances(InstanceIds=[made])["Reservations"][0]["Instances"][0]


def start(seed: str = "none", **settings: Any) -> tuple[subprocess.Popen, str]:
    """Start a sandbox of one's own on a free port; the process and its URL. The caller ends it."""
    command = [sys.executable, "-m", "deploy.sandbox", "serve", "--port", "0", "--seed", seed, "--until-closed"]
    process = subprocess.Popen(
        [*command, "--config", json.dumps(settings)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ.copy(),
    )
    line = process.stdout.readline()
    if not line.startswith("export AWS_ENDPOINT_URL="):
        process.kill()
        raise RuntimeError(f"the sandbox did not start: {line!r}")
    url = line.strip().partition("=")[2]
    _wait_ready(url)
    return process, url


def _wait_ready(url: str) -> None:
    until = time.monotonic() + 30
    while True:
        try:
            ControlClient(url).ask("GET", "ready")
            return
        except (OSError, ControlError):
            if time.monotonic() > until:
                raise
            time.sleep(0.05)


@pytest.fixture(scope="session")
def sandbox_process() -> Iterator[Sandbox]:
    """One sandbox for the session, quick and lenient: see QUICK."""
    process, url = start(**QUICK)
    running = Sandbox(url, QUICK)
    running.pid = process.pid
    yield running
    process.kill()
    process.wait()


@pytest.fixture
def sandbox(sandbox_process: Sandbox) -> Sandbox:
    """The session's sandbox, emptied."""
    sandbox_process.reset()
    return sandbox_process
