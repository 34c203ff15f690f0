"""`local.json` of the data directory: the secrets and addresses that `manage.py up` made for this installation.

Settings read it where the environment gives no value, so that every other command finds the same database
and keys. Written as a whole, mode 0600; a value once made is never made again.
"""

import json
import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from budgetgate.embedded import write_private
from catalog.secrets import make_secret_key

MADE: Mapping[str, Callable[[], str]] = {
    "BUDGETGATE_ADMIN_PASSWORD": lambda: secrets.token_urlsafe(12),
    "BUDGETGATE_MASTER_KEY": lambda: f"sk-{secrets.token_urlsafe(24)}",
    "BUDGETGATE_SECRET_KEYS": make_secret_key,
    "DJANGO_SECRET_KEY": lambda: secrets.token_urlsafe(50),
}


@dataclass(frozen=True, slots=True)
class Installation:
    """The file of one data directory."""

    path: Path

    def read(self) -> dict[str, str]:
        if not self.path.exists():
            return {}
        values: dict[str, str] = json.loads(self.path.read_text())
        return values

    def update(self, values: Mapping[str, str]) -> None:
        write_private(self.path, json.dumps(self.read() | dict(values), indent=2) + "\n")

    def make_missing(self) -> dict[str, str]:
        """Make the secrets that neither the environment nor the file gives; returns only these."""
        known = self.read()
        made = {name: make() for name, make in MADE.items() if not (os.environ.get(name) or known.get(name))}
        if made:
            self.update(made)
        return made
