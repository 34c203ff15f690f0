"""Keeps a handful of child processes running, passes their output on, and ends them in order.

Knows nothing of what the parts are. Until `start` has finished, a part that ends is a failed start; after that
it is started again, after a pause that doubles from 0.5 s to 30 s. One thread, one event loop: SIGCHLD wakes
it, so that a part's end is seen at once, also when its own children still hold its output open.
"""

import asyncio
import contextlib
import signal
import subprocess
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from budgetgate.processes import child_options, kill_group

PAUSE_FIRST_S = 0.5
PAUSE_MAX_S = 30.0
LIVED_WELL_S = 60.0
LINE_BYTES_MAX = 64 * 1024


class StartError(Exception):
    """One line that says why the start failed."""


def _nothing() -> None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A child process: how to start it and how to ask it to end."""

    name: str
    command: tuple[str, ...]
    user: str | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    stop_timeout_s: float = 15.0
    holds_data: bool = False  # then a second Ctrl-C does not cut its ending short
    before_start: Callable[[], None] = _nothing


def say(name: str, text: str) -> None:
    """One line of output under a part's name; nobody listening any more is no reason to end."""
    with contextlib.suppress(BrokenPipeError):
        print(f"{name:<10} | {text}", flush=True)


class _Output(asyncio.Protocol):
    """Passes a part's output on, line by line; a line without end is cut rather than collected."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._rest = b""

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LINE_BYTES_MAX:
            lines.append(self._rest)
            self._rest = b""
        for line in lines:
            say(self._name, line.decode(errors="replace"))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._rest:
            say(self._name, self._rest.decode(errors="replace"))


class Supervisor:
    """Runs a start, keeps its parts until a signal comes, then ends them, last started first."""

    def __init__(self) -> None:
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._exits: dict[int, asyncio.Future[int]] = {}
        self._groups: list[Sequence[Part]] = []
        self._keepers: list[asyncio.Task[None]] = []
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._failed: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._started = False

    async def run(self, start: Callable[[], Awaitable[None]]) -> None:
        """Start, then wait for SIGINT, SIGTERM or SIGHUP; returns when every part has ended."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._on_stop_signal)
        loop.add_signal_handler(signal.SIGCHLD, self._on_child_signal)
        try:
            await self._run(start)
        finally:
            await self._end_all()

    async def _run(self, start: Callable[[], Awaitable[None]]) -> None:
        starting = asyncio.ensure_future(start())
        stop = asyncio.create_task(self._stop.wait())
        events: set[asyncio.Future[Any]] = {starting, stop, self._failed}
        await asyncio.wait(events, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            self._started = True
            await stop
            return
        starting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await starting
        if self._failed.done():
            raise StartError(self._failed.result())

    async def keep(self, *parts: Part) -> None:
        """Start parts that are to run until the end; parts of one call end together."""
        self._groups.append(parts)
        for part in parts:
            await self._spawn(part)
            self._keepers.append(asyncio.create_task(self._keep(part)))

    async def run_once(self, part: Part) -> int:
        """Run a part that ends by itself; what it writes to stderr goes to ours as it is."""
        self._groups.append([part])
        await self._spawn(part, stderr=None)
        return await self._exit(part)

    # --- one part --------------------------------------------------------------------------------
    async def _spawn(self, part: Part, *, stderr: int | None = subprocess.STDOUT) -> None:
        await asyncio.to_thread(part.before_start)
        process = subprocess.Popen(  # noqa: S603, ASYNC220 - our own commands; a fork takes about a millisecond
            part.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            **child_options(user=part.user, death_signal=part.stop_signal),
        )
        loop = asyncio.get_running_loop()
        self._processes[part.name] = process
        self._exits[process.pid] = loop.create_future()
        await loop.connect_read_pipe(lambda: _Output(part.name), process.stdout)
        self._on_child_signal()  # it may have ended before its future was there

    async def _keep(self, part: Part) -> None:
        loop = asyncio.get_running_loop()
        pause_s = PAUSE_FIRST_S
        while True:
            since = loop.time()
            how = _describe(await self._exit(part))
            if self._stop.is_set():
                return
            if not self._started:
                _resolve(self._failed, f"{part.name} {how} during the start; its own words are above")
                return
            pause_s = PAUSE_FIRST_S if loop.time() - since >= LIVED_WELL_S else pause_s
            say("budgetgate", f"{part.name} {how}; starting it again in {pause_s:g} s")
            if await self._within(self._stop.wait(), pause_s):
                return
            await self._spawn(part)
            pause_s = min(pause_s * 2, PAUSE_MAX_S)

    async def _exit(self, part: Part) -> int:
        process = self._processes[part.name]
        code = await asyncio.shield(self._exits[process.pid])
        kill_group(process.pid)
        return code

    # --- the end ---------------------------------------------------------------------------------
    async def _end_all(self) -> None:
        self._stop.set()
        for group in reversed(self._groups):
            await asyncio.gather(*(self._end(part) for part in group))
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        await asyncio.sleep(0)  # let the last lines of output pass

    async def _end(self, part: Part) -> None:
        process = self._processes.get(part.name)
        if process is None or process.returncode is not None:
            return
        process.send_signal(part.stop_signal)
        exit_or_hurry = {asyncio.ensure_future(self._exit(part))}
        if not part.holds_data:
            exit_or_hurry.add(asyncio.ensure_future(self._hurry.wait()))
        _, pending = await asyncio.wait(exit_or_hurry, timeout=part.stop_timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if process.returncode is None:
            say("budgetgate", f"{part.name} has not ended; it is killed")
            kill_group(process.pid)
            await self._exit(part)
        for task in pending:
            task.cancel()

    @staticmethod
    async def _within(awaitable: Awaitable[object], timeout_s: float) -> bool:
        try:
            await asyncio.wait_for(awaitable, timeout_s)
        except TimeoutError:
            return False
        return True

    # --- signals ---------------------------------------------------------------------------------
    def _on_stop_signal(self) -> None:
        if self._stop.is_set():
            self._hurry.set()
        else:
            say("budgetgate", "stopping; once more hurries")
            self._stop.set()

    def _on_child_signal(self) -> None:
        for process in self._processes.values():
            code = process.poll()
            if code is not None:
                _resolve(self._exits[process.pid], code)


def _resolve(future: "asyncio.Future[str] | asyncio.Future[int]", value: str | int) -> None:
    if not future.done():
        future.set_result(value)  # type: ignore[arg-type]


def _describe(code: int) -> str:
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
