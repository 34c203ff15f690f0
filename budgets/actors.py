"""Who asks for something of the management side, and what that one may see and manage. Pure.

A request carries an Actor as its `user`; services take one as `by`, for the audit.
"""

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """What an actor is as far as the whole gateway is concerned. KEY is a key that is bound to no user."""

    PROXY_ADMIN = "proxy_admin"
    PROXY_ADMIN_VIEWER = "proxy_admin_viewer"
    INTERNAL_USER = "internal_user"
    INTERNAL_USER_VIEWER = "internal_user_viewer"
    KEY = "key"


@dataclass(frozen=True, slots=True)
class Actor:
    """`name` stands in audits. `key_id` is the internal id of the presented key, `team_id` that key's team.

    `teams` are those that the user is a member of, `admin_of` those that the user administers.
    """

    name: str
    role: Role
    user_id: str | None = None
    key_id: str | None = None
    team_id: str | None = None
    teams: frozenset[str] = frozenset()
    admin_of: frozenset[str] = frozenset()
    address: str = ""
    is_authenticated: bool = True

    @property
    def sees_all(self) -> bool:
        return self.role in (Role.PROXY_ADMIN, Role.PROXY_ADMIN_VIEWER)

    @property
    def manages_all(self) -> bool:
        return self.role is Role.PROXY_ADMIN

    @property
    def may_write(self) -> bool:
        """Viewers and bare keys change nothing."""
        return self.role in (Role.PROXY_ADMIN, Role.INTERNAL_USER)

    def sees_team(self, team_id: str | None) -> bool:
        return self.sees_all or (team_id is not None and team_id in self.teams)

    def manages_team(self, team_id: str | None) -> bool:
        return self.manages_all or (self.may_write and team_id is not None and team_id in self.admin_of)


MASTER = Actor("master key", Role.PROXY_ADMIN)
SYSTEM = Actor("system", Role.PROXY_ADMIN)
"""Tasks and commands."""
