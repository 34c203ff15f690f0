"""PostgreSQL and Valkey for the tests; the root conftest calls this and has the `valkey` fixture.

`DATABASE_URL` / `REDIS_URL` of the environment are used when they are set. What is not set is started once per
run (with xdist by the controller, so all workers share one pair), in a temporary directory, without
durability, and stopped at the end. Isolation: a database per worker in PostgreSQL (pytest-django's doing), a
numbered database per worker and a key prefix per test in Valkey. Settings are read after this module has run,
so `.env` and `var/` of the checkout never reach a test.
"""

import atexit
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

import django
import pytest
from django.conf import settings as django_settings

from budgetgate import embedded
from budgetgate.processes import child_options

MASTER_KEY = "sk-master-key-of-the-tests"
SECRET_KEY = "a2V5IG9mIHRoZSB0ZXN0cywgb2Ygbm8gb3RoZXIgdXM="
OWN_VALKEY = "BUDGETGATE_TESTSOWN_VALKEY"  # tells the xdist workers whether the Valkey is ours to flush
_running: list[tuple[embedded.Server, subprocess.Popen[bytes]]] = []
_directories: list[Path] = []


def provide() -> None:
    """Make the environment in which settings are read, then set up Django. Called once, by the root conftest."""
    if django_settings.configured:
        raise pytest.UsageError("unset DJANGO_SETTINGS_MODULE: the tests start their servers before they read settings")
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if not worker:
        _start_missing_servers()
    elif os.environ.get(OWN_VALKEY):
        number = int(worker.removeprefix("gw")) % 63 + 1  # 0 is the controller's
        os.environ["REDIS_URL"] = urlsplit(os.environ["REDIS_URL"])._replace(path=f"/{number}").geturl()
    os.environ |= {
        "DJANGO_SETTINGS_MODULE": "budgetgate.settings",
        "DJANGO_SECRET_KEY": "the secret key of the tests, long enough and of no use to anybody",
        "BUDGETGATE_MASTER_KEY": MASTER_KEY,
        "BUDGETGATE_SECRET_KEYS": SECRET_KEY,
        "BUDGETGATE_REDIS_PREFIX": f"bgtest-{worker or 'main'}",
        "BUDGETGATE_DATA_DIR": str(_temporary_directory()),
    }
    django.setup()
    # A worker inherits the environment; with this name in it pytest-django would read the settings before our turn.
    del os.environ["DJANGO_SETTINGS_MODULE"]


def _start_missing_servers() -> None:
    wanted = {"DATABASE_URL": embedded.postgres, "REDIS_URL": embedded.valkey}
    missing = {name: make for name, make in wanted.items() if not os.environ.get(name)}
    directory = _temporary_directory()
    servers = {name: make(directory, durable=False) for name, make in missing.items()}
    for name, server in servers.items():
        with (directory / f"{server.name}.log").open("wb") as log:
            options = child_options(user=server.user, death_signal=server.stop_signal)
            process = subprocess.Popen(server.command, stdout=log, stderr=log, **options)
        _running.append((server, process))
        os.environ[name] = server.url
    for server, process in _running:
        embedded.wait_until_ready(server, process, timeout_s=30)
    if "REDIS_URL" in servers:
        os.environ[OWN_VALKEY] = "1"


def _temporary_directory() -> Path:
    directory = Path(tempfile.mkdtemp(prefix="budgetgate-tests-"))
    directory.chmod(0o711)  # PostgreSQL runs as another user when the tests run as root
    _directories.append(directory)
    return directory


@atexit.register  # also when a run ends before pytest is configured
def stop() -> None:
    """Stop what was started, first all signals, then all waits. A second call does nothing."""
    for server, process in _running:
        process.send_signal(server.stop_signal)
    while _running:
        _, process = _running.pop()
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    while _directories:
        shutil.rmtree(_directories.pop(), ignore_errors=True)
