"""`make chaos`: a thousand kills of real processes at every named crash point; one JSON line last.

    python -m tests.scenario.chaos [--kills 1000] [--seed 1]

Starts its own RabbitMQ and PostgreSQL. Exits 1 when anything was lost, doubled, left dangling or below its floor.
"""

import argparse
import platform
import sys
import tempfile
from pathlib import Path

from tests.scenario.killing import Spree
from tests.services import PostgresServer, RabbitServer


def main() -> None:
    """Run the spree and print what it left behind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=14, help="processes that die and come back")
    parser.add_argument("--seconds", type=float, default=3600.0)
    options = parser.parse_args()
    postgres, rabbit = PostgresServer(), RabbitServer()
    try:
        with tempfile.TemporaryDirectory(prefix="snapfleet-chaos-") as folder:
            url = postgres.url(postgres.new_database())
            spree = Spree(
                Path(folder), url, rabbit.url(rabbit.new_vhost()), options.kills, options.seed, options.workers
            )
            outcome = spree.run(options.seconds)
    finally:
        rabbit.close()
        postgres.close()
    print(f"Python {platform.python_version()} on {platform.machine()}, seed {options.seed}", file=sys.stderr)
    print(outcome.to_json())
    sys.exit(bool(outcome.lost or outcome.doubled or outcome.dangling or outcome.below_floor))


if __name__ == "__main__":
    main()
