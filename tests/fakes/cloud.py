"""A cloud in an SQLite file: what exists in it, a log of every call, and faults to come.

In memory for one process, or in a file that several worker processes share: everything a call does is one transaction,
so that what a process that is killed had done stays done, as in a real cloud. It refuses what EC2 refuses; the rules
are named beside the refusals in tests.fakes.driver.
"""

import contextlib
import json
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

_SCHEMA = """
create table if not exists thing (id text primary key, kind text, account text, region text, key text, doc text);
create table if not exists call (n integer primary key, method text, account text, region text, subject text, pid int);
create table if not exists fault (n integer primary key, method text, kind text, times int);
create table if not exists setting (name text primary key, value int);
create table if not exists number (n integer primary key autoincrement);
"""


@dataclass
class Thing:
    """Something that exists. `key` is the tag snapfleet:job it was made with ('' for what was there before)."""

    id: str
    kind: str
    account: str
    region: str
    key: str
    doc: dict[str, Any]


@dataclass(frozen=True)
class Call:
    """One call that arrived: also one whose answer was lost."""

    method: str
    account: str
    region: str
    subject: str
    pid: int


Busy = sqlite3.OperationalError


class FakeCloud:
    """The cloud itself; `tests.fakes.driver.FakeDriver` is how workers speak to it.

    `before_call` runs at the start of every call: tests use it to look at their own process in that moment. Whoever
    waits longer than `patience` seconds for another process's call gets `Busy`.
    """

    def __init__(
        self, path: str = ":memory:", before_call: Callable[[str], None] = lambda _: None, patience: float = 30
    ) -> None:
        self._lock = threading.RLock()
        self._database = sqlite3.connect(path, check_same_thread=False, timeout=patience, isolation_level=None)
        self._database.execute("pragma journal_mode = wal")
        self._database.execute("pragma synchronous = off")  # what a killed process wrote is in the kernel's hands
        self._database.executescript(_SCHEMA)
        self.before_call = before_call

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All of the block or nothing, also for a process that dies in it."""
        with self._lock:
            if self._database.in_transaction:
                yield
                return
            self._database.execute("begin immediate")
            try:
                yield
            except BaseException:
                self._database.execute("rollback")
                raise
            self._database.execute("commit")

    # --- what exists ---

    def new_id(self, prefix: str) -> str:
        """An id nobody had before."""
        with self.transaction():
            return f"{prefix}-{self._database.execute('insert into number default values').lastrowid:08x}"

    def put(self, thing: Thing) -> Thing:
        """Make or change a thing."""
        with self.transaction():
            self._database.execute(
                "insert or replace into thing values (?, ?, ?, ?, ?, ?)",
                (thing.id, thing.kind, thing.account, thing.region, thing.key, json.dumps(thing.doc)),
            )
        return thing

    def get(self, thing_id: str) -> Thing | None:
        """The thing with this id, if it exists."""
        return next(iter(self._things("id = ?", thing_id)), None)

    def remove(self, thing_id: str) -> None:
        """Make a thing vanish, as somebody else's deletion would."""
        with self.transaction():
            self._database.execute("delete from thing where id = ?", (thing_id,))

    def of_kind(self, kind: str) -> list[Thing]:
        """Everything of a kind, in order of making."""
        return self._things("kind = ?", kind)

    def snapshots_of(self, volume: str) -> list[Thing]:
        """The snapshots of a volume; the others are not read, since a story may have made thousands."""
        return self._things("kind = 'snapshot' and json_extract(doc, '$.source') = ?", volume)

    def with_key(self, key: str) -> list[Thing]:
        """What carries a key, or the key of one of its parts."""
        return self._things("key = ? or key like ?", key, f"{key}/%")

    def _things(self, where: str, *values: str) -> list[Thing]:
        with self._lock:
            rows = self._database.execute(f"select * from thing where {where} order by rowid", values).fetchall()
        return [Thing(*names, doc=json.loads(doc)) for *names, doc in rows]

    # --- seeds ---

    def volume(self, volume_id: str, *, account: str = "prod", region: str = "us-east-1", **doc: Any) -> str:
        """A volume; `doc` may hold size_gib, encrypted, default_key, instance, device, name, tags."""
        standard = {"size_gib": 8, "encrypted": False, "instance": "", "device": "", "tags": {}, "name": ""}
        self.put(Thing(volume_id, "volume", account, region, "", {**standard, **doc}))
        return volume_id

    def instance(
        self, instance_id: str, *, volumes: int = 2, account: str = "prod", region: str = "us-east-1", **doc: Any
    ) -> str:
        """An instance with `volumes` volumes, called like itself with -0, -1 …"""
        self.put(
            Thing(instance_id, "instance", account, region, "", {"name": "", "tags": {}, "state": "running", **doc})
        )
        for number in range(volumes):
            device = f"/dev/sd{chr(ord('a') + number)}"
            name = f"{instance_id.replace('i-', 'vol-')}-{number}"
            self.volume(name, account=account, region=region, instance=instance_id, device=device)
        return instance_id

    # --- what goes wrong, what takes long, and what was called ---

    def fault(self, method: str, kind: str, times: int = 1) -> None:
        """Let the next `times` calls of a method go wrong (kinds: tests.fakes.driver)."""
        with self.transaction():
            self._database.execute("insert into fault (method, kind, times) values (?, ?, ?)", (method, kind, times))

    def forgive(self) -> None:
        """Forget the faults that are still to come."""
        with self.transaction():
            self._database.execute("delete from fault")

    def take_fault(self, method: str) -> str:
        """The fault for this call, used up by it; '' for none."""
        with self.transaction():
            row = self._database.execute(
                "select n, kind from fault where method = ? and times > 0 order by n limit 1", (method,)
            ).fetchone()
            if row is None:
                return ""
            self._database.execute("update fault set times = times - 1 where n = ?", (row[0],))
            return str(row[1])

    def set(self, name: str, value: int) -> None:
        """`answers`: how often an operation is still running when asked. `page`: resources on a page."""
        with self.transaction():
            self._database.execute("insert or replace into setting values (?, ?)", (name, value))

    def setting(self, name: str, default: int) -> int:
        """What was set."""
        with self._lock:
            row = self._database.execute("select value from setting where name = ?", (name,)).fetchone()
        return int(row[0]) if row else default

    def log(self, method: str, account: str, region: str, subject: str) -> None:
        """Remember a call that arrived."""
        with self.transaction():
            self._database.execute(
                "insert into call (method, account, region, subject, pid) values (?, ?, ?, ?, ?)",
                (method, account, region, subject, os.getpid()),
            )

    def calls(self, method: str = "") -> list[Call]:
        """Every call that arrived, in order; creates are logged as `create:KIND` beside the method."""
        with self._lock:
            rows = self._database.execute(
                "select method, account, region, subject, pid from call where ? in ('', method) order by n", (method,)
            ).fetchall()
        return [Call(*row) for row in rows]
