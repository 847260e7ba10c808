"""`make sim`: many seeds of a simulated fleet, and the mutants that it must notice; one JSON line last.

    python -m tests.sim [--seeds 1000] [--first 1]
    python -m tests.sim --seed N [--small]    replays one seed and prints its trace

Exits 1 when a seed ends with anything lost, doubled, dangling or below its floor, or when a mutant is not noticed.
"""

import argparse
import json
import logging
import multiprocessing
import sys
import tempfile
import time
from collections import Counter
from functools import partial
from pathlib import Path

from tests.sim import pool
from tests.sim.mutants import MUTANTS
from tests.sim.story import SMALL, Options, run_seed


def main() -> None:
    """Run the seeds and the mutants, tell what was wrong as it is found, and the figures at the end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--seed", type=int, help="replay this one and print its trace")
    parser.add_argument("--small", action="store_true", help="as small as in `make test`")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix="snapfleet-sim-") as folder:
        if options.seed is not None:
            sys.exit(_replay(options.seed, Path(folder), SMALL if options.small else Options()))
        sys.exit(_run(range(options.first, options.first + options.seeds), options.processes, Path(folder)))


def _replay(seed: int, folder: Path, options: Options) -> bool:
    outcome = run_seed(seed, folder, options)
    for moment, who, what in outcome.trace:
        print(f"{moment:12.3f}  {who:24} {what}")
    print(f"seed {seed}: trace {outcome.digest}, {outcome.jobs} jobs, {outcome.deaths} deaths")
    print("\n".join(outcome.verdict.stories) or "nothing is wrong")
    return bool(outcome.verdict.stories)


def _run(seeds: range, processes: int, folder: Path) -> bool:
    began, totals = time.monotonic(), Counter[str]()
    points: set[str] = set()
    with multiprocessing.get_context("spawn").Pool(processes, pool.quiet) as crew:
        for outcome in crew.imap_unordered(partial(pool.one, folder=folder), seeds, chunksize=4):
            totals.update(outcome.verdict.figures())
            totals.update(jobs=outcome.jobs, deaths=outcome.deaths, defects=len(outcome.verdict.defects))
            points |= outcome.points
            for story in outcome.verdict.stories:
                print(f"seed {outcome.seed}: {story}  (python -m tests.sim --seed {outcome.seed})", flush=True)
        hunted = crew.map(partial(pool.mutant, folder=folder), [one.name for one in MUTANTS], chunksize=1)
    for one in hunted:
        print(f"mutant {one.mutant}: {'killed by seed ' + str(one.seed) if one.seed else 'ALIVE'}, {one.story}")
    figures = {
        "seeds": len(seeds),
        "mutants": len(hunted),
        "mutants_killed": sum(one.seed is not None for one in hunted),
        **{name: totals[name] for name in ("lost", "doubled", "dangling", "below_floor", "defects", "jobs", "deaths")},
        "points": len(points),
        "seconds": round(time.monotonic() - began, 1),
    }
    print(json.dumps(figures))
    wrong = sum(totals[name] for name in ("lost", "doubled", "dangling", "below_floor", "defects"))
    return bool(wrong or figures["mutants"] != figures["mutants_killed"])


if __name__ == "__main__":
    main()
