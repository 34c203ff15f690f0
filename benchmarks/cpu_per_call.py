"""CPU of the gateway process for one admitted call over four windows, as a ratio to a raw ASGI answer.

Starts everything itself: `make bench`. Both servers are measured in turn, round by round,
because a machine's speed drifts; the ratio within a round is what counts.
"""

import argparse
import asyncio
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import psutil
from pyreqwest.client import Client, ClientBuilder

ROOT = Path(__file__).resolve().parent.parent
MASTER_KEY = "sk-master-key-of-the-benchmark"
BODY = b'{"model":"gpt-4o-mini","max_tokens":200,"messages":[{"role":"user","content":"%s"}]}' % (b"word " * 180)
UVICORN = ("--loop", "uvloop", "--http", "httptools", "--no-access-log", "--no-proxy-headers", "--log-level", "warning")


def main() -> None:
    options = _options()
    with ExitStack() as stack:
        provider = stack.enter_context(_uvicorn("benchmarks.apps:provider"))
        raw = stack.enter_context(_uvicorn("benchmarks.apps:raw"))
        gateway = stack.enter_context(_gateway(provider_url=provider.url))
        key = _key(gateway.url)
        _pin(measured=(raw, gateway))
        print(f"{options.calls} calls a round, {options.connections} connections, JSON of 1 KB, 4 windows")
        print(f"{'round':>5} {'raw us':>8} {'gateway us':>11} {'ratio':>6} {'calls/s':>8}")
        ratios = [_round(number, raw, gateway, key=key, options=options) for number in range(options.rounds + 1)][1:]
    print(f"ratio: median {statistics.median(ratios):.1f}, min {min(ratios):.1f}, max {max(ratios):.1f}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args()


class Server:
    """A server to load: its address and the process whose CPU is counted."""

    def __init__(self, url: str, process: psutil.Process) -> None:
        self.url = url
        self._process = process

    @property
    def pid(self) -> int:
        return int(self._process.pid)

    def cpu_s(self) -> float:
        times = self._process.cpu_times()
        return float(times.user + times.system)


def _pin(*, measured: tuple[Server, ...]) -> None:
    """The measured servers on one core, load, provider and stores on the others; where the system can do that."""
    if not hasattr(os, "sched_setaffinity") or (os.cpu_count() or 1) < 2:
        return
    processes = psutil.Process().children(recursive=True)
    alone = {server.pid for server in measured}
    for process in [*processes, psutil.Process()]:
        cores = {0} if process.pid in alone else set(range(1, os.cpu_count() or 2))
        for thread in process.threads():
            os.sched_setaffinity(thread.id, cores)


def _round(number: int, raw: Server, gateway: Server, *, key: str, options: argparse.Namespace) -> float:
    raw_us, _ = _measure(raw, key=key, options=options)
    gateway_us, rate = _measure(gateway, key=key, options=options)
    name = str(number) if number else "warm"
    print(f"{name:>5} {raw_us:8.1f} {gateway_us:11.1f} {gateway_us / raw_us:6.1f} {rate:8.0f}", flush=True)
    return gateway_us / raw_us


def _measure(server: Server, *, key: str, options: argparse.Namespace) -> tuple[float, float]:
    before, started = server.cpu_s(), time.perf_counter()
    asyncio.run(_load(server.url, key=key, calls=options.calls, connections=options.connections))
    elapsed = time.perf_counter() - started
    time.sleep(0.3)  # the settler's last batch belongs to the calls
    return (server.cpu_s() - before) / options.calls * 1e6, options.calls / elapsed


async def _load(url: str, *, key: str, calls: int, connections: int) -> None:
    left = iter(range(calls))
    async with ClientBuilder().build() as client:
        await asyncio.gather(*(_worker(client, url, key=key, left=left) for _ in range(connections)))


async def _worker(client: Client, url: str, *, key: str, left: Iterator[int]) -> None:
    for _ in left:
        request = client.post(f"{url}/v1/chat/completions").bearer_auth(key).body_bytes(BODY)
        response = await request.build().send()
        if response.status != 200:
            raise SystemExit(f"the server answered {response.status}: {await response.text()}")


@contextmanager
def _uvicorn(app: str) -> Iterator[Server]:
    port = _free_port()
    command = (sys.executable, "-m", "uvicorn", app, "--port", str(port), "--lifespan", "off", *UVICORN)
    with _process(command, env=os.environ) as process:
        url = f"http://127.0.0.1:{port}"
        _wait_for(url)
        yield Server(url, psutil.Process(process.pid))


@contextmanager
def _gateway(*, provider_url: str) -> Iterator[Server]:
    port = _free_port()
    with tempfile.TemporaryDirectory(prefix="budgetgate-benchmark-") as directory:
        os.chmod(directory, 0o711)  # PostgreSQL runs as another user when this runs as root
        env = {
            **os.environ,
            "BUDGETGATE_DATA_DIR": directory,
            "BUDGETGATE_PORT": str(port),
            "BUDGETGATE_MASTER_KEY": MASTER_KEY,
            "OPENAI_API_KEY": "benchmark",
            "OPENAI_BASE_URL": f"{provider_url}/v1",
        }
        with _process((sys.executable, "manage.py", "up"), env=env) as supervisor:
            url = f"http://127.0.0.1:{port}"
            _wait_for(f"{url}/health/liveliness")
            yield Server(url, _gateway_process(supervisor.pid))


@contextmanager
def _process(
    command: tuple[str, ...], *, env: "os._Environ[str] | dict[str, str]"
) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def _gateway_process(supervisor: int) -> psutil.Process:
    for process in psutil.Process(supervisor).children(recursive=True):
        if "budgetgate.asgi:application" in process.cmdline():
            return process
    raise SystemExit("the gateway process was not found")


def _key(url: str) -> str:
    limits = [{"budget_duration": "1h", "max_budget": 1_000_000}, {"budget_duration": "30d", "max_budget": 5_000_000}]
    headers = {"authorization": f"Bearer {MASTER_KEY}"}
    with httpx.Client(base_url=url, headers=headers) as client:
        team = client.post("/team/new", json={"team_alias": "benchmark", "budget_limits": limits}).raise_for_status()
        body = {"team_id": team.json()["team_id"], "budget_limits": limits}
        key = client.post("/key/generate", json=body).raise_for_status().json()["key"]
    return str(key)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _wait_for(url: str) -> None:
    for _ in range(600):
        try:
            httpx.get(url, timeout=1)
        except httpx.TransportError:
            time.sleep(0.1)
        else:
            return
    raise SystemExit(f"{url} does not answer")


if __name__ == "__main__":
    main()
