"""A served page over a filled catalog, and a client that can log in."""

import itertools
import re
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import requests

from admin.web.passwords import hash_password
from admin.web.server import Handle, start
from tasks.catalog import (
    Account,
    Alert,
    DeadLetter,
    Job,
    MissedSlots,
    Outbox,
    Point,
    Policy,
    PolicySchedule,
    Process,
    Resource,
    Run,
    Schedule,
    User,
    transaction,
)
from tasks.secrets import MasterKey
from tasks.settings import Settings
from tests.admin.web.hostile import HOSTILE
from tests.services import free_port

PASSWORD = "correct horse battery staple"
_HASH = hash_password(PASSWORD)
PERSONS = {"ada": "admin", "vic": "viewer"}


def now() -> datetime:
    return datetime.now(UTC)


def settings_for(home: Path, url: str, **changed: Any) -> Settings:
    """Settings of an installation in `home`, with its key, on a free port."""
    settings = Settings(home=home, catalog_url=url, port=free_port(), **changed)
    MasterKey.create(settings.key_path)
    return settings


def add_persons() -> None:
    with transaction():
        for name, role in PERSONS.items():
            User.create(name=name, password_hash=_HASH, role=role, created_at=now())


@dataclass
class Site:
    """A running page and what it serves."""

    settings: Settings
    handle: Handle
    clients: list["Client"] = field(default_factory=list)

    @classmethod
    def serve(cls, home: Path, url: str, **changed: Any) -> "Site":
        settings = settings_for(home, url, **changed)
        add_persons()
        return cls(settings, start(settings))

    @classmethod
    def serve_again(cls, before: "Site", **changed: Any) -> "Site":
        """The same installation with other settings, after it was stopped."""
        settings = replace(before.settings, port=free_port(), **changed)
        return cls(settings, start(settings))

    def client(self, name: str = "") -> "Client":
        made = Client(self.handle.address, str(self.settings.home / "tls" / "page.crt"))
        self.clients.append(made)
        if name:
            assert made.log_in(name).status_code == 200
        return made

    def stop(self) -> None:
        for client in self.clients:
            client.close()
        self.handle.stop()


class Client(requests.Session):
    """A browser without scripts: cookies, the CSRF token of the last page, and our certificate as the only trusted."""

    def __init__(self, address: str, certificate: str) -> None:
        super().__init__()
        self.address, self.trust_env, self.verify = address, False, certificate

    def request(self, method: str, url: str, **kwargs: Any) -> requests.Response:  # type: ignore[override]
        return super().request(
            method, url if url.startswith("https://127") else self.address + url.lstrip("/"), timeout=20, **kwargs
        )

    def token(self, page: str) -> str:
        return re.search(r'name="csrf_token" value="([^"]+)"', self.get(page).text)[1]  # type: ignore[index]

    def submit(self, path: str, page: str, **form: str) -> requests.Response:
        """Send a form that `page` shows, as a browser would."""
        form = {"csrf_token": self.token(page), **form}
        return self.post(path, data=form, headers={"Referer": self.address + page.lstrip("/")})

    def log_in(self, name: str, password: str = PASSWORD) -> requests.Response:
        return self.submit("/login", "/login", name=name, password=password)


def fill(hostile: bool = False) -> None:
    """An estate in the middle of its night: work in every state, alerts, letters, processes."""
    at = now()
    names = itertools.cycle(HOSTILE if hostile else ("web-1", "web-2", "db-primary", "db-replica", "cache", "build"))
    with transaction():
        account = Account.create(name=HOSTILE[5] if hostile else "prod", state="reachable")
        policies = [
            Policy.create(name=f"{next(names)} {n}" if hostile else name, spec={}, created_at=at, changed_at=at)
            for n, name in enumerate(("gold", "silver", "databases"))
        ]
        resources = [_resource(account, number, next(names), at) for number in range(len(HOSTILE) if hostile else 24)]
        for hour, state in enumerate(("open", "partial", "done", "failed", "done", "cancelled")):
            _run(policies[hour % 3], resources, account, at - timedelta(hours=hour), state, hostile)
        _schedule(policies, at)
        for severity in ("critical", "warning", "info"):
            text = next(names) if hostile else "The role may not create snapshots: allow ec2:CreateSnapshot."
            title = next(names) if hostile else "vol-0000000003 has no new recovery point under policy silver"
            key = f"k:{severity}"
            Alert.create(
                key=key, open_key=key, severity=severity, title=title, text=text, count=7, raised_at=at, seen_at=at
            )
        for lane in ("snapshot", "copy"):
            body = next(names) if hostile else '{"queue_name": "snapfleet.snapshot.v1", "kwargs": {}}'
            DeadLetter.create(lane=lane, reason="bad-signature", body=body, received_at=at)
        MissedSlots.create(
            policy=policies[0],
            first_at=at - timedelta(hours=9),
            last_at=at - timedelta(hours=8),
            count=4,
            recorded_at=at,
            reason=next(names) if hostile else "4 slots passed while no coordinator was there.",
        )
        _processes(at, next(names) if hostile else "ops-1")


