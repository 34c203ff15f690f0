"""What an audit says of teams, members, users, customers and tags. Never a password."""

from typing import Any

from budgets.audit import limits_record
from teams.models import Customer, Member, Tag, Team, User


def team_record(team: Team) -> dict[str, Any]:
    """A team's own fields; its members have records of their own."""
    tier = team.member_budget
    return {
        "team_alias": team.team_alias,
        "models": team.allowed_models,
        "model_aliases": team.model_aliases,
        "default_team_member_models": team.default_member_models,
        "team_member_permissions": team.member_permissions,
        "team_member_key_duration": team.member_key_duration,
        "team_member_budget": None if tier is None else limits_record(tier),
        "is_available": team.is_available,
        "tags": team.tags,
        "metadata": team.metadata,
        "noted": team.noted,
        "blocked": team.blocked,
        **limits_record(team),
    }


def member_record(member: Member) -> dict[str, Any]:
    """A membership."""
    return {"role": member.role, "allowed_models": member.allowed_models, **limits_record(member)}


def user_record(user: User) -> dict[str, Any]:
    """A user without the password; whether there is one is said."""
    return {
        "user_email": user.email or None,
        "user_alias": user.user_alias,
        "user_role": user.role,
        "sso_user_id": user.sso_user_id,
        "models": user.allowed_models,
        "metadata": user.metadata,
        "noted": user.noted,
        "blocked": not user.is_active,
        "has_password": bool(user.password) and user.has_usable_password(),
        **limits_record(user),
    }


def customer_record(customer: Customer) -> dict[str, Any]:
    """A customer."""
    return {
        "alias": customer.alias,
        "models": customer.allowed_models,
        "default_model": customer.default_model,
        "metadata": customer.metadata,
        "noted": customer.noted,
        "blocked": customer.blocked,
        **limits_record(customer),
    }


def tag_record(tag: Tag) -> dict[str, Any]:
    """A tag."""
    return {"description": tag.description, "models": tag.allowed_models, **limits_record(tag)}
