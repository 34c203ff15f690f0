"""`manage.py up`: BudgetGate with everything it needs, in the foreground."""

import sys
from argparse import ArgumentParser

from django.conf import settings
from django.core.checks import run_checks
from django.core.management.base import BaseCommand

from budgetgate.embedded import EmbeddedError
from budgetgate.startup import Options, up
from budgetgate.supervisor import StartError


class Command(BaseCommand):
    help = "Starts PostgreSQL and Valkey (where no address is given), the gateway, Celery worker and beat."
    requires_system_checks: list[str] = []  # run below, told in one line

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--wait", type=float, default=15, help="seconds to wait for DATABASE_URL and REDIS_URL")

    def handle(self, *args: object, wait: float, **options: object) -> None:
        errors = [message for message in run_checks() if message.is_serious()]
        if errors:
            sys.exit(f"budgetgate: {errors[0].msg} ({errors[0].id})")
        try:
            up(
                Options(
                    base_dir=settings.BASE_DIR,
                    data_dir=settings.DATA_DIR,
                    host=settings.HOST,
                    port=settings.PORT,
                    workers=settings.WORKERS,
                    wait_s=wait,
                )
            )
        except (EmbeddedError, StartError, OSError) as error:
            sys.exit(f"budgetgate: {error}" if str(error) else 1)
