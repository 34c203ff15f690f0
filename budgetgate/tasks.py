"""The worker's sign of life; everything else that a worker does stands in its app."""

from celery import shared_task
from celery.signals import worker_ready
from django.conf import settings

from budgetgate.probes import clock_ms
from budgetgate.store import client_for
from budgets.gate.store import names


@shared_task(name="budgetgate.beat")
def beat() -> None:
    """Notes the instant in the counter store, where GET /health/readiness reads it."""
    with client_for(settings.REDIS_URL) as client:
        client.set(names().beat, clock_ms())


@worker_ready.connect
def beat_at_once(**kwargs: object) -> None:
    """A worker that has just come need not be missed until its first task."""
    beat()
