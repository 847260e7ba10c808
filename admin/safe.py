"""Text that comes from a cloud, made harmless for a terminal.

Names and tags are written by whoever may tag a resource. Escape sequences move the cursor, set the window's title or
write the clipboard; bidirectional controls show one name as another; a line break forges a row.
"""

import unicodedata
from typing import Any

# Cc: C0, DEL and C1 (ESC among them); Cf: bidi and zero-width controls; Co, Cs: private use and lone surrogates;
# Zl, Zp: line and paragraph separators. Unicode, general categories.
_HIDDEN = frozenset(("Cc", "Cf", "Co", "Cs", "Zl", "Zp"))
LONGEST = 2_000  # no cell of a table needs more; a tag's value has 256 characters at most


def safe(text: Any) -> str:
    """One printable line: control, bidi and separator characters are shown as `\\xNN` or `\\uNNNN`."""
    plain = str(text)[:LONGEST]
    if plain.isascii() and plain.isprintable():
        return plain
    return "".join(_shown(char) if unicodedata.category(char) in _HIDDEN else char for char in plain)


def _shown(char: str) -> str:
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
