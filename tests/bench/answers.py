"""Whether a night did what it should: the sandbox's snapshots against the catalog, instance by instance."""

from collections import Counter, defaultdict
from dataclasses import dataclass

from deploy.sandbox.client import ControlClient
from tasks.catalog import Account, Part, Point, Resource, Run, rows, session
from tasks.states import PointState


@dataclass(frozen=True)
class Verdict:
    """Instance-nights without exactly one good set: none (`lost`), or more than was asked for (`doubled`).

    `orphans` are snapshots in the cloud that belong to no good point.
    """

    runs: int
    expected: int
    lost: int
    doubled: int
    orphans: int


def compare(cloud: ControlClient, volumes: int) -> Verdict:
    """Every instance of every finished run: one good point, whose parts are the only completed set under its run."""
    with session():
        arns = [arn for (arn,) in rows(Account.select(Account.role_arn))]
        runs = [run for (run,) in rows(Run.select(Run.id))]
        machines = Resource.select(Resource.id, Resource.external_id).where(Resource.type == "instance")
        instances = dict(rows(machines))
        good = rows(Point.select(Point.id, Point.run, Point.resource).where(Point.state == PointState.GOOD))
        parts: dict[int, set[str]] = defaultdict(set)
        for point, snapshot in rows(Part.select(Part.point, Part.external_id).where(Part.state == PointState.GOOD)):
            parts[point].add(snapshot)
        regions = {region for (region,) in rows(Resource.select(Resource.region).distinct())}
    sets, states = _in_the_cloud(cloud, {arn.split(":")[4] for arn in arns}, regions)
    points: dict[tuple[str, str], list[int]] = defaultdict(list)
    for point, run, resource in good:
        points[f"run-{run}", instances[resource]].append(point)
    lost = doubled = 0
    for run in runs:
        for external in instances.values():
            mine, made = points[f"run-{run}", external], sets[f"run-{run}", external]
            whole = [one for one in mine if len(parts[one]) == volumes and all(states.get(s) for s in parts[one])]
            lost += not whole
            doubled += len(mine) > 1 or len(made) > 1 or any(count > volumes for count in made.values())
    kept = {snapshot for members in parts.values() for snapshot in members}
    return Verdict(len(runs), len(runs) * len(instances), lost, doubled, len(states.keys() - kept))


def _in_the_cloud(
    cloud: ControlClient, accounts: set[str], regions: set[str]
) -> tuple[dict[tuple[str, str], Counter[str]], dict[str, bool]]:
    """Snapshots by (run, instance) and key, counted, and whether each is completed."""
    sets: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    states: dict[str, bool] = {}
    for account in sorted(accounts):
        for region in sorted(regions):
            for one in cloud.ask("GET", f"snapshots/{account}/{region}"):
                tags = one["tags"]
                states[one["id"]] = one["state"] == "completed"
                sets[tags.get("snapfleet:run", ""), tags.get("snapfleet:source", "")][tags["snapfleet:job"]] += 1
    return sets, states
