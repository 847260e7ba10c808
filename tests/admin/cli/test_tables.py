"""Pages of the documentation that are held to the program."""

from dataclasses import fields
from pathlib import Path

import pytest

from admin.cli.tables import DOCS, TABLES, TEMPLATE, filled, roles_template, settings_table
from admin.estate import read_estate
from admin.estate_policies import policy_record
from admin.estate_sections import account_record, repository_record
from coordinator.grid import Grid
from tasks.resources import TYPES
from tasks.settings import Settings

pytestmark = pytest.mark.unit
ESTATE = DOCS / "estate.md"


@pytest.mark.parametrize("name", sorted(TABLES))
def test_a_table_is_what_the_program_says(name: str) -> None:
    """Write them again with `python -m admin.cli.tables`."""
    file, table = TABLES[name]
    page = (DOCS / file).read_text()
    assert filled(page, name, table()) == page


def test_the_template_of_roles_is_what_the_drivers_need_now() -> None:
    """Feature 75: written again with `python -m admin.cli.tables`, too."""
    assert TEMPLATE.read_text() == roles_template()


def test_every_setting_is_listed_with_a_meaning() -> None:
    rows = settings_table().splitlines()[2:]
    assert [row.split("`")[1] for row in rows] == [f"SNAPFLEET_{item.name.upper()}" for item in fields(Settings)]
    assert [row for row in rows if len(row.split("|")[3].strip()) < 10] == []


def test_a_page_without_the_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="settings"):
        filled("nothing here", "settings", "")


def test_every_field_of_the_estate_file_is_explained() -> None:
    sections = dict(part.split("\n", 1) for part in ESTATE.read_text().split("\n## ")[1:])
    known = {
        "accounts": set(account_record),
        "repositories": set(repository_record),
        "policies": set(policy_record(TYPES)),
        "schedules": {*Grid.from_spec({"every": "1d", "starts_at": "2026-01-01"}).to_spec(), "days", "disabled"},
    }
    for name, names in known.items():
        assert len(names) > 3
        assert [item for item in names if f"`{item}`" not in sections[name]] == []


def test_the_estate_of_the_readme_is_an_estate() -> None:
    """What a newcomer pastes is accepted as it is."""
    readme = (DOCS.parent / "README.md").read_text()
    (text,) = [part.split("```")[0] for part in readme.split("```yaml\n")[1:]]
    estate = read_estate(text, "README.md")
    assert (set(estate.accounts), set(estate.policies)) == ({"prod", "vault"}, {"web"})


def test_links_between_pages_lead_somewhere() -> None:
    import re

    pages = [DOCS.parent / "README.md", *DOCS.glob("*.md")]
    links = [(page, link) for page in pages for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text())]
    assert len(links) > 5
    assert [(page.name, link) for page, link in links if not (page.parent / Path(link)).exists()] == []
