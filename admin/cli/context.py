"""What a command has at hand: settings, an opened catalog, the clock, who is asking, and where to print."""

import getpass
import os
from dataclasses import dataclass
from functools import cached_property

from admin.cli.output import Output
from admin.setup import sqlite_path
from tasks.catalog import open_catalog
from tasks.catalog.audit import fetch_audit_key, sign_audit_with
from tasks.catalog.migrate import require_current
from tasks.clock import Clock
from tasks.errors import Invalid
from tasks.settings import Settings, load_settings


@dataclass
class Context:
    """One invocation of a command."""

    output: Output

    @cached_property
    def settings(self) -> Settings:
        """The settings, read at first use. Raises Invalid."""
        return load_settings()

    @cached_property
    def clock(self) -> Clock:
        """The installation's clock; opens the catalog."""
        self.open()
        return self.settings.clock()

    @cached_property
    def who(self) -> str:
        """Who is asking, for the audit: the account on this host, however it was reached."""
        sign_audit_with(self.settings.master_key)
        fetch_audit_key()
        try:
            return f"{getpass.getuser()}@cli"
        except (KeyError, OSError):
            return f"uid-{os.getuid()}@cli"

    def open(self, *, current: bool = True) -> None:
        """Open the catalog. Raises Invalid when there is none yet, or (`current`) when its schema is another's."""
        require_catalog(self.settings)
        open_catalog(self.settings.catalog)
        sign_audit_with(self.settings.master_key)
        if current:
            require_current()


def require_catalog(settings: Settings) -> None:
    """Raise Invalid when the embedded catalog's file is not there: opening it would make an empty one."""
    path = sqlite_path(settings.catalog)
    if path is not None and not path.exists():
        raise Invalid(f"There is no catalog at {path}.", advice="Run `snapfleet init` first, or set SNAPFLEET_HOME.")
