"""Estates for tests: a small one that applies as it is, and generated ones."""

from typing import Any

from hypothesis import strategies as st

from admin.estate import Estate

SMALL = """\
version: 1

accounts:
  - name: prod
    role_arn: arn:aws:iam::111111111111:role/snapfleet
    external_id: env:PROD_EXTERNAL_ID
    regions: [us-east-1, eu-west-1]
  - name: vault
    kind: dr
    role_arn: arn:aws:iam::222222222222:role/snapfleet-dr
    regions: [eu-central-1]
    may_delete: false

schedules:
  - name: nightly
    every: 1d
    starts_at: 2026-11-02T01:30
    time_zone: America/New_York
    spread: 45m

policies:
  - name: web
    schedules: [nightly]
    targets:
      - {type: instance, id: i-0123456789abcdef0, region: us-east-1, account: prod, volumes: {exclude: [vol-0aaa]}}
      - {tag: {backup: gold}, types: [instance, volume], accounts: [prod]}
    generations: 14
    keep: {daily: 7}
    dr:
      - {account: vault, region: eu-central-1, every: 2, generations: 30, reencrypt_key: alias/dr}
"""
SECRET = "planted-secret-7f3a"
ENVIRONMENT = {"PROD_EXTERNAL_ID": SECRET}

_names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,12}", fullmatch=True)
_texts = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=12)
_spans = st.builds("{}{}".format, st.integers(1, 90), st.sampled_from(["m", "h", "d", "w", "mo", "y"]))
_waits = st.builds("{}{}".format, st.integers(1, 7), st.sampled_from(["m", "h", "d"]))
_counts = st.integers(1, 100)
_keep = st.dictionaries(st.sampled_from(["hourly", "daily", "weekly", "monthly", "yearly"]), _counts, min_size=1)
_ODD = st.sampled_from(["yes", "1", "2026-01-01", "*", "~"])  # texts that YAML would read as something else
REGIONS = ["us-east-1", "eu-west-1", "eu-central-1"]


def _some(names: list[str]) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(names), min_size=1, unique=True)


def _key(item: dict[str, Any]) -> str:
    return repr(sorted(item.items()))


def _maybe(required: dict[str, Any], optional: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(required, optional=optional)


_accounts = _maybe(
    {
        "cloud": st.just("aws"),
        "kind": st.just("backup"),
        "may_delete": st.booleans(),
        "regions": st.just(REGIONS),
        "role_arn": st.just("arn:aws:iam::111111111111:role/path/snapfleet"),
    },
    {"profile": _texts, "external_id": st.sampled_from(["env:SOME_NAME", "file:/run/secrets/with space"])},
)
_schedules = st.one_of(
    _maybe(
        {
            "every": st.sampled_from(["15m", "4h", "1d", "3d"]),
            "starts_at": st.sampled_from(["2026-11-01T00:07", "2026-01-01T00:00"]),
            "time_zone": st.sampled_from(["UTC", "Europe/Berlin", "America/New_York"]),
        },
        {
            "ends_at": st.just("2027-11-01T00:00"),
            "days": st.sampled_from([["mon"], ["mon", "fri"], ["sat", "sun"]]),
            "disabled": st.sampled_from(
                [
                    [{"days": ["fri"], "from": "22:00", "to": "02:00"}],
                    [{"date": "2026-12-24"}, {"from": "01:00", "to": "24:00"}],
                ]
            ),
            "spread": st.sampled_from(["1m", "14m"]),
            "description": _texts,
        },
    ),
    _maybe(
        {
            "every": st.sampled_from(["1w", "1mo"]),
            "starts_at": st.just("2026-01-31T10:00"),
            "time_zone": st.just("UTC"),
        },
        {},
    ),
)


@st.composite
def estates(draw: st.DrawFn) -> Estate:
    """Estates in canonical form, with policies that name their own accounts and schedules."""
    accounts = draw(st.dictionaries(_names, _accounts, min_size=1, max_size=3))
    schedules = draw(st.dictionaries(_names, _schedules, max_size=3))
    names = st.sampled_from(sorted(accounts))
    by_id = _maybe(
        {
            "type": st.just("instance"),
            "id": _texts,
            "region": st.just(REGIONS[0]),
            "account": names,
        },
        {"volumes": st.builds(lambda ids: {"exclude": ids}, st.lists(_texts, min_size=1, max_size=2, unique=True))},
    )
    by_tag = _maybe(
        {"tag": st.dictionaries(_texts, _texts | _ODD, min_size=1, max_size=2)},
        {
            "types": st.sampled_from([["instance"], ["instance", "volume"]]),
            "accounts": st.lists(names, min_size=1, unique=True),
            "regions": st.just([REGIONS[1]]),
        },
    )
    targets = st.lists(by_id | by_tag, min_size=1, max_size=3, unique_by=_key)
    dr = _maybe({"region": st.just(REGIONS[2])}, {"account": names, "every": _counts, "kms_key": _texts})
    policy = _maybe(
        {"enabled": st.booleans(), "priority": st.integers(1, 100), "targets": targets, "generations": _counts},
        {
            **({"schedules": _some(sorted(schedules)).map(sorted)} if schedules else {}),
            "mode": st.sampled_from(["snapshots", "image", "image-once"]),
            "keep": _keep,
            "backup_on_add": st.booleans(),
            "retries": _maybe({}, {"attempts": st.integers(1, 20), "wait": _waits}),
            "dr": st.lists(dr, min_size=1, max_size=2, unique_by=_key),
        },
    )
    return Estate(accounts, schedules, {}, draw(st.dictionaries(_names, policy, max_size=3)))
