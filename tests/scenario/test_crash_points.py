"""Real processes, a real broker and database, a real SIGKILL at every named crash point; feature C4.

In the end there is exactly one snapshot for each target and slot, nothing points at what is gone, and no target is
below its floor. The long run with a thousand kills is `make chaos`.
"""

from pathlib import Path

import pytest

from tasks.crash import POINTS
from tests.scenario.killing import Spree, policy_successes

KILLS = 150
# Three minutes of work suffice on two cores; a machine that is busier only reaches fewer points in the same time.
SECONDS = 240.0


@pytest.mark.timeout(480)
def test_a_hundred_and_fifty_kills_at_named_points_leave_one_snapshot_per_target_and_slot(
    tmp_path: Path, postgres_catalog_url: str, rabbitmq_vhost: str
) -> None:
    """feature C4, feature 65"""
    outcome = Spree(tmp_path, postgres_catalog_url, rabbitmq_vhost, KILLS).run(SECONDS)
    print(outcome.to_json())
    assert set(outcome.reached) == set(POINTS), f"not reached: {sorted(set(POINTS) - set(outcome.reached))}"
    assert outcome.kills >= KILLS * 0.9
    assert (outcome.lost, outcome.doubled, outcome.dangling, outcome.below_floor) == (0, 0, 0, 0)
    assert policy_successes() > 3
