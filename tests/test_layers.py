"""Who may import whom: the walls of the house, checked on the syntax trees of every module."""

import ast
import functools
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parent.parent
PACKAGES = ("tasks", "coordinator", "workers", "admin")
# package -> what it may import of ours
OURS = {
    "tasks": {"tasks"},
    "coordinator": {"coordinator", "tasks"},
    "workers": {"workers", "tasks"},
    "admin": {"admin", "coordinator", "tasks"},
}
# What admin may take from the coordinator: decisions and readings, for previews; never the loop and its edges.
PREVIEWS = {
    f"coordinator.{name}"
    for name in (
        "brake due expiry facts grid interval judge periods plan reason restore restore_facts restore_plan retention "
        "routes rpo rpo_state rules slots targets wallclock elastic elastic_facts load coverage waiting"
    ).split()
}
# What of the engine may speak to AWS with its SDK: the store, the key service, and the tool for when all else is gone.
SDK = (
    "workers/repository/s3.py",
    "workers/repository/kms.py",
    "workers/repository/sdk.py",
    "workers/repository/__main__.py",
)
# library -> the only places that may import it
LIBRARIES = {
    "boto3": ("workers/aws/", *SDK),
    "botocore": ("workers/aws/", *SDK),
    "zstandard": ("workers/repository/",),
    "ctypes": ("workers/repository/lanes.py",),
    "azure": ("workers/azure/",),
    "dramatiq": (
        "tasks/broker.py",
        "tasks/delivery.py",
        "tasks/localbroker.py",
        "tasks/messages.py",
        "workers/main.py",
        "workers/app.py",
        "workers/middleware.py",
        "workers/drain.py",
    ),
    "pika": ("tasks/broker.py", "tasks/amqp.py", "coordinator/rabbitmq"),
    "flask": ("admin/web/",),
    "click": ("admin/cli/",),
    "rich": ("admin/",),
    "peewee": ("tasks/catalog/", "coordinator/", "workers/", "admin/", "tasks/telemetry.py"),
    "prometheus_client": ("admin/",),
}
FORBIDDEN = {"pickle", "marshal", "shelve", "eval", "exec"}


@functools.cache
def modules() -> list[tuple[Path, ast.Module]]:
    """Every module of the four packages with its syntax tree."""
    files = [path for name in PACKAGES for path in sorted((ROOT / name).rglob("*.py"))]
    return [(path.relative_to(ROOT), ast.parse(path.read_text())) for path in files]


def imports(tree: ast.Module) -> set[str]:
    """Dotted names of what a module imports, at its top or inside functions."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_there_is_something_to_look_at() -> None:
    seen = {path.parts[0] for path, _ in modules()}
    assert seen == set(PACKAGES)
    assert len(modules()) > 60


def test_each_folder_imports_only_what_it_may() -> None:
    wrong = []
    for path, tree in modules():
        own = path.parts[0]
        for name in imports(tree):
            first = name.split(".")[0]
            if first in PACKAGES and first not in OURS[own]:
                wrong.append(f"{path} imports {name}")
    assert not wrong


def test_admin_takes_only_previews_from_the_coordinator() -> None:
    wrong = [
        f"{path} imports {name}"
        for path, tree in modules()
        if path.parts[0] == "admin"
        for name in imports(tree)
        if name.startswith("coordinator.") and ".".join(name.split(".")[:2]) not in PREVIEWS
    ]
    assert not wrong


def test_each_library_stays_in_its_place() -> None:
    wrong = [
        f"{path} imports {name}"
        for path, tree in modules()
        for name in imports(tree)
        for library, places in LIBRARIES.items()
        if name.split(".")[0] == library and not str(path).startswith(places)
    ]
    assert not wrong


def test_drivers_know_no_catalog_and_no_queue() -> None:
    drivers = [(path, tree) for path, tree in modules() if str(path).startswith(("workers/aws/", "workers/azure/"))]
    assert drivers
    wrong = [
        f"{path} imports {name}"
        for path, tree in drivers
        for name in imports(tree)
        if name.startswith(("tasks.catalog", "tasks.broker", "tasks.messages", "workers.handlers", "peewee"))
    ]
    assert not wrong


def test_the_repository_can_be_lifted_out() -> None:
    engine = [(path, tree) for path, tree in modules() if str(path).startswith("workers/repository/")]
    assert engine
    allowed = sys.stdlib_module_names | {"zstandard", "cryptography"}
    wrong = [
        f"{path} imports {name}"
        for path, tree in engine
        for name in imports(tree)
        if name.split(".")[0] not in allowed
        and not name.startswith("workers.repository")
        and not (str(path) in SDK and name.split(".")[0] in {"boto3", "botocore", "isal"})
    ]
    assert not wrong


def test_nothing_is_unpickled_or_evaluated() -> None:
    wrong = []
    for path, tree in modules():
        called = {
            node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        wrong += [f"{path} uses {name}" for name in (imports(tree) | called) & FORBIDDEN]
    assert not wrong


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        str(path)
        for path, tree in modules()
        if len(tree.body) > 1 and not ast.get_docstring(tree) and "migrations" not in path.parts
    ]
    assert not silent


def test_every_package_is_listed_for_installation() -> None:
    listed = (ROOT / "pyproject.toml").read_text()
    packages = {".".join(path.parent.parts) for path, _ in modules() if path.name == "__init__.py"}
    assert packages
    assert not [name for name in packages if f'"{name}"' not in listed]
