"""Who may see and change a team, a user, a customer or a tag: one function per noun, which every view uses.

A stranger gets the same answer as for something that does not exist. Who sees a thing and may not change it is told so.
"""

from collections.abc import Collection

from django.db.models import QuerySet

from budgets.actors import Actor
from budgets.errors import ForbiddenError, NotFoundError
from teams.models import Customer, Member, Tag, Team, User
from teams.services import team_for, team_not_found

TEAM_SELECTED = ("budget", "member_budget")


def visible_teams(actor: Actor) -> QuerySet[Team]:
    """The teams that somebody may see, with their tiers."""
    teams = Team.objects.select_related(*TEAM_SELECTED)
    return teams if actor.sees_all else teams.filter(team_id__in=actor.teams)


def team_seen_by(actor: Actor, team_id: str) -> Team:
    """The team, if that one may see it. Raises NotFoundError."""
    if not actor.sees_team(team_id):
        raise team_not_found(team_id)
    return team_for(team_id)


def check_manages_team(actor: Actor, team_id: str) -> None:
    """Raises NotFoundError for a stranger, ForbiddenError for somebody who may only look at the team."""
    if not actor.sees_team(team_id):
        raise team_not_found(team_id)
    if not actor.manages_team(team_id):
        raise ForbiddenError(f"Only proxy admins and admins of team {team_id} may do this")


def check_may_set(actor: Actor, fields: Collection[str], *, open_to_others: Collection[str]) -> None:
    """Raises ForbiddenError where somebody but a proxy admin sets more than is open to others."""
    closed = sorted(set(fields) - set(open_to_others))
    if closed and not actor.manages_all:
        raise ForbiddenError(f"Only proxy admins may set {', '.join(closed)}")


def check_manages_all(actor: Actor) -> None:
    """Raises ForbiddenError for everybody but a proxy admin."""
    if not actor.manages_all:
        raise ForbiddenError("Only proxy admins may do this")


def check_sees_all(actor: Actor) -> None:
    """Raises ForbiddenError for everybody but proxy admins and their viewers."""
    if not actor.sees_all:
        raise ForbiddenError("Only proxy admins and proxy admin viewers may see this")


def visible_users(actor: Actor) -> QuerySet[User]:
    """The users that somebody may see, with their tiers: all, or oneself."""
    users = User.objects.select_related("budget")
    return users if actor.sees_all else users.filter(username=actor.user_id)


def user_seen_by(actor: Actor, user_id: str) -> User:
    """The user, if that one may see it. Raises NotFoundError."""
    user = visible_users(actor).filter(username=user_id).first()
    if user is None:
        raise user_not_found(user_id)
    return user


def user_not_found(name: str, *, field: str = "user_id") -> NotFoundError:
    """The one answer for a user that does not exist."""
    return NotFoundError(f"User not found, passed user id: {name}.", field=field)


def member_seen_by(actor: Actor, *, team_id: str, user_id: str) -> Member:
    """The membership, if that one may see the team. Raises NotFoundError."""
    team_seen_by(actor, team_id)
    selected = Member.objects.select_related("user", "budget", "team__member_budget")
    member = selected.filter(team_id=team_id, user_id=user_id).first()
    if member is None:
        raise NotFoundError(f"{user_id} is not a member of team {team_id}.", field="user_id")
    return member


def customer_seen_by(actor: Actor, customer_id: str, *, field: str) -> Customer:
    """The customer; only who sees everything sees one. Raises NotFoundError."""
    found = Customer.objects.select_related("budget").filter(customer_id=customer_id).first()
    if found is None or not actor.sees_all:
        raise NotFoundError(f"End User Id={customer_id} does not exist in db", field=field)
    return found


def visible_tags(actor: Actor) -> QuerySet[Tag]:
    """The tags that somebody may see, with their tiers."""
    tags = Tag.objects.select_related("budget")
    return tags if actor.sees_all else tags.none()
