"""Who may call which address of the management API at all: one table, from which docs/permissions.md is made.

A row is a method and an address as the URL conf has it, a column what a caller is. OWN means that a rule of the app
decides for each object; ALL that there is no such rule. An address without a row is open to proxy admins alone, and
`manage.py check` complains of it.
"""

import re
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from enum import StrEnum

from rest_framework.exceptions import AuthenticationFailed, PermissionDenied
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from budgets.actors import Actor, Role


class Cell(StrEnum):
    """What a caller may do with an address."""

    ALL = "all"
    OWN = "own"
    NO = "no"


ALL, OWN, NO = Cell.ALL, Cell.OWN, Cell.NO


@dataclass(frozen=True, slots=True)
class Rights:
    """One row. `key` is a key that is bound to no user; `team_member` and `team_admin` are internal users in a team."""

    anonymous: Cell = NO
    key: Cell = NO
    internal_user_viewer: Cell = NO
    internal_user: Cell = NO
    team_member: Cell = NO
    team_admin: Cell = NO
    proxy_admin_viewer: Cell = NO
    proxy_admin: Cell = ALL

    def of(self, column: str) -> Cell:
        """The cell in that column."""
        return Cell(getattr(self, column))


COLUMNS: tuple[str, ...] = tuple(Rights.__dataclass_fields__)

OPEN = Rights(ALL, ALL, ALL, ALL, ALL, ALL, ALL, ALL)
ANY_KEY = Rights(NO, ALL, ALL, ALL, ALL, ALL, ALL, ALL)
"""The same for everybody who has a key or a session."""
READ = Rights(NO, NO, OWN, OWN, OWN, OWN, ALL, ALL)
READ_SELF = Rights(NO, OWN, OWN, OWN, OWN, OWN, ALL, ALL)
"""Reading that a bare key may do too, of itself."""
WRITE = Rights(NO, NO, NO, OWN, OWN, OWN, NO, ALL)
PASSWORD = Rights(NO, NO, OWN, OWN, OWN, OWN, OWN, ALL)
"""A viewer changes nothing but this, which nobody else should know."""
TEAM_WRITE = Rights(NO, NO, NO, NO, NO, OWN, NO, ALL)
ADMIN_READ = Rights(proxy_admin_viewer=ALL)
ADMIN_WRITE = Rights()

Address = tuple[str, str]
"""A method and a route of the URL conf."""

KEYS: dict[Address, Rights] = {
    ("POST", "key/generate"): WRITE,
    ("POST", "key/service-account/generate"): TEAM_WRITE,
    ("POST", "key/update"): WRITE,
    ("POST", "key/bulk_update"): ADMIN_WRITE,
    ("POST", "team/key/bulk_update"): TEAM_WRITE,
    ("POST", "key/delete"): WRITE,
    ("GET", "key/info"): READ_SELF,
    ("POST", "v2/key/info"): READ_SELF,
    ("GET", "key/list"): READ_SELF,
    ("GET", "key/aliases"): READ_SELF,
    ("POST", "key/block"): WRITE,
    ("POST", "key/unblock"): WRITE,
    ("POST", "key/regenerate"): WRITE,
    ("POST", "key/<str:key>/regenerate"): WRITE,
    ("POST", "key/<str:key>/reset_spend"): WRITE,
    ("POST", "key/health"): READ_SELF,
}

TEAMS: dict[Address, Rights] = {
    ("POST", "team/new"): ADMIN_WRITE,
    ("POST", "team/update"): TEAM_WRITE,
    ("PATCH", "team/<str:team_id>"): TEAM_WRITE,
    ("POST", "team/delete"): TEAM_WRITE,
    ("POST", "team/block"): TEAM_WRITE,
    ("POST", "team/unblock"): ADMIN_WRITE,  # whom a block binds must not lift it
    ("GET", "team/info"): READ,
    ("GET", "team/list"): READ,
    ("GET", "v2/team/list"): READ,
    ("GET", "team/available"): READ,
    ("POST", "team/member_add"): WRITE,  # everybody may join a team that is open to all
    ("POST", "team/member_update"): TEAM_WRITE,
    ("POST", "team/member_delete"): TEAM_WRITE,
    ("POST", "team/bulk_member_add"): TEAM_WRITE,
    ("GET", "team/<str:team_id>/members/me"): READ,
    ("POST", "team/<str:team_id>/member/<str:user_id>/reset_spend"): TEAM_WRITE,
    ("POST", "team/<str:team_id>/member/<str:user_id>/reset_budget"): TEAM_WRITE,
    ("POST", "team/model/add"): ADMIN_WRITE,
    ("POST", "team/model/delete"): TEAM_WRITE,
    ("GET", "team/permissions_list"): READ,
    ("POST", "team/permissions_update"): TEAM_WRITE,
    ("GET", "team/daily/activity"): READ,
}

