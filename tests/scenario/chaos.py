"""`make chaos`: a thousand kills of real processes at every named crash point, and a hundred faults of what is around
them: links, broker, database, cloud (tests.scenario.trouble). One JSON line last.

    python -m tests.scenario.chaos [--kills 1000] [--faults 120] [--seed 1] [--soak MINUTES]

Starts its own RabbitMQ and PostgreSQL. Exits 1 when anything was lost, doubled, left dangling or below its floor. A
soak goes on with faults for so many minutes, also when all kills are done.
"""

import argparse
import platform
import sys
import tempfile
from pathlib import Path

from tests.scenario.killing import Spree
from tests.scenario.trouble import Trouble
from tests.services import PostgresServer, RabbitServer

FAULTS_A_MINUTE = 20  # a fault and the pause after it take some three seconds


def main() -> None:
    """Run the spree and print what it left behind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--faults", type=int, default=120, help="of links, servers and the cloud; 0: kills only")
    parser.add_argument("--soak", type=float, default=0.0, help="minutes of faults in all, at least")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=14, help="processes that die and come back")
    parser.add_argument("--seconds", type=float, default=3600.0)
    options = parser.parse_args()
    postgres, rabbit = PostgresServer(), RabbitServer()
    try:
        with tempfile.TemporaryDirectory(prefix="snapfleet-chaos-") as folder:
            database, vhost = postgres.new_database(), rabbit.new_vhost()
            faults = max(options.faults, int(options.soak * FAULTS_A_MINUTE))
            trouble = Trouble(postgres, rabbit, database, vhost, faults, options.seed) if faults else None
            spree = Spree(
                Path(folder),
                postgres.url(database),
                rabbit.url(vhost),
                options.kills,
                options.seed,
                options.workers,
                trouble,
            )
            outcome = spree.run(max(options.seconds, options.soak * 120))
    finally:
        rabbit.close()
        postgres.close()
    print(f"Python {platform.python_version()} on {platform.machine()}, seed {options.seed}", file=sys.stderr)
    print(outcome.to_json())
    sys.exit(bool(outcome.lost or outcome.doubled or outcome.dangling or outcome.below_floor))


if __name__ == "__main__":
    main()
