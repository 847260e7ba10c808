"""Reading estate files: every problem at once with its line, and one canonical form."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings

from admin.estate import Estate, read_estate, write_estate
from admin.estate_plan import FieldChange, plan_changes
from admin.estate_yaml import EstateRefused
from tasks.limits import Limits, Pace
from tasks.resources import TABLE, TYPES
from tests.admin.estates import SMALL, estates

pytestmark = pytest.mark.unit

EXAMPLE = Path(__file__).parent.parent.parent / "docs" / "estate.example.yaml"


def problems(text: str, **given: object) -> list[str]:
    """The lines of the refusal, without the file's name."""
    with pytest.raises(EstateRefused) as refused:
        read_estate(text, "e.yaml", **given)  # type: ignore[arg-type]
    return [line.removeprefix("e.yaml:") for line in refused.value.lines()]


@pytest.mark.long
@given(estates())
@settings(deadline=None, max_examples=150)
def test_what_is_exported_reads_back_as_the_same_estate(estate: Estate) -> None:
    """feature 5, feature 4"""
    assert read_estate(write_estate(estate)) == estate


def test_the_documented_example_is_a_good_file() -> None:
    """feature 5: the file that the documentation shows applies as it stands."""
    estate = read_estate(EXAMPLE.read_text())
    assert set(estate.policies) == {"web"}
    assert set(estate.schedules) == {"quarter-hourly", "nightly"}