USERS: dict[Address, Rights] = {
    ("POST", "user/new"): ADMIN_WRITE,
    ("POST", "user/update"): ADMIN_WRITE,  # it sets role and limits
    ("POST", "user/bulk_update"): ADMIN_WRITE,
    ("POST", "user/delete"): ADMIN_WRITE,
    ("GET", "user/info"): READ,
    ("GET", "v2/user/info"): READ,
    ("GET", "user/list"): ADMIN_READ,
    ("GET", "user/available_roles"): ANY_KEY,
    ("POST", "user/password/change"): PASSWORD,
    ("GET", "user/daily/activity"): READ,
}


def _customers(noun: str) -> dict[Address, Rights]:
    """Customers have no keys and no access; who may see one sees the spend of another company's user."""
    writes = {("POST", f"{noun}/{verb}"): ADMIN_WRITE for verb in ("new", "update", "delete", "block", "unblock")}
    return writes | {("GET", f"{noun}/{verb}"): ADMIN_READ for verb in ("info", "list", "daily/activity")}


BUDGETS: dict[Address, Rights] = {
    ("POST", "budget/new"): ADMIN_WRITE,
    ("POST", "budget/update"): ADMIN_WRITE,
    ("POST", "budget/delete"): ADMIN_WRITE,
    ("POST", "budget/info"): ADMIN_READ,
    ("GET", "budget/list"): ADMIN_READ,
    ("GET", "budget/settings"): ADMIN_READ,
    ("POST", "budget/grant"): WRITE,
    ("POST", "budget/grant/revoke"): WRITE,
    ("GET", "budget/grants"): READ,
    ("POST", "budget/explain"): READ_SELF,
    ("GET", "audit/changes"): ADMIN_READ,
}

TAGS: dict[Address, Rights] = {
    ("POST", "tag/new"): ADMIN_WRITE,
    ("POST", "tag/update"): ADMIN_WRITE,
    ("POST", "tag/delete"): ADMIN_WRITE,
    ("POST", "tag/info"): ADMIN_READ,
    ("GET", "tag/list"): ADMIN_READ,
    ("GET", "tag/daily/activity"): ADMIN_READ,
}

SPEND: dict[Address, Rights] = {
    ("GET", "spend/logs"): READ,
    ("GET", "spend/logs/v2"): READ,
    ("GET", "spend/export"): READ,
    ("GET", "spend/tags"): ADMIN_READ,  # tags cross teams
    ("GET", "spend/keys"): ADMIN_READ,
    ("GET", "spend/users"): ADMIN_READ,
    ("POST", "spend/calculate"): ANY_KEY,
    ("POST", "spend/adjust"): WRITE,
    ("GET", "spend/adjustments"): READ,
    ("GET", "global/spend"): ADMIN_READ,
    ("GET", "global/spend/keys"): ADMIN_READ,
    ("GET", "global/spend/teams"): ADMIN_READ,
    ("GET", "global/spend/models"): ADMIN_READ,
    ("GET", "global/spend/tags"): ADMIN_READ,
    ("GET", "global/spend/report"): ADMIN_READ,
    ("POST", "global/spend/reset"): ADMIN_WRITE,
}

MODELS: dict[Address, Rights] = {
    ("GET", "model/info"): ANY_KEY,
    ("GET", "v1/model/info"): ANY_KEY,
    ("GET", "model_group/info"): ANY_KEY,
    ("POST", "model/new"): ADMIN_WRITE,
    ("POST", "model/update"): ADMIN_WRITE,
    ("PATCH", "model/<str:id>/update"): ADMIN_WRITE,
    ("POST", "model/delete"): ADMIN_WRITE,
    ("POST", "model/block"): ADMIN_WRITE,
    ("POST", "model/unblock"): ADMIN_WRITE,
    ("GET", "credentials"): ADMIN_READ,
    ("POST", "credentials"): ADMIN_WRITE,
    ("GET", "credentials/by_name/<path:name>"): ADMIN_READ,
    ("PATCH", "credentials/<path:name>"): ADMIN_WRITE,
    ("DELETE", "credentials/<path:name>"): ADMIN_WRITE,
}

HEALTH: dict[Address, Rights] = {
    ("GET", "health/liveliness"): OPEN,
    ("GET", "health/liveness"): OPEN,
    ("GET", "health/readiness"): OPEN,
    ("GET", "health/readiness/details"): ADMIN_READ,
    ("GET", "health/services"): ADMIN_READ,
    ("GET", "health"): ADMIN_READ,  # asks every provider
    ("POST", "health/test_connection"): ADMIN_WRITE,  # sends a key to an address that the caller names
    ("GET", "openapi.json"): OPEN,
    ("GET", "docs"): OPEN,
}

