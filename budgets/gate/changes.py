"""Says to every gateway what is out of date: `key:<hash>`, `team:<id>`, `user:<id>`, `customer:<id>`, `tag:<name>`,
`budget:<id>` (a tier), `routes`.

A lost message costs seconds, not correctness: gateways read profiles anew after a while on their own.
"""

import logging

from redis.exceptions import RedisError

from budgets.gate.store import sync_gate

logger = logging.getLogger(__name__)


def publish(*subjects: str) -> None:
    """Publishes each subject. A store that is down is logged, never raised: the change itself is already committed."""
    try:
        gate = sync_gate()
        for subject in subjects:
            gate.publish(subject)
    except RedisError as error:
        logger.warning("gateways learn of %s late, the counter store is down: %s", subjects, error)