def test_every_problem_of_a_file_is_named_with_line_field_and_allowed_values() -> None:
    text = SMALL.replace("every: 1d", "every: 1q").replace("generations: 14", "genrations: 14")
    text = text.replace("types: [instance, volume]", "types: [instance, databse]").replace("kind: dr", "kind: drr")
    assert problems(text) == [
        "9: accounts.vault.kind: 'drr' is not one of backup, dr; did you mean dr?",
        "16: schedules.nightly.every: '1q' is not a whole number followed by one of m, h, d, w, mo (such as 4h)",
        "26: policies.web.targets[1].types[1]: 'databse' is not one of " + ", ".join(sorted(TYPES)),
        "27: policies.web.genrations: unknown field; allowed are name, schedules, enabled, priority, targets, mode, "
        "reboot, backup_on_add, generations, keep, retries, dr, repository, export; did you mean generations?",
    ]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("version: 1", "version: 2", "1: version: 2 is not a whole number from 1 to 1"),
        ("regions: [eu-central-1]", "regions: []", "11: accounts.vault.regions: needs at least 1 entry"),
        ("[us-east-1, eu-west-1]", "us-east-1", "7: accounts.prod.regions: 'us-east-1' is not a list"),
        (
            "external_id: env:PROD_EXTERNAL_ID",
            "external_id: hunter2",
            "6: accounts.prod.external_id: a secret is never written here; name where it is read: "
            "env:NAME or file:PATH",
        ),
        ("may_delete: false", "may_delete: 0", "12: accounts.vault.may_delete: 0 is not one of true, false"),
        ("- name: vault", "- name: prod", "8: accounts.prod: a second one of accounts is called 'prod'"),
        (
            "time_zone: America/New_York",
            "time_zone: America/Nowhere",
            "18: schedules.nightly.time_zone: 'America/Nowhere' is not an IANA zone such as Europe/Berlin or UTC",
        ),
        ("spread: 45m", "spread: 2d", "19: schedules.nightly.spread: must be shorter than every (1d)"),
        (
            "schedules: [nightly]",
            "schedules: [nigthly]",
            "23: policies.web.schedules[0]: there is no schedule 'nigthly'; did you mean nightly?",
        ),
        ("accounts: [prod]", "accounts: [vault]", "26: policies.web.targets[1].accounts[0]: vault is a dr account, "
         "which holds copies and is not backed up"),
        ("{backup: gold}", "{backup: yes}", "26: policies.web.targets[1].tag.backup: true is not a text; "
         "put it in quotes"),
        ("region: us-east-1,", "region: us-east-2,", "25: policies.web.targets[0].region: the account does not list "
         "the region us-east-2; it has us-east-1, eu-west-1"),
        ("region: eu-central-1,", "region: eu-west-9,", "30: policies.web.dr[0].region: vault does not list the "
         "region eu-west-9; it has eu-central-1"),
        ("    generations: 14\n    keep: {daily: 7}\n", "", "22: policies.web: says nothing about how long points "
         "stay; give generations or keep"),
        ("keep: {daily: 7}", "keep: {fortnightly: 7}", "28: policies.web.keep.fortnightly: unknown field; allowed "
         "are hourly, daily, weekly, monthly, yearly"),
        ("{type: instance, id:", "{type: instance, tag: {a: b}, id:", "25: policies.web.targets[0]: names either one "
         "resource (type, id, region, account) or many (tag, types, accounts)"),
        ("{backup: gold}", r'{backup: "a\0b"}', "26: policies.web.targets[1].tag: 'backup': 'a\\x00b' are not texts "
         "of at most 1024 printable characters"),
        ("    keep: {daily: 7}", "    keep: {daily: 7}\n    retries: {wait: 9999y}", "29: policies.web.retries.wait: "
         "'9999y' is longer than 7d"),
        ("    keep: {daily: 7}", "    keep: {daily: 7}\n    keep: {daily: 8}", "29: policies.web.keep: given twice"),
        ("version: 1", "version: [1", "3: file: not YAML: did not find expected ',' or ']'"),
        ("version: 1", "version: 1\nacounts: []", "2: acounts: unknown field; allowed are version, accounts, "
         "schedules, repositories, policies; did you mean accounts?"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_refused_at_its_line(before: str, after: str, expected: str) -> None:
    assert before in SMALL
    assert expected in problems(SMALL.replace(before, after, 1))


def test_the_secret_that_was_written_by_mistake_is_not_repeated() -> None:
    """feature 94"""
    text = SMALL.replace("env:PROD_EXTERNAL_ID", "s3cr3t-by-mistake")
    assert "s3cr3t-by-mistake" not in "\n".join(problems(text))


def test_several_wrong_fields_of_one_schedule_are_all_named() -> None:
    text = SMALL.replace("every: 1d", "every: never").replace("2026-11-02T01:30", "soon").replace("45m", "long")
    assert [line.split(":")[1].strip() for line in problems(text)] == [
        "schedules.nightly.every",
        "schedules.nightly.starts_at",
        "schedules.nightly.spread",
    ]


def test_disabled_ranges_are_judged_one_by_one() -> None:
    """feature 35"""
    ranges = """
    disabled:
      - {days: [fri], from: '22:00', to: '02:00'}
      - {days: [frei]}
      - {from: '1:00'}"""
    found = problems(SMALL.replace("    spread: 45m", "    spread: 45m" + ranges))
    assert [line.split(": ")[0:2] for line in found] == [
        ["22", "schedules.nightly.disabled[1]"],
        ["23", "schedules.nightly.disabled[2]"],
    ]


def test_a_policy_that_a_type_cannot_serve_is_refused_with_the_reason() -> None:
    """feature 8: the capability table decides, not the driver at run time."""
    kept_home = {**TYPES, "instance": replace(TYPES["instance"], cross_account=False, cross_region=False)}
    assert problems(SMALL, types=kept_home) == ["30: policies.web.dr[0]: instance cannot be copied to another account"]
    elsewhere = SMALL.replace("account: vault, region: eu-central-1, every", "region: eu-west-1, every")
    assert problems(elsewhere, types=kept_home) == [
        "30: policies.web.dr[0]: instance cannot be copied to another region"
    ]


def test_an_export_is_refused_for_types_that_are_not_exported() -> None:
    """Feature 42: only RDS writes its snapshots as Parquet here."""
    role = "arn:aws:iam::111111111111:role/exports"
    text = SMALL + f"    export: {{bucket: acme, role_arn: '{role}', kms_key: alias/x, keep: 90d, generations: 2}}\n"
    assert problems(text) == [
        "31: policies.web.export: instance is not exported; only rds is, with MySQL or PostgreSQL",
        "31: policies.web.export: volume is not exported; only rds is, with MySQL or PostgreSQL",
        "31: policies.web.export.keep: goes without generations",
    ]


@pytest.mark.parametrize(("given", "told"), [
    ("class: deep-archive, keep: 1y", ""),
    ("class: glacier-ir, generations: 2", ""),
    ("class: deep-archive, keep: 90d", "keep: deep-archive bills 180 days at least, and exports would go before that"),
    ("class: GLACIER", "class: 'GLACIER' is not one of standard-ia, onezone-ia, intelligent-tiering, glacier-ir"),
])  # fmt: skip
def test_exports_may_lie_in_a_cold_class_of_s3_for_as_long_as_it_bills(given: str, told: str) -> None:
    """Feature 42: the table's cold cell of RDS is for exported objects."""
    role = "arn:aws:iam::111111111111:role/exports"
    text = SMALL + f"    export: {{bucket: acme, role_arn: '{role}', kms_key: alias/x, {given}}}\n"
    found = [one.partition("policies.web.export.")[2] for one in problems(text) if "web.export." in one]
    assert [one.startswith(told) for one in found] == ([True] if told else [])


def test_a_repository_is_refused_for_types_that_cannot_be_kept_in_one() -> None:
    text = SMALL + "    repository: {name: cold, every: 7}\n"
    text += "repositories:\n  - {name: cold, account: prod, url: 's3://b/p', region: us-east-1}\n"
    bare = {name: replace(kind, repository=False) for name, kind in TYPES.items()}
    assert problems(text, types=bare) == [
        "31: policies.web.repository: instance cannot be kept in a repository by this version; leave it out",
        "31: policies.web.repository: volume cannot be kept in a repository by this version; leave it out",
    ]


def test_a_repository_is_accepted_and_kept_for_types_that_can() -> None:
    able = {name: replace(kind, cold=True) for name, kind in TYPES.items()}
    text = (
        SMALL
        + "    repository: {name: cold, every: 7, keep: 90d, archive: {after: 30d, class: deep-archive, keep: 7y}}\n"
    )
    text += "repositories:\n  - {name: cold, account: prod, url: 's3://b/p', region: us-east-1, key: 'env:K'}\n"
    estate = read_estate(text, types=able)
    assert estate.policies["web"]["repository"]["archive"]["class"] == "deep-archive"
    assert estate.repositories["cold"]["key"] == "env:K"
    counts = text.replace("keep: 90d, archive: {after: 30d, class: deep-archive, keep: 7y}", "%s")
    gfs = read_estate(counts % "generations: 3, keep: {weekly: 8, monthly: 12}", types=able)
    assert gfs.policies["web"]["repository"]["keep"] == {"weekly": 8, "monthly": 12}
    assert "fortnightly" in "".join(problems(counts % "keep: {fortnightly: 8}"))
    assert "followed by one of" in "".join(problems(counts % "keep: 9"))


def test_a_repository_opens_by_one_key_and_a_key_of_kms_is_named_by_its_arn() -> None:
    """feature 82: a passphrase, a key file or a key of KMS."""
    arn = "arn:aws:kms:us-east-1:111111111111:key/11111111-2222-3333-4444-555555555555"
    cold = "repositories:\n  - {name: cold, account: prod, url: 's3://b/p', region: us-east-1, %s}\n"
    assert read_estate(SMALL + cold % f"kms_key: '{arn}'").repositories["cold"]["kms_key"] == arn
    assert read_estate(SMALL + cold % "key_file: /safe/cold.key").repositories["cold"]["key_file"] == "/safe/cold.key"
    (two,) = problems(SMALL + cold % f"key: 'env:K', kms_key: '{arn}'")
    assert "kms_key: goes without key" in two
    (alias,) = problems(SMALL + cold % "kms_key: alias/cold")
    assert "wants a key's ARN" in alias
    twice = f"key: 'env:K', sse_kms_key: '{arn}'"
    assert read_estate(SMALL + cold % twice).repositories["cold"]["sse_kms_key"] == arn
    azure = "".join(problems(SMALL + (cold % twice).replace("s3://b/p", "azure://acct/c/p")))
    assert "sse_kms_key: is for s3:// repositories" in azure


@pytest.mark.parametrize(
    ("block", "words"),
    [
        ("{class: glacier, keep: 1y}", "nothing about when archives move"),
        ("{after: 30d, class: archive}", "archive is for azure:// repositories"),
        ("{after: 30d, class: deep-archive, keep: 100d}", "bills 180 days at least, and archives would go after 70"),
        ("{after: 30d, class: frozen}", "'frozen' is not one of"),
        ("{generations: 0, class: glacier}", "1 to"),
    ],
)
def test_cold_storage_that_costs_more_than_it_saves_or_is_not_there_is_refused(block: str, words: str) -> None:
    """feature 83: a class bills its least time, whatever retention does."""
    text = SMALL.replace("types: [instance, volume]", "types: [volume]")
    text += f"    repository: {{name: cold, keep: 90d, archive: {block}}}\n"
    text += "repositories:\n  - {name: cold, account: prod, url: 's3://b/p', region: us-east-1, key: 'env:K'}\n"
    assert any(words in line for line in problems(text))
    fine = text.replace(block, "{after: 30d, generations: 3, class: glacier, keep: 400d}")
    assert read_estate(fine).policies["web"]["repository"]["archive"]["generations"] == 3


def test_what_the_catalog_already_has_may_be_named() -> None:
    first = read_estate(SMALL)
    second = """version: 1
policies:
  - {name: db, schedules: [nightly], targets: [{tag: {a: b}, accounts: [prod]}], generations: 3}
"""
    assert set(read_estate(second, "e.yaml", first).policies) == {"db"}
    assert len(problems(second)) == 2


def test_aliases_that_repeat_without_end_are_refused() -> None:
    assert problems("version: 1\naccounts: &a [*a]\n") == ["2: file: its aliases repeat without end"]


def test_a_file_that_is_nested_without_end_is_refused() -> None:
    deep = "version: 1\naccounts: " + "[" * 5000 + "]" * 5000
    assert problems(deep) == ["1: file: it is nested deeper than any estate file"]


@pytest.mark.parametrize("text", ["", "version: 1", "version: 1\npolicies:\n", "version: 1\naccounts: []\n"])
def test_an_empty_section_is_no_problem_but_a_missing_version_is(text: str) -> None:
    if text:
        assert read_estate(text) == Estate()
    else:
        assert problems(text) == ["1: file: version is missing"]


@pytest.mark.parametrize("text", ["[]", "just words", "version: 1\npolicies: 7", "version: 1\npolicies: [7, [], null]"])
def test_a_file_of_another_shape_is_refused_and_not_stumbled_over(text: str) -> None:
    assert problems(text)


def test_a_plan_names_each_field_that_differs() -> None:
    before = read_estate(SMALL)
    after = read_estate(SMALL.replace("generations: 14", "generations: 7").replace("daily: 7", "daily: 3, weekly: 2"))
    (change,) = plan_changes(before, after).changes
    assert (change.section, change.name, change.action) == ("policies", "web", "change")
    assert change.fields == (
        FieldChange("generations", 14, 7),
        FieldChange("keep.daily", 7, 3),
        FieldChange("keep.weekly", None, 2),
    )


def test_what_is_absent_is_left_unless_pruning_was_asked_for() -> None:
    before = read_estate(SMALL)
    assert plan_changes(before, Estate()).changes == ()
    assert plan_changes(before, Estate()).left == (
        ("accounts", "prod"),
        ("accounts", "vault"),
        ("schedules", "nightly"),
        ("policies", "web"),
    )
    removals = [(item.section, item.name) for item in plan_changes(before, Estate(), prune=True).changes]
    assert removals[0] == ("policies", "web")  # what names others goes before what it names
    assert len(removals) == 4


@given(estates(), estates())
@settings(deadline=None, max_examples=60)
def test_a_plan_is_empty_exactly_when_both_are_equal(one: Estate, other: Estate) -> None:
    assert plan_changes(one, one, prune=True).changes == ()
    assert bool(plan_changes(one, other, prune=True).changes) == (one != other)


def test_what_is_known_but_not_built_is_refused_as_that_and_options_are_those_of_the_types() -> None:
    """Feature 42: nothing is accepted that would fail at night."""
    unbuilt = {name: kind for name, kind in TYPES.items() if name != "volume"}
    assert any("this version cannot protect volume yet; it can" in line for line in problems(SMALL, types=unbuilt))
    text = SMALL.replace("every: 2,", "options: {mode: fast}, every: 2,")
    assert [line for line in problems(text) if "options.mode: unknown option" in line]


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ("{account: vault, region: eu-central-1}", "say options.mode, share-only"),
        (
            "{account: vault, region: eu-central-1, options: {mode: lend}}",
            "'lend' is not one of share-only, materialise",
        ),
        ("{region: eu-west-1}", "allow it with options.cluster_copy: yes"),
        ("{account: vault, region: eu-central-1, options: {mode: materialise}}", ""),
        ("{region: eu-west-1, every: 2, options: {cluster_copy: 'yes'}}", "leave every out"),
        ("{region: eu-west-1, options: {cluster_copy: 'yes'}}", ""),
    ],
)
def test_a_dr_entry_that_lacks_what_a_type_needs_is_refused_with_the_clouds_reason(entry: str, says: str) -> None:
    """Feature 43: Redshift across accounts costs a cluster, or goes with its source; somebody must say which."""
    before, _, rest = SMALL.partition("    targets:")
    rest = rest[rest.index("    generations:") : rest.index("    dr:")]
    target = "    targets:\n      - {tag: {backup: gold}, types: [redshift], accounts: [prod]}\n"
    text = f"{before}{target}    dr: [{entry}]\n{rest}"
    types = {**TYPES, "redshift": TABLE["redshift"]}
    if says:
        assert [line for line in problems(text, types=types) if says in line]
    else:
        assert read_estate(text, types=types).policies


