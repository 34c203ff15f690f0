"""`manage.py rotate_secrets`: seal providers' keys with the first of BUDGETGATE_SECRET_KEYS. Safe to repeat."""

import sys

from django.core.management.base import BaseCommand

from budgets.errors import InputError
from catalog.credential_services import rotate_secrets


class Command(BaseCommand):
    help = "Seals every stored provider key with the first of BUDGETGATE_SECRET_KEYS; safe to repeat."

    def handle(self, *args: object, **options: object) -> None:
        try:
            rotation = rotate_secrets()
        except InputError as error:
            sys.exit(f"budgetgate: {error}")
        self.stdout.write(f"{rotation.resealed} sealed anew, {rotation.current} had the first key already")
        if rotation.lost:
            lost = ", ".join(rotation.lost)
            sys.exit(f"budgetgate: no key of BUDGETGATE_SECRET_KEYS opens these, which stay as they are: {lost}")
