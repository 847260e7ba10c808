"""Alerts as rows: raised once per key, counted while their condition lasts, cleared by themselves when it ends.

Each change is written together with a Delivery row, so that a webhook call is neither lost nor made for a change that
was rolled back. `evaluate` runs under the sweep lease; twice at once it would only count twice.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from coordinator.alert_facts import read_facts, read_lost, read_stale, read_unrebuilt
from coordinator.alert_rules import FAMILIES, SLOW_FAMILIES, Condition, conditions, family_of
from coordinator.detector_facts import read_doubts
from coordinator.detectors import DETECTOR_FAMILIES, detect
from coordinator.repository_alerts import REPOSITORY_FAMILIES, read_repositories, repository_conditions
from tasks.catalog import Alert, Delivery, meta, session, set_meta, transaction
from tasks.catalog.drift import read_drift
from tasks.clock import Clock

# Looking at every target takes a second in a large estate; points do not grow old faster than this matters.
STALE_EVERY = timedelta(minutes=1)
STALE_KEY = "alerts:stale"
# An alert that lasts is written again at most this often.
SEEN_EVERY = timedelta(minutes=1)
RAISED, CLEARED = "raised", "cleared"


def raise_alert(
    key: str, severity: str, title: str, text: str, at: datetime, detail: Mapping[str, Any] | None = None
) -> bool:
    """Open the alert of this key, or count it again while it lasts; whether it is new."""
    with transaction():
        row = {"key": key, "severity": severity, "title": title, "text": text, "detail": dict(detail or {})}
        statement: Any = Alert.insert(open_key=key, raised_at=at, seen_at=at, **row).on_conflict(
            conflict_target=[Alert.open_key],
            update={
                Alert.severity: severity,
                Alert.title: title,
                Alert.text: text,
                Alert.seen_at: at,
                Alert.count: Alert.count + 1,
            },
        )
        (alert,) = list(statement.returning(Alert.id, Alert.count).execute())
        if alert.count == 1:
            Delivery.create(alert_id=alert.id, event=RAISED, next_at=at)
        return bool(alert.count == 1)


def clear_alert(key: str, at: datetime) -> bool:
    """Close the alert of this key; whether one was open."""
    with transaction():
        statement: Any = Alert.update(open_key=None, cleared_at=at).where(Alert.open_key == key)
        closed = list(statement.returning(Alert.id).execute())
        for alert in closed:
            Delivery.create(alert_id=alert.id, event=CLEARED, next_at=at)
        return bool(closed)


def evaluate(clock: Clock) -> dict[str, int]:
    """Compare every rule with the catalog and open, count or close alerts; counts of what changed."""
    at, now = clock.timer(), clock.now()
    with session():
        facts = read_facts(at, now)
        families: Collection[str] = (*FAMILIES, *REPOSITORY_FAMILIES)
        detected: list[Condition] = []
        if _stale_is_due(at):
            facts = replace(facts, stale=read_stale(now), lost=read_lost(at), drifted=read_drift())
            facts = replace(facts, unrebuilt=read_unrebuilt(at))
            detected = detect(read_doubts(now), now)
            families = (*families, *SLOW_FAMILIES, *DETECTOR_FAMILIES)
        kept = repository_conditions(read_repositories())
        return reconcile([*conditions(facts, at), *kept, *detected], families, at)


def reconcile(found: Sequence[Condition], families: Collection[str], at: datetime) -> dict[str, int]:
    """Make the open alerts of these families those that were found."""
    open_alerts = {
        alert.key: alert
        for alert in Alert.select().where(Alert.open_key.is_null(False))
        if family_of(alert.key) in families
    }
    wanted = {condition.key: condition for condition in found}
    changed = {RAISED: 0, CLEARED: 0}
    for key, condition in wanted.items():
        alert = open_alerts.get(key)
        if alert is None or _differs(alert, condition) or alert.seen_at <= at - SEEN_EVERY:
            new = raise_alert(key, condition.severity, condition.title, condition.text, at, condition.detail)
            changed[RAISED] += new
    for key in open_alerts.keys() - wanted.keys():
        changed[CLEARED] += clear_alert(key, at)
    return changed


def _differs(alert: Alert, condition: Condition) -> bool:
    return (alert.severity, alert.title, alert.text) != (condition.severity, condition.title, condition.text)


def _stale_is_due(at: datetime) -> bool:
    """Whether it is time for a look at every target; the time is kept in the catalog, for all coordinators."""
    looked = meta(STALE_KEY)
    if looked and at - STALE_EVERY < datetime.fromisoformat(looked) <= at:
        return False
    with transaction():
        set_meta(STALE_KEY, at.isoformat())
    return True