SECTIONS: dict[str, dict[Address, Rights]] = {
    "Keys": KEYS,
    "Teams": TEAMS,
    "Users": USERS,
    "Customers": _customers("customer") | _customers("end_user"),
    "Budgets, grants and the audit": BUDGETS,
    "Tags": TAGS,
    "Spend": SPEND,
    "Models and credentials": MODELS,
    "Health and documentation": HEALTH,
}
MATRIX: Mapping[Address, Rights] = {address: rights for rows in SECTIONS.values() for address, rights in rows.items()}

_PART = re.compile(r"<[^>]*>")


def address_of(method: str, route: str) -> Address:
    """How an address is looked up: what an app calls the parts of a route is its own business."""
    return ("GET" if method == "HEAD" else method, _PART.sub("<>", route))


_ROWS: Mapping[Address, Rights] = {address_of(*address): rights for address, rights in MATRIX.items()}


def rights_for(method: str, route: str) -> Rights | None:
    """The row of that method and route of the URL conf, if there is one."""
    return _ROWS.get(address_of(method, route))


def column_of(actor: Actor) -> str:
    """The column of a caller; the one with the most rights of those that fit."""
    if actor.role is not Role.INTERNAL_USER:
        return actor.role.value
    if actor.admin_of:
        return "team_admin"
    return "team_member" if actor.teams else "internal_user"


class MatrixPermission(BasePermission):
    """Refuses whom the table does not let in."""

    def has_permission(self, request: Request, view: object) -> bool:
        actor, method = request.user, request.method or ""
        match = request.resolver_match
        rights = rights_for(method, match.route) if match is not None else None
        if not isinstance(actor, Actor):
            if rights is not None and rights.anonymous is not NO:
                return True
            raise AuthenticationFailed("Authentication Error, No api key passed in.", code="auth_error")
        if not hasattr(view, method.lower()) or method == "OPTIONS":
            return True  # 405 comes next, or the methods that there are
        rights = rights or ADMIN_WRITE
        if rights.of(column_of(actor)) is NO:
            _refuse(actor, rights, path=request.path)
        return True


def _refuse(actor: Actor, rights: Rights, *, path: str) -> None:
    """Clients of LiteLLM know the 401 for what admins alone may do; whoever lacks a role within the rest gets a 403."""
    if actor.role is not Role.KEY and (actor.role is not Role.INTERNAL_USER or rights.team_admin is not NO):
        raise PermissionDenied(f"User not allowed to access this route, role={actor.role}. Trying to access: {path}")
    role = "unknown" if actor.role is Role.KEY else actor.role
    message = (
        "Authentication Error, Only proxy admin can be used to generate, delete, update info for new "
        f"keys/users/teams. Route={path}. Your role={role}"
    )
    raise AuthenticationFailed(message, code="auth_error")


# --- docs/permissions.md --------------------------------------------------------------------------

_INTRODUCTION = """\
# Who may call what

Made from `budgetgate/permissions.py`. To write it anew: `python -m budgetgate.permissions > docs/permissions.md`.

- **all**: every object. **own**: what belongs to the caller; anything else does not exist, as far as he is told.
- A dash: refused. A key, and an internal user where only proxy admins may, gets 401 `auth_error`; others get 403
  `permission_denied`.
- A caller is the master key (a proxy admin), a key, or a session of the dashboard. A key of a user acts as that user,
  with his role and his teams; *key* is one that is bound to no user. Members and admins of teams are internal users.
- A key whose text somebody else was told acts as *key* too: one that a team admin made for a member, gave to him, or
  rotated. Its calls count for the user all the same. Once he or a proxy admin rotates it, it acts as the user.
- A key that has a list of allowed routes calls no other, whatever the table says. Customers have no access.
- Model calls and `/v1/models` are not in here: they are for every key, within its models and limits. The
  master key makes no calls and sees all models.
"""


def markdown() -> str:
    """The table as docs/permissions.md has it."""
    sections = [f"## {title}\n\n{_table(rows)}\n" for title, rows in SECTIONS.items()]
    return "\n".join([_INTRODUCTION, *sections])


def _table(rows: Mapping[Address, Rights]) -> str:
    head = ["", *(column.replace("_", " ") for column in COLUMNS)]
    lines = [head, ["---"] * len(head)]
    for (method, route), rights in rows.items():
        shown = _PART.sub(lambda part: f"{{{part[0].strip('<>').rpartition(':')[2]}}}", route)
        lines.append([f"`{method} /{shown}`", *("-" if cell is NO else str(cell) for cell in astuple(rights))])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    print(markdown(), end="")
