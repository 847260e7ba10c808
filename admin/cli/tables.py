"""Tables of the documentation that are written from the program: settings and rights.

`python -m admin.cli.tables` writes them anew into the pages of docs/, between `<!-- NAME -->` and `<!-- end -->`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from pathlib import Path

from tasks.resources import TYPES, ResourceType
from tasks.secrets import Secret
from tasks.settings import DEFAULT_HOME, Settings

DOCS = Path(__file__).parent.parent.parent / "docs"
_FEATURES: Mapping[str, Callable[[ResourceType], tuple[str, ...]]] = {
    "back up": lambda kind: kind.backup_actions,
    "copy": lambda kind: kind.copy_actions,
    "restore": lambda kind: kind.restore_actions,
    "delete what has aged": lambda kind: kind.delete_actions,
    "use customer-managed keys": lambda kind: kind.key_actions,
}


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
    rows = ["| type | to | actions |", "|---|---|---|"]
    for kind in TYPES.values():
        for feature, actions in _FEATURES.items():
            if found := actions(kind):
                rows.append(f"| {kind.name} | {feature} | {', '.join(f'`{one}`' for one in found)} |")
    return "\n".join(rows)


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
    """Write every table into its page."""
    for name, (file, table) in TABLES.items():
        path = DOCS / file
        path.write_text(filled(path.read_text(), name, table()))


if __name__ == "__main__":
    main()
