"""Actors of every sort around one team, and a ledger that writes down what it was told to correct."""

from datetime import datetime

from budgets.actors import Actor, Role
from budgets.rules.scopes import ScopeLimits
from keys.models import Key
from teams.models import Member, Team, User
from tests.api import NOW

corrections: list[tuple[str, str, int]] = []


def set_spend(limits: ScopeLimits, *, root: str, to_nanousd: int, by: Actor, reason: str, now: datetime) -> int:
    """A ledger for tests: notes the scope, the root and the amount."""
    corrections.append((limits.scope.id, root, to_nanousd))
    return 0


def user(user_id: str, *, teams: set[str] = frozenset(), admin_of: set[str] = frozenset(), **fields: object) -> Actor:  # type: ignore[assignment]
    """Somebody with a row, a member of these teams."""
    role = fields.pop("role", Role.INTERNAL_USER)
    User.objects.get_or_create(username=user_id, defaults={"email": f"{user_id}@example.com"})
    for team_id in teams | admin_of:
        member_role = Member.Role.ADMIN if team_id in admin_of else Member.Role.USER
        Team.objects.get_or_create(team_id=team_id, defaults={"created_at": NOW, "updated_at": NOW})
        Member.objects.get_or_create(
            team_id=team_id, user_id=user_id, defaults={"role": member_role, "created_at": NOW}
        )
    return Actor(
        user_id, Role(str(role)), user_id=user_id, teams=frozenset(teams | admin_of), admin_of=frozenset(admin_of)
    )


def viewer() -> Actor:
    return Actor("viewer", Role.PROXY_ADMIN_VIEWER, user_id="viewer")


def bare(key: Key) -> Actor:
    """A key that is bound to nobody, calling."""
    return Actor(key.key_name, Role.KEY, key_id=str(key.id), team_id=key.team_id)
