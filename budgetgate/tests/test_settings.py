"""Every variable is in the docs, and a bad value is one line that names it."""

import os
import re
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
READERS = r"(?:env\.\w+|_positive|_whole|_choice|_address)\(\s*\"([A-Z][A-Z_]+)\""


def test_every_variable_stands_in_the_docs_once() -> None:
    read = set(re.findall(READERS, (ROOT / "budgetgate/settings.py").read_text()))
    documented = re.findall(r"^\| `([A-Z_]+)` \|", (ROOT / "docs/settings.md").read_text(), re.MULTILINE)
    assert sorted(documented) == sorted(read)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BUDGETGATE_PORT", "http"),
        ("BUDGETGATE_PORT", "0"),
        ("BUDGETGATE_WORKERS", "-1"),
        ("BUDGETGATE_STORE_DOWN", "ajar"),
        ("BUDGETGATE_LOG_LEVEL", "LOUD"),
        ("DATABASE_URL", "mysql://somebody@127.0.0.1/budgetgate"),
        ("DATABASE_URL", "postgres://somebody@127.0.0.1:5432"),
        ("REDIS_URL", "redis://127.0.0.1:port/0"),
    ],
)
def test_bad_value_is_one_line_that_names_the_variable(name: str, value: str) -> None:
    command = [sys.executable, "manage.py", "check"]
    result = subprocess.run(
        command, cwd=ROOT, env=os.environ | {name: value}, capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert result.stderr.startswith(f"budgetgate: {name} ")
    assert result.stderr.count("\n") == 1


def test_deploy_check_is_quiet_with_a_secret_key_and_nothing_else(tmp_path: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if not re.match("BUDGETGATE_|DJANGO_", name)}
    env = kept | {"BUDGETGATE_DATA_DIR": str(tmp_path), "DJANGO_SECRET_KEY": secrets.token_urlsafe(50)}
    command = [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"]
    result = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
