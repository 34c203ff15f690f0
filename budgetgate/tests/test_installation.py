"""Secrets are made once, kept private, and never made where the environment gives them."""

from pathlib import Path

import pytest

from budgetgate.installation import MADE, Installation


@pytest.fixture
def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installation:
    for name in MADE:
        monkeypatch.delenv(name, raising=False)
    return Installation(tmp_path / "local.json")


def test_secrets_are_made_once(installation: Installation) -> None:
    made = installation.make_missing()
    assert set(made) == set(MADE)
    assert installation.make_missing() == {}
    assert installation.read() == made


def test_file_is_readable_by_its_owner_only(installation: Installation) -> None:
    installation.make_missing()
    assert installation.path.stat().st_mode & 0o777 == 0o600


def test_what_the_environment_gives_is_not_made(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUDGETGATE_MASTER_KEY", "sk-given-by-the-environment")
    assert "BUDGETGATE_MASTER_KEY" not in installation.make_missing()


def test_addresses_are_added_beside_the_secrets(installation: Installation) -> None:
    made = installation.make_missing()
    installation.update({"REDIS_URL": "redis://127.0.0.1:1/0"})
    assert installation.read() == made | {"REDIS_URL": "redis://127.0.0.1:1/0"}
