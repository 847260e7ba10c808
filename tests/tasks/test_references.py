"""References that the database does not check row by row: what they point at is never taken away."""

import re
from pathlib import Path

import pytest

from tasks.catalog import MODELS
from tasks.catalog.fields import SureField

pytestmark = pytest.mark.unit
ROOT = Path(__file__).parents[2]
SURE = [(model, field) for model in MODELS for field in model._meta.sorted_fields if isinstance(field, SureField)]


def test_only_the_tables_that_every_slot_writes_to_go_unchecked() -> None:
    assert {model.__name__ for model, _ in SURE} == {"Run", "Job", "Outbox"}


def test_nobody_deletes_what_an_unchecked_reference_points_at() -> None:
    """A job may be deleted where its message is too; all else only when a whole catalog is put back."""
    names = {field.rel_model.__name__ for _, field in SURE}
    deletes = re.compile(
        rf"\b({'|'.join(sorted(names))})\.delete\(|delete_rows\(({'|'.join(sorted(names))})\b|delete_instance\("
        r"|DELETE FROM (?!\"\{)",
        re.IGNORECASE,
    )
    found = {
        (path.relative_to(ROOT).as_posix(), match.group(0))
        for folder in ("tasks", "coordinator", "workers", "admin")
        for path in (ROOT / folder).rglob("*.py")
        for match in deletes.finditer(path.read_text())
    }
    assert found == {("coordinator/sync_parts.py", "Job.delete(")}
    text = (ROOT / "coordinator/sync_parts.py").read_text()
    assert text.index("Outbox.delete(") < text.index("Job.delete(")
