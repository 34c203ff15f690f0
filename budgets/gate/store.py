"""Django's side of the counter store: the gate over django-redis, as the settings say."""

from django.conf import settings
from django_redis import get_redis_connection

from budgets.gate.protocol import Names
from budgets.gate.sync import SyncGate


def names() -> Names:
    """The store's key names under the configured prefix."""
    return Names(settings.REDIS_PREFIX)


def sync_gate() -> SyncGate:
    """The counter store for this thread; connections are pooled by django-redis."""
    return SyncGate(get_redis_connection("default"), names())
