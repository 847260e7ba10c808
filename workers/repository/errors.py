"""What can go wrong in a repository. Every error says which object, why, and what to do next; none carries a secret.

`passing` is the retry verdict: True when the same call may well succeed later. `code` is what callers and metrics
name; the text is one sentence for an operator.
"""


class RepositoryError(Exception):
    """Base of the family. `advice` is the next step for an operator."""

    code = "repository-failed"
    advice = ""
    passing = False

    def __init__(self, text: str, *, advice: str | None = None) -> None:
        super().__init__(text)
        self.text = text
        self.advice = type(self).advice if advice is None else advice

    def __str__(self) -> str:
        return f"{self.text} {self.advice}".strip()


class StoreUnavailable(RepositoryError):
    """The store did not answer, or asked us to slow down: what was sent may or may not have happened."""

    code, passing = "store-unavailable", True


class AccessRefused(RepositoryError):
    """The store refuses this identity the call."""

    code = "access-refused"
    advice = "Grant the identity list, read, write and delete rights below the repository's prefix."


class Missing(RepositoryError):
    """An object that is named is not there."""

    code = "object-missing"
    advice = "Run a verification to see what it affects."


class Archived(RepositoryError):
    """An object lies in a cold class and must be retrieved before it can be read."""

    code = "object-archived"
    advice = "Request its retrieval, and read again when the store says it is back."


class Conflict(RepositoryError):
    """A conditional write found another state than it expected: somebody else was first."""

    code = "write-conflict"


class Damaged(RepositoryError):
    """An object is not what was written: flipped, truncated, swapped, or of a foreign repository."""

    code = "object-damaged"
    advice = "Run a full verification, then repair."

    def __init__(self, name: str, detail: str, *, advice: str | None = None) -> None:
        super().__init__(f"{name} is damaged: {detail}.", advice=advice)
        self.name = name
        self.detail = detail


class WrongKey(RepositoryError):
    """None of the keys that were given opens the repository."""

    code = "wrong-key"
    advice = "Give the passphrase, key file or KMS key that one of its key slots was made with."


class Newer(RepositoryError):
    """The repository or an object was written by a later version of the format."""

    code = "newer-version"
    advice = "Use a Snapfleet release that knows this version."


class Fenced(RepositoryError):
    """The job's lease was revoked or is committed: nothing this process writes will ever count."""

    code = "job-fenced"
    advice = "Start a new archive."


class Unsuitable(RepositoryError):
    """The store or the request cannot do what is asked: no conditional writes, no Object Lock, a clock that is off."""

    code = "unsuitable"


class Unrelated(RepositoryError):
    """Two snapshots have no common history, so that their difference cannot be listed."""

    code = "unrelated-snapshots"
    advice = "Archive the whole volume."
