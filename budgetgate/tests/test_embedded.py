"""A data directory has one owner; a server left over by a killed one is ended before the next start."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis

from budgetgate import embedded
from budgetgate.processes import child_options
from budgetgate.store import client_for


@pytest.fixture
def left_over(tmp_path: Path) -> Iterator[tuple[embedded.Server, "subprocess.Popen[bytes]"]]:
    server = embedded.valkey(tmp_path)
    process = subprocess.Popen(server.command, **child_options(user=None, death_signal=server.stop_signal))
    embedded.wait_until_ready(server, process, timeout_s=10)
    yield server, process
    process.kill()
    process.wait()


def test_second_owner_of_a_data_directory_is_told_who_has_it(tmp_path: Path) -> None:
    with (
        embedded.locked(tmp_path),
        pytest.raises(embedded.EmbeddedError, match=rf"in use by another BudgetGate \(process {os.getpid()}\)"),
        embedded.locked(tmp_path),
    ):
        pass
    with embedded.locked(tmp_path):
        pass


def test_leftover_server_is_ended_and_its_port_and_password_are_kept(
    left_over: tuple[embedded.Server, "subprocess.Popen[bytes]"], tmp_path: Path
) -> None:
    server, process = left_over
    again = embedded.valkey(tmp_path)
    assert process.wait(timeout=5) == 0
    assert again.url == server.url


def test_server_of_another_directory_is_left_alone(
    left_over: tuple[embedded.Server, "subprocess.Popen[bytes]"], tmp_path: Path
) -> None:
    server, process = left_over
    other = embedded.valkey(tmp_path / "other")
    assert process.poll() is None
    assert other.url != server.url


def test_valkey_asks_for_its_password(left_over: tuple[embedded.Server, "subprocess.Popen[bytes]"]) -> None:
    server, _ = left_over
    without_password = urlsplit(server.url)._replace(netloc=server.url.rpartition("@")[2].removesuffix("/0")).geturl()
    with client_for(without_password) as stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()


def test_server_that_ends_at_once_is_said_so(tmp_path: Path) -> None:
    server = embedded.valkey(tmp_path)
    with subprocess.Popen(["false"]) as process, pytest.raises(embedded.EmbeddedError, match="valkey ended at once"):
        embedded.wait_until_ready(server, process, timeout_s=10)


def test_postgres_starts_in_a_directory_that_was_closed_to_others() -> None:
    """As root it is another user, in another group, who has to get there."""
    with tempfile.TemporaryDirectory(prefix="budgetgate-closed-") as closed:
        server = embedded.postgres(Path(closed), durable=False)
        options = child_options(user=server.user, death_signal=server.stop_signal)
        process = subprocess.Popen(server.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)
        try:
            embedded.wait_until_ready(server, process, timeout_s=30)
        finally:
            process.send_signal(server.stop_signal)
            process.wait(timeout=15)
        assert Path(closed).stat().st_mode & 0o044 == 0  # passed through, not listed
