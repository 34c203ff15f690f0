"""Every test of the import has a database of LiteLLM of its own, and hears which spends would be brought."""

import io
from collections.abc import Callable, Iterator, Mapping

import pytest
import redis
from django.core.management import call_command

from budgetgate.litellm import writer
from budgetgate.litellm.planned import Spent
from budgetgate.tests.litellm.source import LiteLLM, litellm_database
from tests.api import stop_clock

Import = Callable[..., list[str]]


@pytest.fixture
def litellm(db: None, valkey: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> Iterator[LiteLLM]:
    stop_clock(monkeypatch)
    with litellm_database() as database:
        yield database


@pytest.fixture
def spends(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, str], Spent]:
    """What the import asks the ledger for, by kind and id, instead of asking it."""
    asked: dict[tuple[str, str], Spent] = {}

    def bring(kind: str, given: Mapping[str, Spent], **_: object) -> None:
        asked.update({(kind, scope_id): spent for scope_id, spent in given.items()})

    monkeypatch.setattr(writer, "bring_spends", bring)
    return asked


@pytest.fixture
def import_all(litellm: LiteLLM, spends: dict[tuple[str, str], Spent]) -> Import:
    """Runs the command and returns its lines."""

    def run(*options: str) -> list[str]:
        out = io.StringIO()
        call_command("import_litellm", "--database-url", litellm.url, *options, stdout=out)
        return out.getvalue().splitlines()

    return run
