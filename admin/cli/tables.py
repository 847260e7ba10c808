"""What is written from the program: the tables of settings and rights in docs/, and deploy/cloud/roles.yaml.

`python -m admin.cli.tables` writes them anew; tables stand between `<!-- NAME -->` and `<!-- end -->`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from pathlib import Path

import yaml

from admin.iam import template
from tasks.resources import TYPES
from tasks.resources.rights import FEATURES, actions_of
from tasks.secrets import Secret
from tasks.settings import DEFAULT_HOME, Settings

DOCS = Path(__file__).parent.parent.parent / "docs"
TEMPLATE = DOCS.parent / "deploy" / "cloud" / "roles.yaml"


def settings_table() -> str:
    """Every setting with its default and meaning."""
    rows = ["| setting | default | meaning |", "|---|---|---|"]
    for item in fields(Settings):
        secret = " (secret)" if isinstance(item.default, Secret) else ""
        rows.append(f"| `SNAPFLEET_{item.name.upper()}` | {_shown(item.default)} | {item.metadata['about']}{secret} |")
    return "\n".join(rows)


def _shown(default: object) -> str:
    if default is MISSING:
        return f"`{DEFAULT_HOME}`"
    if default == "" or isinstance(default, Secret):
        return ""
    return f"`{default:g}`" if isinstance(default, int | float) else f"`{default}`"


def rights_table() -> str:
    """The actions of each resource type, by what they are for."""
    rows = ["| type | to | role | actions |", "|---|---|---|---|"]
    for kind in TYPES.values():
        for feature, duty in FEATURES.items():
            if found := actions_of(kind, feature):
                rows.append(f"| {kind.name} | {feature} | {duty} | {', '.join(f'`{one}`' for one in found)} |")
    return "\n".join(rows)


def roles_template() -> str:
    """The CloudFormation template for any installation."""
    head = "# Written by `python -m admin.cli.tables` from what the drivers need; README.md tells how to roll it out.\n"
    return head + yaml.safe_dump(template(), sort_keys=False, width=110)


TABLES: Mapping[str, tuple[str, Callable[[], str]]] = {
    "settings": ("operations.md", settings_table),
    "rights": ("iam.md", rights_table),
}


def filled(page: str, name: str, table: str) -> str:
    """The page with the table between its marks. Raises ValueError when it has no such marks."""
    marks = re.compile(rf"(<!-- {name} -->\n).*?(\n<!-- end -->)", re.DOTALL)
    if not marks.search(page):
        raise ValueError(f"the page has no <!-- {name} -->")
    return marks.sub(lambda found: found[1] + table + found[2], page)


def main() -> None:
    """Write every table into its page, and the template."""
    for name, (file, table) in TABLES.items():
        path = DOCS / file
        path.write_text(filled(path.read_text(), name, table()))
    TEMPLATE.write_text(roles_template())


if __name__ == "__main__":
    main()
