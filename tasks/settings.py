"""Settings: read once from the environment (SNAPFLEET_*) and a TOML file, frozen, passed in.

The file is `$SNAPFLEET_HOME/snapfleet.toml`; a variable SNAPFLEET_X wins over the file's `x`. Secrets are never in
the file's text: a value `env:NAME` or `file:PATH` names where one is read. The clouds' own settings (AWS_ENDPOINT_URL,
profiles …) belong to their SDKs and are not repeated here.
"""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from pathlib import Path

from tasks.catalog import database_time
from tasks.clock import FastCalendar, SystemClock
from tasks.errors import Invalid
from tasks.lanes import LANES, Lane
from tasks.secrets import MasterKey, Secret

DEFAULT_HOME = "~/.snapfleet"


# Work waits for clouds, and what many threads have to write is written together: with 32 a job cost half of what it
# cost with 8 (`make bench-pool`, 2026-11-22). SQLite has one writer, so that more threads only wait for each other.
FLEET_THREADS, EMBEDDED_THREADS = 32, 8


@dataclass(frozen=True)
class Settings:
    """Everything an operator may set; each field says what it is for (`snapfleet doctor` prints this)."""

    home: Path = field(
        metadata={"about": "folder of the embedded catalog, the keys, the page's certificate and snapfleet.toml"}
    )
    catalog_url: str = field(
        default="", metadata={"about": "postgresql://… for a fleet; empty: SQLite in the home folder"}
    )
    broker_url: str = field(
        default="", metadata={"about": "amqp(s)://… for a fleet; empty: in-process (snapfleet up only)"}
    )
    key_file: str = field(default="", metadata={"about": "master key; empty: keys/master.key in the home folder"})
    key_command: str = field(
        default="", metadata={"about": "command that prints the master key as base64: a KMS or vault instead of a file"}
    )
    fast_clock: str = field(
        default="", metadata={"about": "REAL,VIRTUAL,RATE: a fast calendar, for try-outs and tests only"}
    )
    listen: str = field(default="127.0.0.1", metadata={"about": "address the page and the metrics listen on"})
    port: int = field(default=8643, metadata={"about": "HTTPS port of the page"})
    tls_cert_file: str = field(
        default="", metadata={"about": "certificate of the page; empty: one is made at first start"}
    )
    tls_key_file: str = field(default="", metadata={"about": "its private key"})
    metrics_token: Secret = field(
        default=Secret(""), metadata={"about": "token that /metrics asks for; empty: loopback only"}
    )
    drivers: str = field(
        default="", metadata={"about": "MODULE:FUNCTION that makes the cloud drivers; empty: the built-in ones"}
    )
    threads: int = field(
        default=0, metadata={"about": "threads of one worker process; 0: 32 in a fleet, 8 in `snapfleet up`"}
    )
    pool: str = field(
        default="", metadata={"about": "worker pool whose accounts and regions a worker serves; empty: all others"}
    )
    tick_seconds: float = field(default=1.0, metadata={"about": "longest pause between two ticks of a coordinator"})
    poll_floor_seconds: float = field(
        default=15.0, metadata={"about": "first and shortest pause between two questions about an operation"}
    )
    guard_seconds: float = field(
        default=90.0,
        metadata={"about": "pause before creating again after the cloud's answer was lost: its tags appear late"},
    )
    retention_seconds: float = field(default=300.0, metadata={"about": "pause between two retention passes"})
    discover_seconds: float = field(
        default=900.0, metadata={"about": "age at which a look at an account is taken again for a run"}
    )
    lease_seconds: float = field(
        default=0.0, metadata={"about": "how long a claim is good without renewal; 0: as each lane says"}
    )
    lost_seconds: float = field(default=120.0, metadata={"about": "age at which an unclaimed message is sent again"})
    split_gib: float = field(
        default=1024.0,
        metadata={"about": "volumes from this size on are archived by several workers at once"},
    )
    checkpoint_gib: float = field(
        default=8.0,
        metadata={
            "about": "how much of a volume is archived between two checkpoints: read again at most when a worker dies"
        },
    )
    sync_keys: int = field(
        default=20_000,
        metadata={"about": "keys of a bucket in one part of its sync: eight parts are worked at side by side"},
    )
    restore_folder: str = field(
        default="",
        metadata={"about": "folder of a worker for volumes restored to files (`restore --to file`); empty: refused"},
    )
    quarantine_seconds: float = field(
        default=0.0,
        metadata={"about": "how long a point that retention lets go is there still; `hold` takes it back meanwhile"},
    )
    grace_seconds: float = field(
        default=86400.0,
        metadata={
            "about": "how long a repository keeps what nothing needs, and believes in a worker that says nothing"
        },
    )
    proxy: str = field(
        default="", metadata={"about": "HTTP proxy for the clouds and webhooks, as HOST:PORT; NO_PROXY is honoured"}
    )
    proxy_user: str = field(default="", metadata={"about": "user at the proxy"})
    proxy_password: Secret = field(default=Secret(""), metadata={"about": "password at the proxy"})
    azure_cloud: str = field(default="public", metadata={"about": "public, us-government or china"})
    azure_endpoint: str = field(default="", metadata={"about": "Azure's resource manager, where it is another"})
    azure_authority: str = field(default="", metadata={"about": "Azure's login service, where it is another"})
    azure_ca: str = field(default="", metadata={"about": "file of certificate authorities for these two"})
    azure_blob_endpoint: str = field(
        default="", metadata={"about": "Azure Blob, where it is another; {account} stands for the storage account"}
    )
    webhook_url: str = field(default="", metadata={"about": "receiver of alerts; calls are signed"})
    webhook_secret: Secret = field(default=Secret(""), metadata={"about": "key of the signature of webhook calls"})

    def __post_init__(self) -> None:
        if not self.threads:
            object.__setattr__(self, "threads", EMBEDDED_THREADS if self.embedded else FLEET_THREADS)

    @property
    def catalog(self) -> str:
        """The catalog's URL, the embedded one where none is set."""
        return self.catalog_url or f"sqlite://{self.home / 'catalog.sqlite'}"

    @property
    def embedded(self) -> bool:
        """Whether this is the one-process size: no broker of its own."""
        return not self.broker_url

    def master_key(self) -> MasterKey:
        """The key that seals secrets and signs messages. Raises Invalid when `init` was not run."""
        return MasterKey.from_command(self.key_command) if self.key_command else MasterKey.load(self.key_path)

    @property
    def key_place(self) -> str:
        """Where the master key comes from, in words."""
        return "that the key command prints" if self.key_command else f"at {self.key_path}"

    @property
    def key_path(self) -> Path:
        """Where the master key lies."""
        return Path(self.key_file) if self.key_file else self.home / "keys" / "master.key"

    def message_keys(self) -> dict[str, bytes]:
        """Key id to key of the message signatures, as `tasks.messages.SignedEncoder` takes them."""
        key = self.master_key()
        return {key.key_id: key.derive(b"message signatures")}

    def clock(self) -> SystemClock:
        """The clock of this installation: the database's time, and a fast calendar where one is set."""
        fast = FastCalendar.parse(self.fast_clock) if self.fast_clock else None
        return SystemClock(database_time, fast)

    def lease(self, lane: Lane) -> timedelta:
        """How long a claim in this lane is good without renewal."""
        return timedelta(seconds=self.lease_seconds) if self.lease_seconds else LANES[lane].lease

    @property
    def poll_floor(self) -> timedelta:
        """The first pause between two questions about an operation."""
        return timedelta(seconds=self.poll_floor_seconds)


