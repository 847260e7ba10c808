"""`make chaos-engine`: the engine's operations inside each other with deaths anywhere, by thousands of seeds.

    python -m tests.workers.repository.chaos [--seeds 3000] [--first 10000]

One process a core; one JSON line last. Exits 1 naming the seeds that broke a promise.
"""

import argparse
import json
import sys
import time
from concurrent.futures import ProcessPoolExecutor

from tests.workers.repository.test_seeds import live


def attempt(seed: int) -> tuple[int, int, str]:
    """Generations kept and calls made with this seed, and what broke."""
    try:
        return *live(seed), ""
    except AssertionError as error:
        return 0, 0, str(error)


def main() -> None:
    """Run the seeds and print what became of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3000)
    parser.add_argument("--first", type=int, default=10_000)
    options = parser.parse_args()
    began = time.monotonic()
    with ProcessPoolExecutor() as pool:
        told = list(pool.map(attempt, range(options.first, options.first + options.seeds), chunksize=20))
    broken = [text for _, _, text in told if text]
    facts = {
        "seeds": options.seeds,
        "first": options.first,
        "generations": sum(kept for kept, _, _ in told),
        "store_calls": sum(calls for _, calls, _ in told),
        "broken": broken[:20],
        "seconds": round(time.monotonic() - began, 1),
    }
    print(json.dumps(facts))
    sys.exit(bool(broken))


if __name__ == "__main__":
    main()