def _schedule(policies: list[Policy], at: datetime) -> None:
    """Every four hours, for longer than the runs that are shown."""
    grid = {"every": "4h", "starts_at": "2026-01-01T00:07", "time_zone": "UTC"}
    schedule = Schedule.create(name="four-hourly", spec=grid, created_at=at, changed_at=at)
    first = at - timedelta(hours=9)
    for policy in policies:
        PolicySchedule.create(policy=policy, schedule=schedule)
        Run.create(policy=policy, state="done", slot_at=first, created_at=first, finished_at=first)


def _resource(account: Account, number: int, name: str, at: datetime) -> Resource:
    return Resource.create(
        account=account,
        region="us-east-1",
        type="volume",
        external_id=f"vol-{number:010d}",
        name=name,
        tags={"team": name, name: "x"},
        found_at=at,
        seen_at=at,
    )


def _run(policy: Policy, resources: list[Resource], account: Account, at: datetime, state: str, hostile: bool) -> None:
    ended = None if state == "open" else at + timedelta(minutes=3)
    why = "" if state in ("open", "done") else "denied"
    times = {"slot_at": at, "created_at": at, "planned_at": at, "finished_at": ended}
    run = Run.create(policy=policy, state=state, error_code=why, targets=len(resources), **times)
    cycles = {
        "open": ("done", "running", "waiting", "queued", "pending", "failed"),
        "partial": ("done", "done", "failed"),
        "done": ("done",),
        "failed": ("failed",),
        "cancelled": ("cancelled",),
    }
    for resource, outcome in zip(resources, itertools.cycle(cycles[state]), strict=False):
        text = resource.name if hostile else "The role may not create snapshots."
        failed = {"error_code": "denied", "error_text": text} if outcome in ("failed", "cancelled") else {}
        job = Job.create(
            kind="snapshot",
            lane="snapshot",
            key=f"{run.id}-{resource.id}",
            run=run,
            account=account,
            region="us-east-1",
            resource=resource,
            state=outcome,
            attempt=1,
            not_before_at=at,
            created_at=at,
            finished_at=ended if outcome in ("done", "failed") else None,
            warnings=[resource.name] if hostile else [],
            **failed,
        )
        if outcome == "pending":
            Outbox.create(job=job, lane="snapshot", account_id=account.id, ready_at=at, created_at=at)
        if outcome in ("done", "failed"):
            _point(run, resource, outcome, at, text)


def _point(run: Run, resource: Resource, outcome: str, at: datetime, text: str) -> None:
    Point.create(
        resource=resource,
        policy=run.policy,
        run=run,
        account=resource.account,
        region="us-east-1",
        state="good" if outcome == "done" else "failed",
        taken_at=at,
        size_gib=100,
        held=text if resource.id % 5 == 0 else "",
        error_code="denied" if outcome == "failed" else "",
        error_text=text if outcome == "failed" else "",
    )


def _processes(at: datetime, host: str) -> None:
    rows = (
        ("coordinator", [], 0, 0, 0),
        ("worker", ["restore", "poll", "snapshot", "copy"], 8, 5, 1),
        ("worker", ["poll", "snapshot", "cleanup", "discover"], 8, 0, 600),
    )
    for number, (role, lanes, threads, busy, silent) in enumerate(rows):
        Process.create(
            name=f"{host}:{4000 + number}:{role}",
            role=role,
            lanes=lanes,
            threads=threads,
            busy=busy,
            version="0.1.0",
            started_at=at - timedelta(hours=30),
            seen_at=at - timedelta(seconds=silent) + timedelta(minutes=2 if not silent else 0),
        )
