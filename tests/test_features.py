"""The feature table is true: what it calls done, some test names."""

import ast
import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parent.parent
ROW = re.compile(r"^\| (C?\d+) \|.*\| (done|planned) \|$", re.MULTILINE)


def docstrings() -> str:
    """Every docstring of the tests."""
    texts = []
    for path in sorted((ROOT / "tests").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                texts.append(ast.get_docstring(node) or "")
    return "\n".join(texts)


def test_every_feature_called_done_is_named_by_a_test() -> None:
    rows = ROW.findall((ROOT / "docs/features.md").read_text())
    assert len(rows) > 120
    done = [number for number, state in rows if state == "done"]
    assert len(done) > 25
    lists = re.findall(r"[Ff]eatures? ((?:C?\d+(?:, and |, | and )?)+)", docstrings())
    named = {number for numbers in lists for number in re.findall(r"C?\d+", numbers)}
    assert [number for number in done if number not in named] == []
