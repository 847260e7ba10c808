"""Print definitions.json with hashed passwords: those in SNAPFLEET_RABBITMQ_COORDINATOR, _WORKER and _MONITOR.

The file that is kept beside this holds no password, so that none of its accounts can log in. What is printed belongs to
the broker's host only, mode 0600: `load_definitions = FILE` in rabbitmq.conf, or `rabbitmqctl import_definitions FILE`.
"""

import json
import os
import sys
from pathlib import Path

from deploy.rabbitmq.hashing import hashed

DEFINITIONS = Path(__file__).parent / "definitions.json"
LEAST_CHARACTERS = 16  # nobody types these: they are made, and stand in a URL


def main() -> int:
    """Write to standard output; 2 when a password is missing or short."""
    definitions = json.loads(DEFINITIONS.read_text())
    for user in definitions["users"]:
        variable = f"SNAPFLEET_RABBITMQ_{user['name'].removeprefix('snapfleet-').upper()}"
        password = os.environ.get(variable, "")
        if len(password) < LEAST_CHARACTERS:
            sys.stderr.write(f"Set {variable} to a password of at least {LEAST_CHARACTERS} characters.\n")
            return 2
        user["password_hash"] = hashed(password)
    sys.stdout.write(json.dumps(definitions, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
