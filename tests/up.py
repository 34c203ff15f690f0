"""A running `manage.py up` for tests: real processes on a data directory of their own."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).parent.parent
START_TIMEOUT_S = 60


@dataclass(frozen=True, slots=True)
class Up:
    """One running `manage.py up`; its output goes to files, as a pipe that nobody reads would stop it."""

    process: "subprocess.Popen[bytes]"
    directory: Path
    port: int

    @property
    def out(self) -> str:
        return (self.directory.parent / "out").read_text()

    @property
    def err(self) -> str:
        return (self.directory.parent / "err").read_text()

    def local(self) -> dict[str, str]:
        values: dict[str, str] = json.loads((self.directory / "local.json").read_text())
        return values

    def descendants(self) -> list[psutil.Process]:
        found: list[psutil.Process] = psutil.Process(self.process.pid).children(recursive=True)
        return found

    def child(self, words: str) -> psutil.Process:
        """The direct child whose command line matches."""
        children = psutil.Process(self.process.pid).children()
        return next(child for child in children if alive(child) and re.search(words, " ".join(child.cmdline())))

    def wait_for(self, words: str) -> None:
        wait_until(lambda: re.search(words, self.out) is not None or self.process.poll() is not None)
        assert re.search(words, self.out), f"no {words!r} in:\n{self.out}{self.err}"

    def stop(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout=30)


def alive(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    return False


def wait_until(condition: Callable[[], bool], *, timeout_s: float = START_TIMEOUT_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def environment(directory: Path, port: int, **more: str) -> dict[str, str]:
    ours = re.compile(r"BUDGETGATE_|DJANGO_|DATABASE_URL$|REDIS_URL$")
    kept = {name: value for name, value in os.environ.items() if not ours.match(name)}
    return kept | {"BUDGETGATE_DATA_DIR": str(directory), "BUDGETGATE_PORT": str(port)} | more


def start(directory: Path, **more: str) -> Up:
    """Starts `manage.py up` on a data directory; variables in `more` go into its environment."""
    port = free_port()
    with (directory.parent / "out").open("wb") as out, (directory.parent / "err").open("wb") as err:
        command = [sys.executable, "manage.py", "up"]
        process = subprocess.Popen(command, cwd=ROOT, env=environment(directory, port, **more), stdout=out, stderr=err)
    return Up(process, directory, port)


@contextlib.contextmanager
def running(directory: Path, **more: str) -> Iterator[Up]:
    """A start that has come to `ready`, ended at the latest here."""
    up = start(directory, **more)
    try:
        up.wait_for("ready after")
        yield up
    finally:
        if up.process.poll() is None:
            up.stop()
