"""`manage.py prepare`: wait for database and store, check both, migrate, ensure the admin. Part of `up`."""

import sys
from argparse import ArgumentParser

from django.conf import settings
from django.core.checks import run_checks
from django.core.management.base import BaseCommand

from budgetgate import preparation


class Command(BaseCommand):
    help = "Makes database and store ready for the gateway; safe to repeat."
    requires_system_checks: list[str] = []  # run below, when the database answers

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--wait", type=float, default=15, help="seconds to wait for DATABASE_URL and REDIS_URL")
        parser.add_argument("--set-admin-password", action="store_true", help="also where the admin exists already")

    def handle(self, *args: object, wait: float, set_admin_password: bool, **options: object) -> None:
        try:
            preparation.wait_for_database(wait_s=wait, say=self.stdout.write)
            preparation.wait_for_store(wait_s=wait, say=self.stdout.write)
        except preparation.NotReadyError as error:
            sys.exit(f"budgetgate: {error}")
        errors = [message for message in run_checks(databases=["default"]) if message.is_serious()]
        if errors:
            sys.exit(f"budgetgate: {errors[0].msg} ({errors[0].id})")
        preparation.migrate(say=self.stdout.write)
        preparation.ensure_admin(
            settings.ADMIN_PASSWORD,
            overwrite=set_admin_password or settings.ADMIN_PASSWORD_IS_GIVEN,
        )
