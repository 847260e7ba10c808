"""Whether the audit is as it was written: each row by its own link, all of them by the chain, its end by an anchor."""

from collections.abc import Iterator
from typing import Any

from admin.queries import Row
from tasks.catalog import Audit, session
from tasks.catalog.audit import Anchor, audit_head, audit_key, link_of

_PAGE = 2000  # rows read at once
_TOLD = 100  # problems that are told one by one


def verify_audit(anchor: Anchor | None = None) -> Row:
    """Every row of the chain, and its end: as the catalog notes it, and as `anchor` did when it was noted elsewhere.

    `problems` name what was changed, put in, removed or cut off; `more` counts those beyond the first hundred. Raises
    Invalid without the key that the chain was made with.
    """
    with session():
        key, check = audit_key(), _Check(anchor)
        for row in _rows():
            check.see(row, link_of(key, row))
        head = audit_head()
    problems = [*check.problems, *check.ends(head)]
    return {
        "rows": check.seen,
        "anchor": str(Anchor(check.last, check.link)),
        "whole": not problems,
        "problems": problems[:_TOLD],
        "more": max(0, len(problems) - _TOLD),
    }


def _rows() -> Iterator[dict[str, Any]]:
    """The rows in their order."""
    last = 0
    while True:
        query: Any = Audit.select().where(Audit.id > last).order_by(Audit.id).limit(_PAGE).dicts()
        page = list(query)
        yield from page
        if len(page) < _PAGE:
            return
        last = page[-1]["id"]


class _Check:
    """A walk along the chain."""

    def __init__(self, anchor: Anchor | None) -> None:
        self._anchor = anchor
        self.seen = self.last = 0
        self.link = ""
        self.problems: list[Row] = []

    def see(self, row: dict[str, Any], link: str) -> None:
        """The next row, and the link that it must have."""
        number, before = row["id"], self.last
        if number > before + 1:
            self._tell("removed", before + 1, f"{_range(before + 1, number - 1)} removed.")
        if row["link"] != link:
            self._tell("changed", number, f"Row {number} was changed, or put in by somebody without the key.")
        elif number == before + 1 and row["previous"] != self.link:
            self._tell("spliced", number, f"Row {number} does not follow the row before it: one of them is of old.")
        if self._anchor is not None and self._anchor.rows == number and self._anchor.link != row["link"]:
            self._tell("other-chain", number, f"Row {number} is not the one that the anchor was noted at.")
        self.seen, self.last, self.link = self.seen + 1, number, row["link"]

    def ends(self, head: Anchor) -> list[Row]:
        """What is wrong with the end."""
        noted = [(head, "the catalog notes")] + ([(self._anchor, "the anchor notes")] if self._anchor else [])
        missing = [
            _problem("cut-off", self.last + 1, f"{_range(self.last + 1, end.rows)} cut off: {who} {end.rows} rows.")
            for end, who in noted
            if end.rows > self.last
        ]
        if not missing and head != (self.last, self.link):
            text = f"The chain ends with row {self.last}, and the catalog notes another end ({head.rows} rows)."
            missing = [_problem("other-end", self.last, text)]
        return missing

    def _tell(self, code: str, row: int, text: str) -> None:
        self.problems.append(_problem(code, row, text))


def _problem(code: str, row: int, text: str) -> Row:
    return {"code": code, "row": row, "text": text}


def _range(first: int, last: int) -> str:
    return f"Row {first} was" if first == last else f"Rows {first} to {last} were"
