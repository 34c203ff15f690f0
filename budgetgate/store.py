"""A plain client for asking Valkey something once: short timeouts, no retries. Not for the path of a call."""

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

TIMEOUT_S = 2


def client_for(url: str) -> redis.Redis:
    return redis.Redis.from_url(
        url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S, retry=Retry(NoBackoff(), 0)
    )
