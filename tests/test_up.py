"""`manage.py up` with real processes: first and second start, dead parts, the end, and starts that cannot be.

All starts share one data directory per worker, so only the first pays for initdb and the migrations.
"""

import contextlib
import os
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import psycopg
import pytest
import redis

from tests.up import ROOT, START_TIMEOUT_S, Up, alive, environment, free_port, running, wait_until

pytestmark = pytest.mark.xdist_group("up")  # one worker, so that the shared start is paid once


@dataclass(frozen=True, slots=True)
class FirstStart:
    directory: Path
    out: str
    err: str
    local: dict[str, str]
    exit_code: int
    survivors: list[psutil.Process]
    health: httpx.Response


@pytest.fixture(scope="module")
def first() -> Iterator[FirstStart]:
    """A first start on an empty directory, some data written, stopped by Ctrl-C; later starts use its directory.

    Not in pytest's own directory: each new run of pytest closes that one to PostgreSQL's user, when both are root's.
    """
    with tempfile.TemporaryDirectory(prefix="budgetgate-up-") as parent:
        yield _first_start(Path(parent) / "var")


def _first_start(directory: Path) -> FirstStart:
    with running(directory) as up:
        local = up.local()
        health = httpx.get(f"http://127.0.0.1:{up.port}/health/liveliness", trust_env=False)
        with psycopg.connect(local["DATABASE_URL"]) as database:
            database.execute("CREATE TABLE kept (word text)")
        with redis.Redis.from_url(local["REDIS_URL"]) as store:
            store.set("kept", "word")
        descendants = up.descendants()
        exit_code = up.stop()
    survivors = [process for process in descendants if alive(process)]
    return FirstStart(directory, up.out, up.err, local, exit_code, survivors, health)


@pytest.fixture
def up(first: FirstStart) -> Iterator[Up]:
    """A later start on the same directory."""
    with running(first.directory) as running_up:
        yield running_up


def test_first_start_prints_the_secrets_once_and_says_where_everything_is(first: FirstStart) -> None:
    assert first.out.count(first.local["BUDGETGATE_MASTER_KEY"]) == 1
    assert first.out.count(first.local["BUDGETGATE_ADMIN_PASSWORD"]) == 1
    assert re.search(r"dashboard +http://127.0.0.1:\d+/", first.out)
    assert re.search(r"curl -X POST http://127.0.0.1:\d+/key/generate", first.out)
    assert first.err == ""


def test_secrets_are_readable_by_their_owner_only(first: FirstStart) -> None:
    assert (first.directory / "local.json").stat().st_mode & 0o777 == 0o600
    assert first.local["BUDGETGATE_MASTER_KEY"].startswith("sk-")


def test_gateway_answered_that_it_isalive(first: FirstStart) -> None:
    assert (first.health.status_code, first.health.json()) == (200, "I'm alive!")


def test_ctrl_c_ends_every_process_with_exit_code_0(first: FirstStart) -> None:
    assert first.exit_code == 0
    assert first.survivors == []


def test_second_start_keeps_data_and_addresses_and_prints_no_secret(up: Up, first: FirstStart) -> None:
    assert up.local() == first.local
    with psycopg.connect(first.local["DATABASE_URL"]) as database:
        assert database.execute("SELECT count(*) FROM kept").fetchone() == (0,)
    with redis.Redis.from_url(first.local["REDIS_URL"]) as store:
        assert store.get("kept") == b"word"
    for name in ("BUDGETGATE_MASTER_KEY", "BUDGETGATE_ADMIN_PASSWORD", "BUDGETGATE_SECRET_KEYS", "DJANGO_SECRET_KEY"):
        assert first.local[name] not in up.out


def test_dead_parts_are_started_again_on_their_ports_and_said_so(up: Up, first: FirstStart) -> None:
    parts = {"gateway": "uvicorn", "worker": "celery.* worker", "postgres": "postgres -D", "valkey": "valkey-server"}
    for words in parts.values():
        up.child(words).kill()
    for name in parts:
        up.wait_for(rf"{name} was ended by SIGKILL; starting it again in 0.5 s")
    wait_until(lambda: _answers(up.port) and _database_answers(first.local["DATABASE_URL"]))
    for words in parts.values():
        assert up.child(words).is_running()
    with redis.Redis.from_url(first.local["REDIS_URL"]) as store:
        assert store.get("kept") == b"word"
    assert up.stop() == 0


def _answers(port: int) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(f"http://127.0.0.1:{port}/health/liveliness", trust_env=False).status_code == 200
    return False


def _database_answers(url: str) -> bool:
    with contextlib.suppress(psycopg.OperationalError), psycopg.connect(url):
        return True
    return False


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent has ended")
def test_killed_supervisor_takes_its_parts_along_and_the_next_start_works(first: FirstStart) -> None:
    with running(first.directory) as up:
        descendants = up.descendants()
        up.process.kill()
        up.process.wait()
        wait_until(lambda: not any(map(alive, descendants)), timeout_s=20)
        assert [process for process in descendants if alive(process)] == []
    with running(first.directory) as again:
        assert again.stop() == 0


def test_second_up_on_the_same_directory_is_one_line(up: Up, first: FirstStart) -> None:
    code, err = _refusal(environment(first.directory, free_port()))
    assert code == 1
    assert err == f"budgetgate: {first.directory} is in use by another BudgetGate (process {up.process.pid})\n"


# --- starts that cannot be -----------------------------------------------------------------------
def _refusal(environment: dict[str, str]) -> tuple[int, str]:
    command = [sys.executable, "manage.py", "up", "--wait", "0"]
    result = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=START_TIMEOUT_S, check=False
    )
    return result.returncode, result.stderr


def test_port_in_use_is_one_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        code, err = _refusal(environment(tmp_path / "var", taken.getsockname()[1]))
    assert code == 1
    assert re.fullmatch(r"budgetgate: cannot listen on 127.0.0.1 port \d+ .*: Address already in use\n", err)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        (
            "DATABASE_URL",
            "postgres://somebody@127.0.0.1:1/budgetgate",
            r"the database 127.0.0.1:1/budgetgate .*",
        ),
        ("REDIS_URL", "redis://127.0.0.1:1/0", r"Valkey at 127.0.0.1:1 .*refused"),
        ("BUDGETGATE_TIME_ZONE", "Mars/Olympus", r"BUDGETGATE_TIME_ZONE is 'Mars/Olympus'.*"),
        ("BUDGETGATE_PORT", "http", r"BUDGETGATE_PORT is 'http'.*"),
        ("BUDGETGATE_MASTER_KEY", "secret", r"BUDGETGATE_MASTER_KEY must begin with sk-.*"),
        ("BUDGETGATE_HOST", "192.0.2.1", r"cannot listen on 192.0.2.1 port .*"),
    ],
)
def test_start_that_cannot_be_is_one_line(tmp_path: Path, name: str, value: str, words: str) -> None:
    addresses = {name: os.environ[name] for name in ("DATABASE_URL", "REDIS_URL")}
    code, err = _refusal(environment(tmp_path / "var", free_port(), **addresses | {name: value}))
    assert code == 1
    assert re.match(f"budgetgate: {words}", err)
    assert err.count("\n") == 1