REGIONS = "regions: [us-east-1, eu-west-1]"
LIMITS = "limits: {share: 0.4, requests: {ec2.create-snapshot: [200, 10]}, copy_slots: {ec2: 12}}"


def test_an_accounts_own_limits_are_read_as_admission_uses_them() -> None:
    """feature C2"""
    estate = read_estate(SMALL.replace(REGIONS, f"{REGIONS}\n    {LIMITS}"))
    mine = Limits.of(estate.accounts["prod"])
    assert mine.pace("ec2.create-snapshot") == Pace(4.0, 80)
    assert (mine.pace("rds.read"), mine.copy_slots) == (Pace(8.0, 40), {"ec2": 12})
    assert read_estate(write_estate(estate)) == estate


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ("{share: 1.5}", "share: 1.5 is not a part of the cloud's limits: above 0, at most 1"),
        ("{requests: {ec2.snapshots: [1, 1]}}", "requests: 'ec2.snapshots' is no family of calls; there are "),
        ("{requests: {ec2.read: [100]}}", "requests: ec2.read is not [size, per second], two numbers above 0"),
        ("{copy_slots: {ec2: 0}}", "copy_slots: ec2: 0 is not a service ("),
        ("{burst: 7}", "is not a mapping such as {share: 0.6"),
    ],
)
def test_limits_that_mean_nothing_are_refused(wrong: str, expected: str) -> None:
    """feature C2"""
    text = SMALL.replace(REGIONS, f"{REGIONS}\n    limits: {wrong}")
    (line,) = problems(text)
    assert expected in line


def test_ids_of_azure_are_kept_in_lower_case_and_a_machine_there_may_leave_disks_out() -> None:
    """feature 26: Azure shows an id in any case, and a machine was looked for in vain."""
    number = "00000000-0000-0000-0000-000000000001"
    machine = "/subscriptions/S/resourceGroups/App/providers/Microsoft.Compute/virtualMachines/Web"
    text = f"""
version: 1
accounts:
  - {{name: az, cloud: azure, subscription_id: {number}, tenant_id: {number}, regions: [westeurope]}}
policies:
  - name: az
    generations: 2
    targets:
      - {{type: azure-vm, id: {machine}, region: westeurope, account: az, volumes: {{exclude: [{machine}-DISK]}}}}
"""
    (target,) = read_estate(text).policies["az"]["targets"]
    assert (target["id"], target["volumes"]["exclude"]) == (machine.lower(), [f"{machine}-disk".lower()])
    refused = problems(text.replace("type: azure-vm", "type: azure-disk"))
    assert any("volumes: is for azure-vm and instance" in line for line in refused)
