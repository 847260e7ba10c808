"""Estate files as text: read with the line of every value, written so that they read back the same.

PyYAML's safe constructor makes the values; positions come from its node marks. A name given twice in one mapping is
an error (YAML would silently take the last), and so is a file whose aliases blow up.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from tasks.errors import Invalid

Path = tuple[str | int, ...]

# Ten times an estate of 50,000 resources each named by id; more is a file that was not written for this.
_MOST_VALUES = 2_500_000
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_TOO_DEEP = "it is nested deeper than any estate file"
_SHOWN = 30  # problems printed; whoever has more starts again from the first


@dataclass(frozen=True)
class Problem:
    """What is wrong in a file: the line (from 1), the field as `policies.web.targets[2].type`, and a sentence."""

    line: int
    field: str
    text: str


class EstateRefused(Invalid):
    """An estate file that is wrong. `problems` are all of them, in the order of lines; nothing was changed."""

    def __init__(self, name: str, problems: Sequence[Problem]) -> None:
        self.name = name
        self.problems = sorted(problems, key=lambda problem: problem.line)
        count = len(self.problems)
        super().__init__(
            f"{name} has {count} problem{'s' * (count != 1)}; nothing was changed.",
            code="estate",
            advice="Correct the lines named, then apply again.",
        )

    def lines(self) -> list[str]:
        """One line a problem: `estate.yaml:12: policies.web.mode: …`."""
        shown = [f"{self.name}:{item.line}: {item.field}: {item.text}" for item in self.problems[:_SHOWN]]
        more = len(self.problems) - len(shown)
        return [*shown, f"{self.name}: and {more} more"] if more else shown


@dataclass
class Located:
    """A file's plain data, and where each value was written."""

    name: str
    data: Any
    lines: Mapping[Path, int]
    problems: list[Problem] = field(default_factory=list)

    def report(self, path: Path, text: str) -> None:
        """Note a problem at the value of `path`, or at the nearest value around it that was written."""
        known = path
        while known and known not in self.lines:
            known = known[:-1]
        self.problems.append(Problem(self.lines.get(known, 1), self.label(path), text))

    def raise_problems(self) -> None:
        """Raise EstateRefused when anything was reported."""
        if self.problems:
            raise EstateRefused(self.name, self.problems)

    def label(self, path: Path) -> str:
        """A path as people read it: entries of the four lists go by name where they have one."""
        words, value = "", self.data
        for step in path:
            value = _within(value, step)
            name = value.get("name") if isinstance(step, int) and isinstance(value, Mapping) else None
            label = f".{name}" if isinstance(name, str) and name else f"[{step}]"
            words += label if isinstance(step, int) else f".{step}"
        return words.removeprefix(".") or "file"


def _within(value: Any, step: str | int) -> Any:
    try:
        return value[step]
    except (KeyError, IndexError, TypeError):
        return None


def load(text: str, name: str) -> Located:
    """Read YAML text; names given twice are among the result's problems. Raises EstateRefused when it is not YAML."""
    try:
        node = yaml.compose(text, Loader=_LOADER)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        what = getattr(error, "problem", None) or "it cannot be read"
        raise EstateRefused(name, [Problem(mark.line + 1 if mark else 1, "file", f"not YAML: {what}")]) from None
    except RecursionError:
        raise EstateRefused(name, [Problem(1, "file", _TOO_DEEP)]) from None
    located = Located(name, None, {})
    if node is not None:
        reader = _Reader(located)
        try:
            located.data = reader.read(node, ())
        except RecursionError:
            raise EstateRefused(name, [Problem(1, "file", _TOO_DEEP)]) from None
        located.lines = reader.lines
        for line, path, what in reader.wrong:
            located.problems.append(Problem(line, located.label(path), what))
    return located


class _Reader:
    def __init__(self, located: Located) -> None:
        self.lines: dict[Path, int] = {}
        self.wrong: list[tuple[int, Path, str]] = []
        self._located = located
        self._inside: set[int] = set()
        self._count = 0
        self._constructor = yaml.constructor.SafeConstructor()

    def read(self, node: Any, path: Path) -> Any:
        self._count += 1
        line = node.start_mark.line + 1
        self.lines[path] = line
        if self._count > _MOST_VALUES or id(node) in self._inside:
            raise EstateRefused(self._located.name, [Problem(line, "file", "its aliases repeat without end")])
        self._inside.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, path)
            if isinstance(node, yaml.SequenceNode):
                return [self.read(item, (*path, index)) for index, item in enumerate(node.value)]
            return self._scalar(node, path)
        finally:
            self._inside.discard(id(node))

    def _mapping(self, node: Any, path: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value) if isinstance(key_node, yaml.ScalarNode) else "?"
            line = key_node.start_mark.line + 1
            if key in found:
                self.wrong.append((line, (*path, key), "given twice"))
            found[key] = self.read(value_node, (*path, key))
            self.lines[(*path, key)] = line
        return found

    def _scalar(self, node: Any, path: Path) -> Any:
        try:
            return self._constructor.construct_object(node)
        except (yaml.YAMLError, ValueError) as error:
            what = getattr(error, "problem", None) or str(error)
            self.wrong.append((node.start_mark.line + 1, path, f"cannot be read: {what}"))
            return None


def dump(document: Mapping[str, Any]) -> str:
    """The document as YAML: names in the order given, texts quoted wherever YAML would read something else."""
    text: str = yaml.dump(
        document, Dumper=_DUMPER, sort_keys=False, default_flow_style=False, allow_unicode=False, width=100
    )
    return text
