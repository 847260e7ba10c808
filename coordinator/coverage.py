"""Whether a policy backs a resource up, and which clause of which target says so or not. Pure.

Decided by `targets.resolve` alone: what a clause would do is found by asking that function about the clause alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from coordinator.reason import Reason
from coordinator.targets import ResourceFact, resolve

Target = Mapping[str, Any]


class Coverage(NamedTuple):
    """Whether a resource is backed up, and why or why not."""

    covered: bool
    reasons: tuple[Reason, ...]


def coverage(targets: Sequence[Target], fact: ResourceFact, machine: ResourceFact | None = None) -> Coverage:
    """What a policy with these targets does for a resource; `machine` is the one that a disk is attached to."""
    if fact.gone:
        return Coverage(False, (Reason("gone", "the last look did not find it any more"),))
    taken = {one.resource.id: one for one in resolve(targets, [fact, machine] if machine else [fact]).targets}
    if fact.id in taken:
        named = [(number, one) for number, one in enumerate(targets, 1) if resolve([one], [fact]).targets]
        return Coverage(True, tuple(Reason("covered", f"target {n} means it: {_words(one)}") for n, one in named))
    if machine is not None and machine.id in taken:
        if fact.external_id in taken[machine.id].exclude:
            text = f"{machine.external_id} is backed up without it: `volumes.exclude` names it"
            return Coverage(False, (Reason("excluded", text),))
        return Coverage(True, (Reason("with-its-machine", f"it is in the backups of {machine.external_id}"),))
    return Coverage(False, tuple(_misses(targets, fact)))


def _misses(targets: Sequence[Target], fact: ResourceFact) -> Iterator[Reason]:
    by_id = sum("id" in one for one in targets)
    if by_id or not targets:
        yield Reason("not-named", f"{by_id} of its targets name a resource by id, and none of them this one")
    for number, target in enumerate(targets, 1):
        if "id" not in target:
            missed = list(_clauses_missed(target, fact))
            code = missed[0].code if missed else "not-meant"
            yield Reason(code, f"target {number}: {'; '.join(one.text for one in missed)}")


def _clauses_missed(target: Target, fact: ResourceFact) -> Iterator[Reason]:
    """The clauses of a target by tags which leave the resource out, each asked alone."""
    alone: dict[str, Any] = {"tag": {}, "types": [fact.type]}

    def misses(clause: Target) -> bool:
        return not resolve([clause], [fact]).targets

    if misses({"tag": {}, **{key: target[key] for key in ("types", "options") if key in target}}):
        said = f"not among {', '.join(target['types'])}" if target.get("types") else "backed up only with an option"
        yield Reason("type", f"its type {fact.type} is {said}")
    for key, own in (("accounts", fact.account), ("regions", fact.region)):
        if target.get(key) and misses({**alone, key: target[key]}):
            yield Reason(key.removesuffix("s"), f"it is in {own}, not in {', '.join(target[key])}")
    for name, value in target["tag"].items():
        if misses({**alone, "tag": {name: value}}):
            has = f"has {name}={fact.tags[name]}" if name in fact.tags else f"has no tag {name}"
            yield Reason("tag", f"it {has}, and {name}={value} is asked for")


def _words(target: Target) -> str:
    """A target as a person reads it."""
    if "id" in target:
        return f"it is named by id in {target['account']}/{target['region']}"
    tags = ", ".join(f"{name}={value}" for name, value in target["tag"].items())
    places = [f"{key} {', '.join(target[key])}" for key in ("types", "accounts", "regions") if target.get(key)]
    return "; ".join([f"tag {tags}", *places])
