"""The AWS SDK's own settings, where nothing but them says who we are."""

from collections.abc import Iterator
from contextlib import contextmanager

from workers.repository.errors import Unsuitable


@contextmanager
def usable() -> Iterator[None]:
    """Raises Unsuitable with what is wrong with them: an unknown profile, a login that is over, no region."""
    from botocore.exceptions import BotoCoreError

    try:
        yield
    except BotoCoreError as error:
        text = f"The AWS settings cannot be used: {str(error).rstrip('.')}."
        raise Unsuitable(text, advice="Check AWS_PROFILE and AWS_REGION, or sign in again.") from None
