"""Dead letters come home: each is written to the catalog with its reason before the broker lets go of it."""

import logging
from datetime import datetime

from tasks.catalog import DeadLetter, transaction
from tasks.errors import SnapfleetError
from tasks.lanes import Lane
from tasks.settings import Settings

log = logging.getLogger("snapfleet.coordinator")

LETTERS_A_ROUND = 200


def drain(settings: Settings, at: datetime) -> None:
    """Fetch what the broker gave up on. A broker that is away is tried again at the next round."""
    from coordinator.rabbitmq import drain_dead_letters
    from tasks.messages import SignedEncoder

    def keep(lane: Lane, reason: str, body: str, job_id: int | None, signed: bool) -> None:
        with transaction():
            DeadLetter.create(
                lane=str(lane),
                reason=reason,
                body=body,
                job_id=job_id if signed else None,  # an unsigned letter may name any job: nothing follows from it
                received_at=at,
            )

    try:
        drain_dead_letters(settings.broker_url, keep, LETTERS_A_ROUND, encoder=SignedEncoder(settings.message_keys()))
    except SnapfleetError as error:
        log.warning("Dead letters were not fetched: %s", error.text)
