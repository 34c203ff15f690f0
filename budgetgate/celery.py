"""The Celery app: workers and beat. Schedules stand here, next to nothing else; tasks stand in their apps."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "budgetgate.settings")

app = Celery("budgetgate")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
