"""Child processes that do not outlive this one, not even when it is killed with -9.

Linux sends a child the signal it asked for when its parent ends; elsewhere this is a no-op, and the next
start ends what was left. Each child has a session of its own, so that Ctrl-C reaches the parent only.
"""

import contextlib
import ctypes
import functools
import os
import pwd
import signal
import sys
from collections.abc import Callable
from typing import Any

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def child_options(*, user: str | None, death_signal: signal.Signals) -> dict[str, Any]:
    """Arguments for `subprocess.Popen` and `asyncio.create_subprocess_exec`."""
    options: dict[str, Any] = {
        "start_new_session": True,
        "preexec_fn": follow_parent(death_signal, parent=os.getpid()),
    }
    return options | as_user(user)


def as_user(user: str | None) -> dict[str, Any]:
    """Run as another user with that user's group only; with root's group, its bits decide what may be reached."""
    return {} if user is None else {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}


def follow_parent(death_signal: signal.Signals, *, parent: int) -> Callable[[], None]:
    return functools.partial(_follow_parent, death_signal, parent)


def _follow_parent(death_signal: signal.Signals, parent: int) -> None:
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, int(death_signal))
    if os.getppid() != parent:  # it ended before the request was made
        os._exit(1)


def kill_group(pid: int) -> None:
    """End what a dead child has left behind in its session: worker processes of a killed server."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
