"""The management API as somebody else than the master key, whoever authenticates requests."""

from typing import Any

from rest_framework.test import APIClient

from budgets.actors import Actor, Role
from tests.api import Api


class ApiOf(Api):
    """Calls as this actor."""

    def __init__(self, actor: Actor) -> None:
        client = APIClient()
        client.force_authenticate(user=actor)  # type: ignore[arg-type]
        self._client: Any = client


def admin(user_id: str = "root", **fields: Any) -> ApiOf:
    """A user who manages everything."""
    return ApiOf(Actor(user_id, Role.PROXY_ADMIN, user_id=user_id, **fields))


def viewer(user_id: str = "watch") -> ApiOf:
    """A user who sees everything."""
    return ApiOf(Actor(user_id, Role.PROXY_ADMIN_VIEWER, user_id=user_id))


def user(user_id: str, *teams: str, admin_of: tuple[str, ...] = ()) -> ApiOf:
    """An internal user with teams."""
    in_teams = frozenset([*teams, *admin_of])
    return ApiOf(Actor(user_id, Role.INTERNAL_USER, user_id=user_id, teams=in_teams, admin_of=frozenset(admin_of)))


def bare_key(team_id: str | None = None) -> ApiOf:
    """A key that is bound to no user."""
    return ApiOf(Actor("a key", Role.KEY, key_id="4e6b2e0e-0000-4000-8000-000000000000", team_id=team_id))


def listed(api: Api, path: str, **query: str) -> list[dict[str, Any]]:
    """An answer that is an array."""
    rows: Any = api.get(path, **query)
    assert isinstance(rows, list)
    return rows


def writer(calls: list[tuple[Any, ...]]) -> Any:
    """A stand-in for the ledger's correction of spends, which notes what it was asked for."""

    def set_spend(limits: Any, *, root: str, to_nanousd: int, by: Actor, reason: str, now: Any) -> int:
        calls.append((limits.scope.kind, limits.scope.id, root, to_nanousd, by.name))
        return 0

    return set_spend


written: list[tuple[Any, ...]] = []
set_spend = writer(written)
"""Settings can name this."""
