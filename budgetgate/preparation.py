"""What must be true before the gateway starts: database and store answer, tables are there, an admin can log in.

Safe to run on every start and from several machines, as long as the first one has migrated. Times are seconds.
"""

import time
from collections.abc import Callable

import psycopg
import redis
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from psycopg import sql

from budgetgate.store import client_for

ADMIN_NAME = "admin"
RETRY_S = 0.5


class NotReadyError(Exception):
    """One line that says what cannot be reached or used."""


def wait_for_database(*, wait_s: float, say: Callable[[str], None]) -> None:
    """Connect, creating the database when only that is missing; gives up after `wait_s`."""
    address = "{HOST}:{PORT}/{NAME}".format(**connection.settings_dict)
    _retry(_connect_or_create, psycopg.Error, f"the database {address} (DATABASE_URL)", wait_s=wait_s, say=say)


def wait_for_store(*, wait_s: float, say: Callable[[str], None]) -> None:
    """Ping Valkey; gives up after `wait_s`."""
    with client_for(settings.REDIS_URL) as client:
        where = client.connection_pool.connection_kwargs
        address = where.get("path") or f"{where.get('host')}:{where.get('port')}"
        _retry(client.ping, redis.RedisError, f"Valkey at {address} (REDIS_URL)", wait_s=wait_s, say=say)


def _retry(
    attempt: Callable[[], object],
    failure: type[Exception],
    what: str,
    *,
    wait_s: float,
    say: Callable[[str], None],
) -> None:
    deadline = time.monotonic() + wait_s
    waiting = False
    while True:
        try:
            attempt()
        except failure as error:
            if time.monotonic() + RETRY_S > deadline:
                raise NotReadyError(f"{what} cannot be used: {' '.join(str(error).split())}") from error
            if not waiting:
                say(f"waiting for {what}")
            waiting = True
            time.sleep(RETRY_S)
        else:
            return


def _connect_or_create() -> None:
    parameters = connection.get_connection_params()
    try:
        psycopg.connect(**parameters).close()
    except psycopg.OperationalError as error:
        # Which of many reasons it was stands only in a translated text, so the catalog is asked.
        if not _create_if_missing(parameters, str(parameters["dbname"])):
            raise error from None


def _create_if_missing(parameters: dict[str, object], name: str) -> bool:
    try:
        server = psycopg.connect(**parameters | {"dbname": "postgres"}, autocommit=True)  # type: ignore[arg-type]
    except psycopg.OperationalError:
        return False
    with server:
        if server.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
            return False
        server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    return True


def migrate(*, say: Callable[[str], None]) -> None:
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if plan:
        say(f"applying {len(plan)} migrations")
        call_command("migrate", interactive=False, verbosity=0)


def ensure_admin(password: str, *, overwrite: bool) -> None:
    """Create the superuser; one that is there keeps its password, which may have been changed, unless `overwrite`."""
    users = get_user_model().objects
    admin = users.filter(username=ADMIN_NAME).first()
    if not password:
        return
    if admin is None:
        users.create_superuser(ADMIN_NAME, password=password)
    elif overwrite and not admin.check_password(password):
        admin.set_password(password)
        admin.save(update_fields=["password"])
