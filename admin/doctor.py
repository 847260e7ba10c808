"""Is this installation fit to run? Each check is one function that returns findings; none of them raises.

Local checks read what this host sees: settings, files, the catalog, the broker, clocks. Whether accounts can be
entered only a worker can say, since nobody else holds cloud rights: that is asked for as a wish and waited for.
"""

import shutil
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from admin.setup import sqlite_path
from tasks.amqp import sentence
from tasks.broker import FleetBroker, build_broker
from tasks.catalog import Account, DeadLetter, Meta, Process, User, database_time, open_catalog, session
from tasks.catalog.audit import KEY_ID
from tasks.catalog.fleet import DRAIN, SILENT_AFTER
from tasks.catalog.migrate import pending, unknown
from tasks.catalog.pools import COMMON, read_fleet, read_pools
from tasks.catalog.standstill import standstill
from tasks.clock import Clock, host_time
from tasks.errors import SnapfleetError
from tasks.lanes import Lane
from tasks.settings import Settings

OK, WARN, FAIL = "OK", "WARN", "FAIL"
# AWS refuses requests whose time is more than five minutes off; a minute is far beyond what a synchronised host has.
CLOCK_FAIL = timedelta(seconds=60)
CLOCK_WARN = timedelta(seconds=2)
# A catalog of 50,000 resources grows by some 100 MB a month; below this there is no room to react.
FREE_BYTES = 1 << 30
_UNDRAIN = "`snapfleet worker undrain NAME`; `snapfleet worker list` names them."


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, OK, WARN or FAIL, what was seen and what to do."""

    name: str
    outcome: str
    text: str
    advice: str = ""

    def to_json(self) -> dict[str, str]:
        """As it is printed."""
        return {"name": self.name, "outcome": self.outcome, "text": self.text, "advice": self.advice}


def examine(settings: Settings) -> list[Finding]:
    """Everything that can be seen from here. Without a catalog the checks that need one are left out."""
    found = [*_settings(settings), *_home(settings), *_key(settings), *_broker(settings)]
    catalog = _catalog(settings)
    found += catalog
    if all(item.outcome != FAIL for item in catalog):
        clock = settings.clock()
        for check in (_belongs, _clock_difference, _standstill, _processes, _pools, _people, _letters, _accounts):
            found += _guarded(check.__name__.strip("_"), lambda check=check: check(settings, clock))  # type: ignore[misc]
    return found


def _guarded(name: str, check: Callable[[], Iterable[Finding]]) -> list[Finding]:
    try:
        return list(check())
    except SnapfleetError as error:
        return [Finding(name, FAIL, error.text, error.advice)]


def _settings(settings: Settings) -> list[Finding]:
    size = "everything in one process" if settings.embedded else "a fleet with a broker"
    found = [Finding("settings", OK, f"read; {size}")]
    if settings.fast_clock:
        advice = "Unset SNAPFLEET_FAST_CLOCK wherever real data is protected."
        found.append(Finding("settings", WARN, "the calendar runs fast, which is for try-outs only", advice))
    if not settings.embedded and sqlite_path(settings.catalog):
        advice = "Set SNAPFLEET_CATALOG_URL to postgresql://…"
        found.append(Finding("settings", FAIL, "a fleet cannot share a SQLite catalog", advice))
    return found


def _home(settings: Settings) -> list[Finding]:
    home = settings.home
    if not home.is_dir():
        return [Finding("home", FAIL, f"{home} is not there", "Run `snapfleet init`.")]
    found = [_private("home", home, 0o700)]
    free = shutil.disk_usage(home).free
    if free < FREE_BYTES:
        found.append(Finding("home", WARN, f"{free >> 20} MiB are free on its disk", "Make room before it fills up."))
    return found


def _private(name: str, path: Path, mode: int) -> Finding:
    there = stat.S_IMODE(path.stat().st_mode)
    if there & 0o077:
        return Finding(name, WARN, f"{path} may be opened by others (mode {there:04o})", f"chmod {mode:o} {path}")
    return Finding(name, OK, f"{path} is its owner's only")


def _key(settings: Settings) -> list[Finding]:
    try:
        settings.master_key()
    except SnapfleetError as error:
        return [Finding("key", FAIL, error.text, error.advice)]
    if settings.key_command:
        return [Finding("key", OK, "the key command answers")]
    finding = _private("key", settings.key_path, 0o600)
    return [Finding("key", FAIL if finding.outcome == WARN else OK, finding.text, finding.advice)]


def _catalog(settings: Settings) -> list[Finding]:
    path = sqlite_path(settings.catalog)
    if path is not None and not path.exists():
        return [Finding("catalog", FAIL, f"{path} is not there", "Run `snapfleet init`.")]
    try:
        open_catalog(settings.catalog)
        newer, missing = unknown(), pending()
    except SnapfleetError as error:
        return [Finding("catalog", FAIL, error.text, error.advice or "Check SNAPFLEET_CATALOG_URL and its server.")]
    if newer:
        return [Finding("catalog", FAIL, "it belongs to a newer version", "Upgrade this program.")]
    if missing:
        return [Finding("catalog", FAIL, f"its schema lacks {', '.join(missing)}", "Run `snapfleet upgrade`.")]
    return [Finding("catalog", OK, "answers, with this version's schema")]


def _broker(settings: Settings) -> list[Finding]:
    if settings.embedded:
        return [Finding("broker", OK, "in memory, inside `snapfleet up`")]
    try:
        broker = build_broker(settings.broker_url, settings.message_keys(), queues=())
        if isinstance(broker, FleetBroker):
            broker.connect(Lane.POLL).close()
    except SnapfleetError as error:
        return [Finding("broker", FAIL, error.text, error.advice)]
    except Exception as error:  # noqa: BLE001 - pika, sockets and TLS each raise their own; the next check must run
        return [
            Finding("broker", FAIL, sentence(error), "Check SNAPFLEET_BROKER_URL, its account and its certificate.")
        ]
    return [Finding("broker", OK, "lets us in")]


def _belongs(settings: Settings, _clock: Clock) -> list[Finding]:
    with session():
        known = {row.key: row.value for row in Meta.select().where(Meta.key.in_(["installation", KEY_ID]))}
    if "installation" not in known:
        return [Finding("installation", FAIL, "the catalog has no installation id", "Run `snapfleet init`.")]
    try:
        key_id = settings.master_key().key_id
    except SnapfleetError:
        return []  # already said
    if known.get(KEY_ID, key_id) != key_id:
        advice = "Bring the key file that belongs to this catalog."
        return [Finding("installation", FAIL, "the master key is another catalog's", advice)]
    return [Finding("installation", OK, known["installation"])]


def _clock_difference(_settings: Settings, _clock: Clock) -> list[Finding]:
    before = host_time()
    there = database_time()
    after = host_time()
    off = max(before - there, there - after, timedelta(0))
    text = f"this host and the catalog differ by {off.total_seconds():.1f} s"
    if off < CLOCK_WARN:
        return [Finding("clock", OK, text)]
    return [Finding("clock", FAIL if off >= CLOCK_FAIL else WARN, text, "Synchronise both with NTP.")]


def _processes(_settings: Settings, clock: Clock) -> list[Finding]:
    with session():
        rows: Any = list(Process.select().where(Process.seen_at >= clock.timer() - SILENT_AFTER))
    start = "Start `snapfleet up`, or a coordinator and workers."
    if not any(row.role == "coordinator" for row in rows):
        return [Finding("processes", WARN, "no coordinator runs, so nothing starts", start)]
    with session():
        served = {lane for lane, pool in read_fleet(clock.timer()).served if pool == COMMON}
    idle = [str(lane) for lane in Lane if lane not in served]
    if len(idle) == len(Lane) and _all_drained(rows, COMMON):
        return [Finding("processes", WARN, "all workers of the common pool are drained", _UNDRAIN)]
    if idle:
        return [Finding("processes", WARN, f"no worker takes {', '.join(idle)}", start)]
    return [Finding("processes", OK, f"{len(rows)} run")]


def _standstill(_settings: Settings, _clock: Clock) -> list[Finding]:
    """Nothing to say while work goes on."""
    with session():
        still = standstill()
    if still is None:
        return []
    seen = f"the fleet stands still since {still.since:%Y-%m-%d %H:%M} UTC, asked for by {still.who}"
    return [Finding("standstill", WARN, seen, "End it with `snapfleet resume`.")]


def _all_drained(rows: Iterable[Any], pool: str) -> bool:
    """Whether a pool has workers, and an operator has drained each of them."""
    wishes = {row.wanted for row in rows if row.role == "worker" and row.pool == pool}
    return wishes == {DRAIN}


def _pools(_settings: Settings, clock: Clock) -> list[Finding]:
    """Nothing to say where no account is bound to a worker pool and no worker is in one."""
    with session():
        pools, served = read_pools(), read_fleet(clock.timer()).served
        rows: Any = list(Process.select().where(Process.seen_at >= clock.timer() - SILENT_AFTER))
    found = []
    for pool in pools.names:
        missing = [str(lane) for lane in Lane if (str(lane), pool) not in served]
        if _all_drained(rows, pool):
            found.append(Finding(f"pool {pool}", WARN, "all its workers are drained", _UNDRAIN))
        elif missing:
            seen = "no worker is in it" if len(missing) == len(Lane) else f"no worker takes {', '.join(missing)}"
            advice = f"Start `snapfleet worker --pool {pool}`, or bind its accounts to another pool."
            found.append(Finding(f"pool {pool}", WARN, seen, advice))
        else:
            found.append(Finding(f"pool {pool}", OK, "every lane has a worker"))
    for pool in sorted({pool for _, pool in served if pool} - set(pools.names)):
        advice = "Correct the worker's setting `pool`, or bind an account to it in the estate file."
        found.append(Finding(f"pool {pool}", WARN, "a worker is in it, and no account is bound to it", advice))
    return found


def _people(_settings: Settings, _clock: Clock) -> list[Finding]:
    with session():
        if User.select().where(User.role == "admin", User.disabled_at.is_null()).exists():
            return [Finding("users", OK, "somebody may log in to the page")]
    return [Finding("users", WARN, "no administrator may log in", "Run `snapfleet users add NAME --role admin`.")]


def _letters(_settings: Settings, _clock: Clock) -> list[Finding]:
    with session():
        count = DeadLetter.select().where(DeadLetter.state == "open").count()
    if count:
        return [Finding("dead letters", WARN, f"{count} wait for somebody", "See `snapfleet dead list`.")]
    return [Finding("dead letters", OK, "none")]


def _accounts(_settings: Settings, _clock: Clock) -> list[Finding]:
    """What the estate itself says; entering the accounts is `contact`."""
    with session():
        rows: Any = list(Account.select().where(Account.enabled).order_by(Account.name))
    open_roles = [row.name for row in rows if row.role_arn and not row.external_id_sealed]
    found = [] if rows else [Finding("accounts", WARN, "there is none yet", "Write one and `snapfleet apply` it.")]
    if open_roles:
        advice = "Give each role an external id, and its account's entry external_id: env:NAME."
        found.append(Finding("accounts", WARN, f"roles without an external id: {', '.join(open_roles)}", advice))
    return found


def judge_checks(account: str, region: str, result: dict[str, Any], error: str) -> list[Finding]:
    """What a worker's check of one account and region says."""
    place = f"account {account} {region}"
    if error:
        return [Finding(place, FAIL, error, "Check the role, the external id and the network.")]
    checks = result.get("checks", [])
    broken = [item for item in checks if item["name"] == "contact" and item["outcome"] != "ok"]
    if broken:
        return [Finding(place, FAIL, broken[0]["text"], "Check the role and the external id.")]
    missing = [item for item in checks if item["outcome"] == "missing"]
    found = [Finding(place, WARN, f"{item['name']}: {item['text']}", "Allow it for this role.") for item in missing]
    tried = sum(item["outcome"] == "ok" for item in checks)
    untried = sum(item["outcome"] == "unknown" for item in checks)
    rest = f", {untried} could not be tried" if untried else ""
    return found or [Finding(place, OK, f"entered, {tried} actions allowed{rest}")]
