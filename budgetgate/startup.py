"""What `manage.py up` starts, in which order, and what it tells the person at the terminal.

PostgreSQL and Valkey first (where no address is given), then the preparation in a process of its own, then
gateway, Celery worker and beat. The secrets are printed once, when they are made.
"""

import asyncio
import os
import shlex
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx

from budgetgate import embedded
from budgetgate.installation import Installation
from budgetgate.supervisor import Part, StartError, Supervisor, say

SERVER_START_TIMEOUT_S = 60
GATEWAY_START_TIMEOUT_S = 60
GRACE_S = 10  # for open calls when the gateway stops


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The settings that a start needs."""

    base_dir: Path
    data_dir: Path
    host: str
    port: int
    workers: int
    wait_s: float

    @property
    def url(self) -> str:
        """Where the gateway is reached from this machine."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(self.host, self.host)  # noqa: S104
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"


def up(options: Options) -> None:
    """Run everything in the foreground until a signal; `StartError` or `EmbeddedError` say why it did not start."""
    with embedded.locked(options.data_dir):
        check_port_is_free(options.host, options.port)
        asyncio.run(_up(options))


async def _up(options: Options) -> None:
    supervisor = Supervisor()
    await supervisor.run(lambda: _start(supervisor, options))
    say("budgetgate", "stopped")


async def _start(supervisor: Supervisor, options: Options) -> None:
    since = time.monotonic()
    installation = Installation(options.data_dir / "local.json")
    made = installation.make_missing()
    _tell_secrets(made, installation.path)
    await _start_servers(supervisor, options.data_dir, installation)
    await _prepare(supervisor, options, made)
    await supervisor.keep(*clockwork_parts(options))
    await supervisor.keep(gateway_part(options))
    await _wait_for_gateway(options.url)
    _tell_ready(options, installation.path, time.monotonic() - since)


async def _start_servers(supervisor: Supervisor, data_dir: Path, installation: Installation) -> None:
    """Start the servers that the environment gives no address for, and note theirs for the other commands."""
    wanted = {"DATABASE_URL": embedded.postgres, "REDIS_URL": embedded.valkey}
    missing = {name: make for name, make in wanted.items() if not os.environ.get(name)}
    servers = {name: await asyncio.to_thread(make, data_dir) for name, make in missing.items()}
    await supervisor.keep(*(_server_part(server) for server in servers.values()))
    for server in servers.values():
        await _wait_for_server(server)
    installation.update({name: server.url for name, server in servers.items()})


def _server_part(server: embedded.Server) -> Part:
    return Part(
        name=server.name,
        command=server.command,
        user=server.user,
        stop_signal=server.stop_signal,
        stop_timeout_s=30,
        holds_data=True,
        before_start=server.before_start,
    )


async def _wait_for_server(server: embedded.Server) -> None:
    deadline = time.monotonic() + SERVER_START_TIMEOUT_S
    while not await asyncio.to_thread(server.is_ready):
        if time.monotonic() > deadline:
            raise StartError(f"{server.name} does not answer {SERVER_START_TIMEOUT_S} s after its start")
        await asyncio.sleep(0.05)


async def _prepare(supervisor: Supervisor, options: Options, made: Mapping[str, str]) -> None:
    command = [sys.executable, str(options.base_dir / "manage.py"), "prepare", f"--wait={options.wait_s:g}"]
    if "BUDGETGATE_ADMIN_PASSWORD" in made:
        command.append("--set-admin-password")  # what was just printed has to work, whoever owned the database before
    code = await supervisor.run_once(Part(name="prepare", command=tuple(command)))
    if code != 0:
        raise StartError("")  # it has said why


def gateway_part(options: Options) -> Part:
    command = f"""
        {shlex.quote(sys.executable)} -m uvicorn budgetgate.asgi:application
        --app-dir {shlex.quote(str(options.base_dir))}
        --host {shlex.quote(options.host)} --port {options.port} --workers {options.workers}
        --loop uvloop --http httptools --no-access-log --no-proxy-headers --no-server-header --log-level warning
        --timeout-graceful-shutdown {GRACE_S} --timeout-keep-alive 75
    """
    # Kept open longer than clients keep idle connections (httpx: 5 s), so that no call meets a closing one.
    return Part(name="gateway", command=tuple(shlex.split(command)), stop_timeout_s=GRACE_S + 5)


def clockwork_parts(options: Options) -> tuple[Part, Part]:
    as_root = "ignore:You're running the worker with superuser privileges"  # as in most containers
    app = ("--workdir", str(options.base_dir), "-q", "-A", "budgetgate.celery:app")
    celery = (sys.executable, "-W", as_root, "-m", "celery", *app)
    worker = ("worker", "--loglevel=WARNING", "--concurrency=2", "--without-gossip", "--without-mingle")
    schedule = str(options.data_dir / "beat-schedule")
    beat = ("beat", "--loglevel=WARNING", "--pidfile=", f"--schedule={schedule}")
    return Part(name="worker", command=celery + worker), Part(name="beat", command=celery + beat, stop_timeout_s=5)


def check_port_is_free(host: str, port: int) -> None:
    """Say at once what would otherwise be the gateway's last words."""
    try:
        family, *_, address = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[
            0
        ]
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
    except OSError as error:
        reason = error.strerror or str(error)
        raise StartError(f"cannot listen on {host} port {port} (BUDGETGATE_HOST, BUDGETGATE_PORT): {reason}") from error


async def _wait_for_gateway(url: str) -> None:
    deadline = time.monotonic() + GATEWAY_START_TIMEOUT_S
    async with httpx.AsyncClient(timeout=2, trust_env=False) as client:
        while True:
            try:
                answer = await client.get(f"{url}/health/liveliness")
            except httpx.TransportError:
                answer = None
            if answer is not None and answer.status_code == httpx.codes.OK:
                return
            if time.monotonic() > deadline:
                raise StartError(f"the gateway does not answer at {url} {GATEWAY_START_TIMEOUT_S} s after its start")
            await asyncio.sleep(0.1)


# --- words ---------------------------------------------------------------------------------------
def _tell_secrets(made: Mapping[str, str], path: Path) -> None:
    labels = {"BUDGETGATE_ADMIN_PASSWORD": "password of admin", "BUDGETGATE_MASTER_KEY": "master key"}
    shown = {label: made[name] for name, label in labels.items() if name in made}
    if shown:
        say("budgetgate", f"first start; made these secrets, shown only now and kept in {path}:")
    for label, value in shown.items():
        say("budgetgate", f"    {label:<18} {value}")


def _tell_ready(options: Options, path: Path, took_s: float) -> None:
    key = f"$(grep MASTER_KEY {shlex.quote(str(path))} | cut -d'\"' -f4)"
    where = str(path)
    if os.environ.get("BUDGETGATE_MASTER_KEY"):
        key, where = "$BUDGETGATE_MASTER_KEY", "the environment (BUDGETGATE_MASTER_KEY)"
    body = '{"budget_limits":[{"budget_duration":"1h","max_budget":10.0},{"budget_duration":"30d","max_budget":500.0}]}'
    for line in (
        f"ready after {took_s:.1f} s; Ctrl-C stops",
        f"    dashboard   {options.url}/ (user admin)",
        f"    API         {options.url}/v1",
        f"    master key  in {where}",
        "    a first key with two budget windows:",
        f'    curl -X POST {options.url}/key/generate -H "Authorization: Bearer {key}" '
        f"-H 'Content-Type: application/json' -d '{body}'",
    ):
        say("budgetgate", line)
