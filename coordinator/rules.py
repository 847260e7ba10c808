"""By which rules a policy's points age: its own, those of places that have another, and those of places that it named
once.

What lies at a place keeps the rule it had when the policy stops naming that place: a repository renamed in an estate
file must not let go of archives that were to stay for seven years. Naming the place again gives it the rule written
there.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from coordinator.expiry import Rule
from coordinator.exports import export_destination
from coordinator.interval import Interval
from tasks.catalog import Account, Policy, PolicySchedule, Schedule, meta, set_meta
from tasks.catalog.archives import repository_destination


def rules_of(policy: Policy) -> tuple[Rule, dict[str, Rule]]:
    """A policy's retention rule, and by destination those of the places that have, or had, another one."""
    zone = _zone_of(policy)
    named = _places(policy.spec, zone, _accounts())
    former = {place: rule for place, rule in _former(policy).items() if place not in named}
    return _own_rule(policy.spec, zone), former | {place: rule for place, rule in named.items() if rule is not None}


def let_go(policy: Policy, spec: Mapping[str, Any]) -> dict[str, Rule | None]:
    """Places that the policy names and `spec` does not, with the rule that they have; None: the policy's own."""
    zone, accounts = _zone_of(policy), _accounts()
    wanted = _places(spec, zone, accounts)
    return {place: rule for place, rule in _places(policy.spec, zone, accounts).items() if place not in wanted}


def remember_rules(policy: Policy, spec: Mapping[str, Any], now: datetime) -> None:
    """Note the rules that would be lost when `spec` takes the place of the policy's, in the same transaction."""
    wanted = _places(spec, "UTC", _accounts())
    kept = {place: one for place, one in json.loads(_remembered(policy)).items() if place not in wanted}
    for place, rule in let_go(policy, spec).items():
        if rule is not None:
            stay = rule.keep_for.total_seconds() if rule.keep_for else None
            clauses = {"generations": rule.generations, "keep": dict(rule.keep), "keep_for_s": stay}
            kept[place] = {**clauses, "zone": rule.zone, "until": now.date().isoformat()}
    set_meta(_key(policy), json.dumps(kept))


def rule_of_archives(block: Mapping[str, Any], zone: str) -> Rule | None:
    """The retention of a policy's `repository` block: generations, and a span or counts of periods, each of which keeps
    an archive; None where it says nothing, so that archives age by the policy's own."""
    count, stay = block.get("generations"), (block.get("archive") or {}).get("keep") or block.get("keep")
    if not count and not stay:
        return None
    if isinstance(stay, Mapping):
        return Rule(generations=count, keep={kind: int(most) for kind, most in stay.items()}, zone=zone)
    kept_for = Interval.parse(stay, "repository.keep").duration if stay else None
    return Rule(generations=count, keep_for=kept_for, zone=zone)


def _own_rule(spec: Mapping[str, Any], zone: str) -> Rule:
    return Rule(generations=spec.get("generations"), keep=_periods(spec), zone=zone)


def _periods(spec: Mapping[str, Any]) -> dict[str, int]:
    return {kind: int(count) for kind, count in (spec.get("keep") or {}).items()}


def _places(spec: Mapping[str, Any], zone: str, accounts: Sequence[str]) -> dict[str, Rule | None]:
    """Every destination that a policy's spec names, with the rule that it has there; None: the policy's own.

    A DR entry's own `generations` take the place of the policy's there; `keep` stands beside either. An entry without
    an account keeps copies in the source's, so it names the place in every account that it can mean.
    """
    places: dict[str, Rule | None] = {}
    for entry in spec.get("dr") or ():
        count = entry.get("generations")
        own = Rule(generations=int(count), keep=_periods(spec), zone=zone) if count else None
        for account in [entry["account"]] if entry.get("account") else accounts:
            place = f"{account}/{entry['region']}"
            places[place] = own or places.get(place)
    export = spec.get("export") or {}
    if export:
        stay = Interval.parse(export["keep"], "export.keep").duration if export.get("keep") else None
        own = Rule(keep_for=stay, zone=zone) if stay else Rule(generations=export.get("generations", 1), zone=zone)
        places[export_destination(export["bucket"])] = own
    repository = spec.get("repository") or {}
    if repository:
        places[repository_destination(repository["name"])] = rule_of_archives(repository, zone)
    return places


def _former(policy: Policy) -> dict[str, Rule]:
    return {
        place: Rule(
            generations=one["generations"],
            keep=one["keep"],
            keep_for=timedelta(seconds=one["keep_for_s"]) if one["keep_for_s"] else None,
            zone=one["zone"],
            former=f"the policy names {place} no more since {one['until']}; the rule from before goes on",
        )
        for place, one in json.loads(_remembered(policy)).items()
    }


def _remembered(policy: Policy) -> str:
    return meta(_key(policy)) or "{}"


def _key(policy: Policy) -> str:
    return f"rules:{policy.id}"


def _accounts() -> list[str]:
    return [row.name for row in Account.select(Account.name)]


def _zone_of(policy: Policy) -> str:
    """The zone whose calendar the policy's days and weeks follow: its first schedule's."""
    first = (
        Schedule.select()
        .join(PolicySchedule)
        .where(PolicySchedule.policy == policy.id)
        .order_by(PolicySchedule.id)
        .first()
    )
    return str(first.spec.get("time_zone", "UTC")) if first else "UTC"
