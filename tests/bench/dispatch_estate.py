"""An estate of a million schedules for the dispatch bench, written by the database itself.

Every schedule is one of its own, with a policy of its own that names one volume by its id, so that a slot that is due
is one decision, one run, one job and one message. The volumes lie in many accounts, as they do where there are a
million schedules.
"""

from datetime import datetime, timedelta

from psycopg import Connection

ACCOUNTS, REGIONS = 500, ("us-east-1", "eu-west-1")
_ZONES = ("Europe/Berlin", "America/New_York", "Asia/Tokyo", "UTC", "America/Sao_Paulo", "Australia/Sydney")
_DAY_MINUTES = 24 * 60


def move_in(connection: "Connection[tuple[object, ...]]", schedules: int, at: datetime) -> None:
    """Write accounts, volumes, fresh looks, schedules and policies; none is due for hours. `at` is now."""
    zones = "(array[" + ", ".join(f"'{zone}'" for zone in _ZONES) + "])"
    regions = "(array[" + ", ".join(f"'{region}'" for region in REGIONS) + "])"
    seen = f"timestamptz '{at.isoformat()}'"
    for statement in (
        "insert into meta (key, value) values ('installation', 'bench')",
        f"""insert into account (name, cloud, kind, number, role_arn, external_id_sealed, profile, regions, may_delete,
            settings, secret_refs, enabled, state, state_text)
            select 'a' || n, 'aws', 'backup', '', '', '', '', '["{REGIONS[0]}", "{REGIONS[1]}"]', true, '{{}}', '{{}}',
            true, 'reachable', '' from generate_series(1, {ACCOUNTS}) n""",
        f"""insert into scan (account_id, region, service, finished_at, found, error_code, error_text)
            select a.id, r, 'ec2', {seen}, 1, '', '' from account a, unnest({regions}) r""",
        f"""insert into resource (account_id, region, type, external_id, name, parent_id, tags, attributes, found_at,
            seen_at) select n % {ACCOUNTS} + 1, {regions}[n / {ACCOUNTS} % {len(REGIONS)} + 1], 'volume', 'vol-' || n,
            'v' || n, '', '{{}}', '{{}}', {seen}, {seen} from generate_series(1, {schedules}) n""",
        f"""insert into schedule (name, spec, created_at, changed_at) select 's' || n, jsonb_build_object(
            'every', case n % 3 when 0 then '1d' when 1 then '4h' else '1h' end,
            'starts_at', to_char(timestamp '2026-01-01' + n % {_DAY_MINUTES} * interval '1 minute',
            'YYYY-MM-DD"T"HH24:MI'), 'time_zone', {zones}[n % {len(_ZONES)} + 1]), {seen}, {seen}
            from generate_series(1, {schedules}) n""",
        f"""insert into policy (name, enabled, priority, spec, version, successes, created_at, changed_at)
            select 'p' || n, true, 50, jsonb_build_object('targets', jsonb_build_array(jsonb_build_object(
            'type', 'volume', 'id', 'vol-' || n, 'account', 'a' || (n % {ACCOUNTS} + 1),
            'region', {regions}[n / {ACCOUNTS} % {len(REGIONS)} + 1])), 'generations', 30), 1, 0, {seen}, {seen}
            from generate_series(1, {schedules}) n""",
        f"""insert into policy_schedule (policy_id, schedule_id, next_slot_at, next_start_at, last_slot_at)
            select n, n, {seen} + interval '3 hours', {seen} + interval '3 hours' + n * interval '50 milliseconds',
            {seen} from generate_series(1, {schedules}) n""",
    ):
        connection.execute(statement)  # type: ignore[call-overload]
    connection.execute("vacuum analyze")


def make_due(
    connection: "Connection[tuple[object, ...]]", at: datetime, first: int, count: int, over: timedelta
) -> None:
    """Make `count` schedules due from `at` on, evenly over a while; those from number `first` on.

    Their daily slot is of this very second in their zones, and was last run a day ago.
    """
    values = {"at": at.replace(microsecond=0), "first": first, "last": first + count, "step": over / count}
    slot = "date_trunc('second', %(at)s + (id - %(first)s) * %(step)s)"
    connection.execute(
        f"""update schedule set spec = jsonb_build_object('every', '1d', 'time_zone', spec->>'time_zone', 'starts_at',
            to_char({slot} at time zone (spec->>'time_zone'), 'YYYY-MM-DD"T"HH24:MI:SS'))
            where id >= %(first)s and id < %(last)s""",  # type: ignore[arg-type]
        values,
    )
    connection.execute(
        f"""update policy_schedule set next_slot_at = {slot}, last_slot_at = {slot} - interval '1 day',
            next_start_at = {slot} where id >= %(first)s and id < %(last)s""",  # type: ignore[arg-type]
        values,
    )


def forget_looks_age(connection: "Connection[tuple[object, ...]]", at: datetime) -> None:
    """The looks are of just now again."""
    connection.execute("update scan set finished_at = %s", (at,))
