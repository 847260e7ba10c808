"""`make chaos-archives`: hundreds of kills of processes that archive, restore, forget and prune; one JSON line last.

    python -m tests.scenario.archive_chaos [--kills 300] [--seed 1]

Starts its own RabbitMQ, PostgreSQL and emulated AWS. Exits 1 when a generation restores to other bytes, anything
referenced is missing, anything unneeded is left, or the catalog and the bucket differ.
"""

import argparse
import platform
import sys
import tempfile
from pathlib import Path

from tests.sandbox import FAST, Sandbox, start
from tests.scenario.archiving import Spree
from tests.services import PostgresServer, RabbitServer


def main() -> None:
    """Run the spree and print what it left behind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=5, help="processes that die and come back")
    parser.add_argument("--seconds", type=float, default=3600.0)
    options = parser.parse_args()
    postgres, rabbit = PostgresServer(), RabbitServer()
    process, url = start(**FAST, snapshot_interval_seconds=0.0, metering=False)
    try:
        with tempfile.TemporaryDirectory(prefix="snapfleet-archives-") as folder:
            catalog, broker = postgres.url(postgres.new_database()), rabbit.url(rabbit.new_vhost())
            spree = Spree(
                Path(folder), catalog, broker, Sandbox(url, FAST), options.kills, options.seed, options.workers
            )
            outcome = spree.run(options.seconds)
    finally:
        process.kill()
        rabbit.close()
        postgres.close()
    print(f"Python {platform.python_version()} on {platform.machine()}, seed {options.seed}", file=sys.stderr)
    print(outcome.to_json())
    sys.exit(bool(outcome.bad()))


if __name__ == "__main__":
    main()