def load_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Settings from `environment` (default: the process's) over the TOML file over defaults.

    Raises Invalid naming the setting, where it was read and the expected kind of value.
    """
    env = os.environ if environment is None else environment
    home = Path(env.get("SNAPFLEET_HOME", DEFAULT_HOME)).expanduser()
    file = home / "snapfleet.toml"
    try:
        read = tomllib.loads(file.read_text()) if file.exists() else {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Invalid(f"{file} is not valid TOML: {error}.") from None
    known = {item.name: item for item in fields(Settings) if item.name != "home"}
    unknown = sorted(set(read) - set(known))
    if unknown:
        raise Invalid(f"{file} holds unknown settings: {', '.join(unknown)}.", advice=f"Known: {', '.join(known)}.")
    values: dict[str, object] = {}
    for name, item in known.items():
        variable = f"SNAPFLEET_{name.upper()}"
        if variable in env:
            values[name] = _convert(item.default, env[variable], variable, env)
        elif name in read:
            values[name] = _convert(item.default, str(read[name]), f"{name} in {file}", env)
    found = Settings(home=home, **values)  # type: ignore[arg-type]
    if not 1 <= found.port <= 65535:
        raise Invalid(f"The setting port is {found.port}, which is not a port.", advice="Write 1 to 65535.")
    host, _, port = found.proxy.rpartition(":")
    if found.proxy and not (host and port.isascii() and port.isdecimal()):
        raise Invalid(f"The setting proxy is {found.proxy!r}.", advice="Write HOST:PORT.")
    return found


def _convert(default: object, text: str, where: str, env: Mapping[str, str]) -> object:
    try:
        if isinstance(default, Secret):
            return read_secret(text, env)
        if isinstance(default, int | float):
            return type(default)(text)
    except ValueError:
        raise Invalid(f"{where} is {text!r}, which is not a number.") from None
    return text


def read_secret(reference: str, environment: Mapping[str, str] | None = None) -> Secret:
    """The secret that `env:NAME` or `file:PATH` names; any other text is the secret itself.

    Raises Invalid when the variable or the file is not there.
    """
    env = os.environ if environment is None else environment
    kind, _, name = reference.partition(":")
    if kind == "env":
        if name not in env:
            raise Invalid(f"The secret {reference} is not set.", advice=f"Set the environment variable {name}.")
        return Secret(env[name])
    if kind == "file":
        try:
            return Secret(Path(name).read_text().strip())
        except OSError as error:
            raise Invalid(f"The secret {reference} cannot be read: {error.strerror}.") from None
    return Secret(reference)
