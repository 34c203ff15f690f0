"""What the tests of `manage.py up` cannot show cheaply: failed starts, parts that do not end, an impatient person."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable

import pytest

from budgetgate.supervisor import Part, StartError, Supervisor

STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
time.sleep(60)
"""
POLITE = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(print("end")))
print("up")
time.sleep(60)
"""


def _python(name: str, code: str, *, stop_timeout_s: float = 5) -> Part:
    return Part(name=name, command=(sys.executable, "-c", code), stop_timeout_s=stop_timeout_s)


def _signal_us() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


async def _run(start: Callable[[Supervisor], Awaitable[None]]) -> None:
    supervisor = Supervisor()
    await supervisor.run(lambda: start(supervisor))


async def _until(capsys: pytest.CaptureFixture[str], words: str) -> str:
    seen = ""
    while words not in seen:
        await asyncio.sleep(0.02)
        seen += capsys.readouterr().out
    return seen


async def test_part_that_ends_during_the_start_fails_it() -> None:
    async def start(supervisor: Supervisor) -> None:
        await supervisor.keep(_python("brief", "raise SystemExit(3)"))
        await asyncio.sleep(60)

    with pytest.raises(StartError, match=r"^brief ended with code 3 during the start"):
        await _run(start)


async def test_part_that_does_not_end_is_killed_after_its_time(capsys: pytest.CaptureFixture[str]) -> None:
    async def start(supervisor: Supervisor) -> None:
        await supervisor.keep(_python("deaf", STUBBORN, stop_timeout_s=0.3))
        await _until(capsys, "deaf       | deaf")
        _signal_us()

    await asyncio.wait_for(_run(start), 10)
    assert "deaf has not ended; it is killed" in capsys.readouterr().out


async def test_second_signal_does_not_wait_for_a_part(capsys: pytest.CaptureFixture[str]) -> None:
    since = time.monotonic()

    async def start(supervisor: Supervisor) -> None:
        await supervisor.keep(_python("deaf", STUBBORN, stop_timeout_s=60))
        await _until(capsys, "deaf       | deaf")
        _signal_us()
        asyncio.get_running_loop().call_later(0.2, _signal_us)

    await _run(start)
    assert time.monotonic() - since < 10


async def test_last_started_part_ends_first(capsys: pytest.CaptureFixture[str]) -> None:
    async def start(supervisor: Supervisor) -> None:
        for name in ("first", "second"):
            await supervisor.keep(Part(name=name, command=(sys.executable, "-u", "-c", POLITE)))
            await _until(capsys, f"{name:<10} | up")
        _signal_us()

    await asyncio.wait_for(_run(start), 10)
    out = capsys.readouterr().out
    assert out.index("second     | end") < out.index("first      | end")


async def test_pause_before_a_new_start_doubles(capsys: pytest.CaptureFixture[str]) -> None:
    code = "import time; time.sleep(0.3); raise SystemExit(1)"

    async def start(supervisor: Supervisor) -> None:
        await supervisor.keep(_python("frail", code))

    async def stop_after_two() -> str:
        seen = await _until(capsys, "in 1 s")
        _signal_us()
        return seen

    _, seen = await asyncio.wait_for(asyncio.gather(_run(start), stop_after_two()), 20)
    assert "frail ended with code 1; starting it again in 0.5 s" in seen
