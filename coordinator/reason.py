"""Why something was decided: a code for machines and a sentence for people."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Reason:
    """`code` is stable and counted; `text` may be reworded and is shown by `why`."""

    code: str
    text: str
