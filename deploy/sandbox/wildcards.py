"""Filter values of EC2: `*` is any run of characters, `?` any one, a backslash takes the next one literally.

"Listing and filtering your resources" (EC2 user guide). Brackets mean nothing special, unlike in a shell.
"""

import re
from collections.abc import Callable


def _pattern(text: str) -> str:
    out, literal = [], False
    for char in text:
        if not literal and char == "\\":
            literal = True
            continue
        wild = {"*": ".*", "?": "."}.get(char) if not literal else None
        out.append(wild or re.escape(char))
        literal = False
    return "".join(out)


def matcher(values: list[str]) -> Callable[[str], bool]:
    """A test that holds when any of the values matches; values are ORed."""
    if not any(c in v for v in values for c in "*?\\"):
        return set(values).__contains__
    regex = re.compile("|".join(f"(?:{_pattern(v)})" for v in values), re.DOTALL)
    return lambda text: regex.fullmatch(text) is not None
