"""Every cell of the table of rights, with a real key of that kind of caller, about own things and a stranger's."""

import json
from typing import Any

import pytest
import redis
from django.conf import LazySettings
from django.db import transaction
from django.test import Client

from budgetgate.addresses import api_addresses
from budgetgate.permissions import COLUMNS, MATRIX, MODELS, NO, OWN, Address, Cell, address_of, rights_for
from tests.api import use_told_ledger
from tests.permission_cases import CASES, Case, filled
from tests.permission_world import OWNED, TEAMLESS, World, make_world

NOT_LET_IN = frozenset({401, 403})
REFUSED = frozenset({401, 403, 404})
OF_A_TEAM = frozenset({"team", "member"})
PAGES = frozenset({("GET", "openapi.json"), ("GET", "docs")})
"""Not views of DRF."""
REGISTERED = PAGES | {address_of(address.method, address.route) for address in api_addresses()}


def test_every_address_has_a_row_and_every_row_a_line_here() -> None:
    rowless = [address for address in REGISTERED if rights_for(*address) is None]
    assert rowless == [], "give it a row in budgetgate/permissions.py"
    assert MATRIX.keys() == CASES.keys(), "give it a line in tests/permission_cases.py"


def test_every_row_has_an_address() -> None:
    assert [row for row in MATRIX if address_of(*row) not in REGISTERED] == []


@pytest.mark.django_db
@pytest.mark.parametrize("row", CASES, ids=" ".join)
def test_callers_get_as_far_as_the_table_says(row: Address, valkey: redis.Redis, settings: LazySettings) -> None:
    use_told_ledger(settings)
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    world, rights = make_world(models=row in MODELS), MATRIX[row]
    problems = [problem for column in COLUMNS for problem in _problems(row, world, column, rights.of(column))]
    assert not problems, "\n".join(problems)


def _problems(row: Address, world: World, column: str, cell: Cell) -> list[str]:
    """What is not as the cell says, in the caller's own affairs and in the stranger's."""
    case, client = CASES[row], world.client(column)
    has_own = not (cell is OWN and column in TEAMLESS and case.names & OF_A_TEAM)
    is_foreign = bool(case.names & OWNED)
    found = []
    if has_own:
        found.append(_own_problem(row, client, world, column, cell))
    if is_foreign:
        found.append(_foreign_problem(row, client, world, column, cell))
    return [f"{column} ({cell}): {problem}" for problem in found if problem]


def _own_problem(row: Address, client: Client, world: World, column: str, cell: Cell) -> str:
    case = CASES[row]
    response = _call(row, client, world.own(column))
    if cell is NO:
        return _not_let_in(response)
    if response.status_code in NOT_LET_IN | ({500} if column in case.missing else {404, 500}):
        return f"own: {_shown(response)}"
    return _leak(response, world) if cell is OWN else ""


def _foreign_problem(row: Address, client: Client, world: World, column: str, cell: Cell) -> str:
    case, objects = CASES[row], world.foreign(column)
    response = _call(row, client, objects)
    if cell is NO:
        return _not_let_in(response)
    if cell is OWN:
        if case.filters and response.status_code == 200:
            return _leak(response, world, said=set(objects.values()))
        return (
            ""
            if response.status_code in REFUSED | ({400} if case.by_400 else set())
            else f"a stranger's: {_shown(response)}"
        )
    wrong = NOT_LET_IN | ({500} if column in case.missing else {404, 500})
    return f"a stranger's: {_shown(response)}" if response.status_code in wrong else ""


def _not_let_in(response: Any) -> str:
    """404 would mean that a rule for objects has refused, and that the table has not."""
    return "" if response.status_code in NOT_LET_IN else f"let in: {_shown(response)}"


def _leak(response: Any, world: World, *, said: set[str] | frozenset[str] = frozenset()) -> str:
    text = b"".join(response).decode() if response.streaming else response.content.decode()
    told = sorted(secret for secret in world.secrets() - said if secret in text)
    return f"tells of a stranger: {told}" if told else ""


def _call(row: Address, client: Client, objects: dict[str, str]) -> Any:
    """One call, of which nothing stays."""
    (method, route), case = row, CASES[row]
    path, query, body = (filled(part, objects) for part in (case.path or route, case.query, case.body))
    with transaction.atomic():
        sent = "" if method == "GET" else json.dumps(body)
        response = client.generic(method, f"/{path}", sent, content_type="application/json", query_params=query)
        transaction.set_rollback(True)
    return response


def _shown(response: Any) -> str:
    return f"{response.status_code} {response.content[:300]!r}"


def test_a_line_knows_what_it_names() -> None:
    case = Case({"keys": [{"key": "{key}"}], "n": 1}, query={"team": "{team}"}, path="a/{user}/b")
    assert case.names == {"key", "team", "user"}
    assert filled(case.body, {"key": "k1"}) == {"keys": [{"key": "k1"}], "n": 1}
