"""The audit is a chain: what somebody changes in it, takes out of it or puts into it is noticed and named."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from admin.audit import verify_audit
from tasks.catalog import Audit, session, set_meta, transaction
from tasks.catalog.audit import HEAD, Anchor, audit_head, link_of, sign_audit_with
from tasks.errors import Invalid
from tasks.secrets import MasterKey
from tests.admin.catalogue import AT

DETAIL: dict[str, Any] = {"a": [1, 2.0, 1e22, 0.1, None, True], "ü\u202e": {"z": "\x1b[31m", "b": "x"}}


def write(count: int) -> Anchor:
    """So many rows; the end of the chain."""
    with transaction():
        Audit.append([{"at": AT, "who": "me", "action": f"a{n}", "detail": DETAIL} for n in range(count - 1)])
        Audit.create(at=AT, who="me", action="last", subject="rp-1")
        return audit_head()


def test_a_chain_that_nobody_touched_is_whole_and_ends_where_it_says(catalog: str) -> None:
    """feature C23: on both databases, whatever the detail is."""
    assert verify_audit()["whole"]
    early, end = write(3), write(4)
    found = verify_audit(early)
    assert (found["whole"], found["rows"], found["anchor"]) == (True, 7, str(end))
    assert Anchor.parse(str(end)) == end
    with session():
        assert [row.id for row in Audit.select().order_by(Audit.id)] == [1, 2, 3, 4, 5, 6, 7]


def forge(row: int) -> None:
    """Somebody who can write every table, and has not the key, chains a row anew as well as they can."""
    before, mine = Audit.get_by_id(row - 1), Audit.get_by_id(row)
    said = {"id": row, "at": mine.at, "who": "you", "action": mine.action, "subject": mine.subject}
    link = link_of(bytes(32), {**said, "detail": mine.detail, "previous": before.link})
    Audit.update(who="you", link=link).where(Audit.id == row).execute()
    Audit.update(previous=link).where(Audit.id == row + 1).execute()


def cut(row: int) -> None:
    Audit.delete().where(Audit.id >= row).execute()


def insert() -> None:
    last = Audit.get_by_id(6)
    columns = {"at": AT, "who": "you", "action": "x", "previous": last.link, "link": "0" * 64}
    Audit.insert(id=7, **columns).execute()


@pytest.mark.parametrize(
    ("tamper", "told"),
    [
        (lambda: Audit.update(who="you").where(Audit.id == 3).execute(), [("changed", 3)]),
        (lambda: Audit.update(detail={}).where(Audit.id == 1).execute(), [("changed", 1)]),
        (lambda: Audit.delete().where(Audit.id.in_([2, 3])).execute(), [("removed", 2)]),
        (lambda: Audit.delete().where(Audit.id == 1).execute(), [("removed", 1)]),
        (lambda: forge(3), [("changed", 3), ("changed", 4)]),
        (insert, [("changed", 7), ("other-end", 7)]),
        (lambda: cut(5), [("cut-off", 5)]),
    ],
)
def test_what_was_changed_removed_or_put_in_is_named(
    catalog: str, tamper: Callable[[], Any], told: list[tuple[str, int]]
) -> None:
    """feature C23"""
    write(6)
    with transaction():
        tamper()
    found = verify_audit()
    assert [(problem["code"], problem["row"]) for problem in found["problems"]] == told
    assert not found["whole"]
    assert all(f"{row}" in problem["text"] for problem, (_, row) in zip(found["problems"], told, strict=True))


def test_a_tail_cut_off_with_the_note_of_the_end_is_noticed_by_an_end_that_was_noted_elsewhere(catalog: str) -> None:
    """feature C23: nothing inside the catalog tells of it; nor of a chain that was written anew after the cut."""
    early = write(3)
    late = write(2)
    with transaction():
        cut(4)
        set_meta(HEAD, str(early))
    assert verify_audit()["whole"]
    assert [one["code"] for one in verify_audit(late)["problems"]] == ["cut-off"]
    write(4)
    assert verify_audit(early)["whole"]
    assert [(one["code"], one["row"]) for one in verify_audit(late)["problems"]] == [("other-chain", 5)]


def test_writers_at_the_same_time_follow_one_another(catalog: str) -> None:
    """feature C23: the chain neither forks nor loses a row."""
    start = threading.Barrier(4)

    def add(number: int) -> None:
        start.wait()
        for turn in range(3):
            with transaction():
                Audit.create(at=AT, who=f"w{number}", action=f"t{turn}")

    writers = [threading.Thread(target=add, args=(number,)) for number in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    found = verify_audit()
    assert (found["rows"], found["problems"]) == (12, [])


def test_what_is_undone_leaves_no_row_and_no_gap(catalog: str) -> None:
    write(2)
    with pytest.raises(RuntimeError), transaction():
        Audit.create(at=AT, who="me", action="undone")
        raise RuntimeError
    write(1)
    assert (verify_audit()["rows"], verify_audit()["whole"]) == (3, True)


def test_another_key_neither_adds_a_row_nor_calls_a_row_changed(embedded_catalog: str) -> None:
    """feature C23: a host with the wrong key would otherwise look like somebody who tampers."""
    with transaction():
        set_meta("key_id", MasterKey(bytes(32)).key_id)
    write(2)
    sign_audit_with(lambda: MasterKey(b"x" * 32))
    with pytest.raises(Invalid, match="not this catalog's"):
        write(1)
    with pytest.raises(Invalid, match="not this catalog's"):
        verify_audit()


@pytest.mark.unit
@pytest.mark.parametrize("text", ["", "12", "x:ab", "-1:ab", "²:a", "9" * 30 + ":a"])
def test_what_is_no_anchor_is_refused_with_the_next_step(text: str) -> None:
    with pytest.raises(Invalid, match="audit verify"):
        Anchor.parse(text)
