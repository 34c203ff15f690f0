"""The Celery app: workers and beat, and every schedule. Tasks stand in their apps."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "budgetgate.settings")

app = Celery("budgetgate")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()

EVERY_S = {
    "budgetgate.beat": 10.0,
    "ledger.close_windows": 5.0,
    "ledger.recover": 10.0,
    "ledger.repair_counters": 60.0,
}

# A run that waited for longer than its period is dropped: the next one does its work.
app.conf.beat_schedule = {
    name: {"task": name, "schedule": every_s, "options": {"expires": every_s}} for name, every_s in EVERY_S.items()
}
