"""Many rows in one statement mean the same on both databases, and the same as rows written one by one."""

from datetime import UTC, datetime, timedelta

import pytest
from peewee import DataError

from tasks.catalog import Account, Job, Resource, close_catalog, open_catalog, rows, session, transaction
from tasks.catalog.bulk import find_rows, insert_rows, update_rows
from tasks.states import JobState

AT = datetime(2026, 3, 1, 2, 0, tzinfo=UTC)


def account(name: str = "prod") -> int:
    with transaction():
        return int(Account.create(name=name, regions=["us-east-1"]).id)


def job(number: int, owner: int, **columns: object) -> dict[str, object]:
    return {
        "kind": "snapshot",
        "lane": "snapshot",
        "key": f"key-{number}",
        "account": owner,
        "region": "us-east-1",
        "not_before_at": AT + timedelta(seconds=number),
        "created_at": AT,
        **columns,
    }


def test_rows_get_their_values_and_the_models_defaults(catalog: str) -> None:
    owner = account()
    with transaction():
        written = insert_rows(
            Job, [job(n, owner, spec={"n": n, "text": 'a"b\\ué'}) for n in range(3)], returning=["id"]
        )
    with session():
        found = list(Job.select().order_by(Job.id))
    assert sorted(number for (number,) in written) == [row.id for row in found]
    assert [row.spec for row in found] == [{"n": n, "text": 'a"b\\ué'} for n in range(3)]
    assert [row.not_before_at for row in found] == [AT + timedelta(seconds=n) for n in range(3)]
    assert {(row.state, row.attempt, row.epoch, row.finished_at, row.settled) for row in found} == {
        (JobState.PENDING, 0, 0, None, False)
    }


def test_texts_come_back_as_they_were_whatever_a_cloud_put_into_them(catalog: str) -> None:
    owner = account()
    texts = ["", "NULL", "{a,b}", '"', "\\", "a\\nb\nc\t", "é\u2028☃", " x ", "'; --", "%s"]
    with transaction():
        insert_rows(Job, [job(n, owner, region=text, spec={"t": text}) for n, text in enumerate(texts)])
        found = find_rows(Job, ["region"], [(text,) for text in texts], ["region", "spec", "account.name"])
    assert sorted(found, key=lambda row: texts.index(row[0])) == [(text, {"t": text}, "prod") for text in texts]


def test_a_text_that_is_not_unicode_is_refused_as_the_database_would(postgres_catalog_url: str) -> None:
    open_catalog(postgres_catalog_url)
    owner = account()
    with pytest.raises(DataError, match="not Unicode"), transaction():
        insert_rows(Job, [job(1, owner), job(2, owner, region="half \ud800")])
    close_catalog()


def test_rows_that_are_there_already_are_left_out(catalog: str) -> None:
    owner = account()
    with transaction():
        insert_rows(Job, [job(1, owner, region="first")])
        new = insert_rows(Job, [job(1, owner, region="second"), job(2, owner)], ignore=True, returning=["key"])
    assert new == [("key-2",)]
    with session():
        assert rows(Job.select(Job.region).where(Job.key == "key-1")) == [("first",)]


def test_each_row_is_changed_by_its_own_values_and_only_where_its_key_and_condition_hold(catalog: str) -> None:
    owner = account()
    with transaction():
        insert_rows(Job, [job(n, owner, fence=n) for n in range(1, 5)])
    with session():
        ids = dict(rows(Job.select(Job.key, Job.id)))
    wanted = [{"id": ids[f"key-{n}"], "fence": 3 if n == 2 else n, "error_text": f"text {n}"} for n in range(1, 4)]
    with transaction():
        Job.update(state=JobState.DONE).where(Job.key == "key-3").execute()
        changed = update_rows(
            Job,
            wanted,
            by=("id", "fence"),
            given="\"state\" = 'pending'",
            same={"attempt": 1, "state": JobState.RUNNING, "lease_until_at": AT},
            returning=["key", "fence", "state", "lease_until_at", "error_text"],
        )
    assert changed == [("key-1", 1, JobState.RUNNING, AT, "text 1")]
    with session():
        assert rows(Job.select(Job.attempt, Job.error_text).order_by(Job.id)) == [
            (1, "text 1"), (0, ""), (0, ""), (0, "")
        ]  # fmt: skip


def test_rows_are_found_by_several_fields_together(catalog: str) -> None:
    first, second = account("one"), account("two")
    place = {"region": "us-east-1", "type": "volume", "found_at": AT, "seen_at": AT}
    with transaction():
        insert_rows(Resource, [{"account": a, "external_id": f"vol-{n}", "tags": {"n": str(n)}, **place}
                               for a in (first, second) for n in range(3)])  # fmt: skip
    keys = [(first, "vol-1"), (second, "vol-2"), (second, "vol-9")]
    with session():
        found = find_rows(Resource, ["account", "external_id"], keys, ["account", "external_id", "tags", "gone_at"])
    assert sorted(found) == [(first, "vol-1", {"n": "1"}, None), (second, "vol-2", {"n": "2"}, None)]


def test_nothing_is_nothing(catalog: str) -> None:
    with transaction():
        assert (
            insert_rows(Job, [], returning=["id"]) == update_rows(Job, []) == find_rows(Job, ["id"], [], ["id"]) == []
        )


def test_a_naive_time_is_refused(catalog: str) -> None:
    owner = account()
    naive = [job(1, owner), job(2, owner, not_before_at=AT.replace(tzinfo=None))]
    with pytest.raises(ValueError, match="aware"), transaction():
        insert_rows(Job, naive)
