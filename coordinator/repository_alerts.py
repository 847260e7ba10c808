"""What is wrong with repositories, told to somebody: damage that was found, and standing work that fails.

Archives lie for years, and nobody looks at a repository that nobody restores from.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from coordinator.alert_rules import Condition
from tasks.catalog import Account, Job, Repository
from tasks.catalog.archives import damage_of
from tasks.states import JobState

REPOSITORY_FAMILIES = ("repository-damaged", "repository-failing")
# What is done by itself, so that nobody waits for its outcome.
_STANDING = ("prune", "verify", "stats", "tier", "lock", "compact")
# An alert names so many objects: a pager shows no more, and `repository show` has all.
_NAMED = 3


@dataclass(frozen=True)
class RepositoryFact:
    """A repository: how many problems were found there and the first of them, and why the last attempt failed at each
    standing verb that did."""

    name: str
    problems: int
    damage: tuple[str, ...]
    failed: Mapping[str, str]


def read_repositories() -> list[RepositoryFact]:
    """The repositories that are there and whose account is. Call inside a session."""
    enabled = {row.name for row in Account.select(Account.name).where(Account.enabled)}
    known = [row for row in Repository.select().order_by(Repository.name) if row.spec.get("account") in enabled]
    keys = {f"repository-{verb}:{row.id}": (row.id, verb) for row in known for verb in _STANDING}
    failed: dict[int, dict[str, str]] = {}
    for job in Job.select().where(Job.key.in_(list(keys)), Job.state == JobState.FAILED).order_by(Job.key):
        number, verb = keys[job.key]
        failed.setdefault(number, {})[verb] = f"{job.error_code}: {job.error_text}"
    return [RepositoryFact(row.name, *damage_of(row.facts), failed.get(row.id, {})) for row in known]


def repository_conditions(repositories: list[RepositoryFact]) -> Iterator[Condition]:
    """What is to be told of them."""
    for one in repositories:
        if one.problems:
            count, more = one.problems, "; and more" if one.problems > _NAMED else ""
            yield Condition(
                f"repository-damaged:{one.name}",
                "critical",
                f"The repository {one.name} has {count} {'problem' if count == 1 else 'problems'}",
                f"{'; '.join(one.damage[:_NAMED])}{more}. See `snapfleet repository show {one.name}`.",
                {"repository": one.name, "problems": count},
            )
        if one.failed:
            verb, why = next(iter(one.failed.items()))
            yield Condition(
                f"repository-failing:{one.name}",
                "warning",
                f"The repository {one.name} is not looked after: {', '.join(one.failed)} failed",
                f"The last {verb} ended with {why}",
                {"repository": one.name, "verbs": list(one.failed)},
            )
