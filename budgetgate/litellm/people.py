"""Rows of budgets, users, teams, customers and tags as the objects that shall be there for them. Pure."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from budgetgate.litellm.fields import kept_metadata, models_of, note_unenforced, noted_fields
from budgetgate.litellm.limits import limits_of
from budgetgate.litellm.planned import (
    GUEST_RULE,
    ID_RULE,
    TAG_RULE,
    USER_ID_RULE,
    Limited,
    Planned,
    born,
    is_guest_name,
    is_id,
    is_user_id,
    refused,
    spent_of,
    with_budget,
)
from budgetgate.litellm.values import Notes, Row, mapping, names, text, texts_by_name
from budgets.rules.windows import DurationError, parse_period

ROLES = ("proxy_admin", "proxy_admin_viewer", "internal_user", "internal_user_viewer")


def budget(row: Row, *, now: datetime) -> Planned:
    """A budget as a tier."""
    notes = Notes()
    budget_id = row["budget_id"]
    if not is_id(budget_id):
        return refused(str(budget_id), f"budget_id: {ID_RULE}")
    if row.get("temp_budget_increase"):
        notes.add("temp_budget_increase", row["temp_budget_increase"], "not brought: a budget has no increase here")
    limits = limits_of(row, notes=notes)
    made = {**born(row, now=now), "updated_by": str(row.get("updated_by") or "")[:255]}
    return Planned(budget_id, budget_id, {}, made, limits, notes=tuple(notes.taken))


def user(row: Row, *, now: datetime) -> Planned:
    """A user. The password is not taken over."""
    notes = Notes()
    user_id = row["user_id"]
    if not is_user_id(user_id):
        return refused(str(user_id), f"user_id: {USER_ID_RULE}")
    metadata = mapping(row, "metadata", notes=notes)
    limited = Limited(limits_of(row, notes=notes, metadata=metadata))
    note_unenforced(row, metadata, notes=notes)
    made = born(row, now=now)
    columns: dict[str, Any] = {
        "email": text(row, "user_email", limit=254, notes=notes) or "",
        "role": _role(row, notes=notes),
        "user_alias": text(row, "user_alias", limit=255, notes=notes),
        "sso_user_id": text(row, "sso_user_id", limit=255, notes=notes),
        "allowed_models": models_of(row, "models", notes=notes),
        "metadata": kept_metadata(metadata),
        "noted": noted_fields(row, "organization_id", "allowed_cache_controls"),
    }
    return Planned(
        user_id,
        user_id,
        columns,
        {"date_joined": made["created_at"], "updated_at": made["updated_at"], "created_by": made["created_by"]},
        limited.limits,
        spent=spent_of(row, limited, now=now),
        notes=tuple(notes.taken),
    )


def _role(row: Row, *, notes: Notes) -> str:
    """What LiteLLM takes a role for that it does not know, or a missing one, is an internal user."""
    role = row.get("user_role")
    if role in ROLES:
        return str(role)
    if role is not None:
        notes.add("user_role", role, "internal_user instead: there is no such role here")
    return "internal_user"


def team(row: Row, *, now: datetime) -> Planned:
    """A team, without its members."""
    notes = Notes()
    team_id = row["team_id"]
    if not is_id(team_id):
        return refused(str(team_id), f"team_id: {ID_RULE}")
    metadata = mapping(row, "metadata", notes=notes)
    limited = Limited(limits_of(row, notes=notes, metadata=metadata))
    note_unenforced(row, metadata, notes=notes)
    columns: dict[str, Any] = {
        "team_alias": text(row, "team_alias", limit=255, notes=notes),
        "allowed_models": models_of(row, "models", notes=notes),
        "model_aliases": texts_by_name(row, "model_aliases", notes=notes),
        "default_member_models": models_of(row, "default_team_member_models", notes=notes),
        "member_permissions": names(row, "team_member_permissions", notes=notes),
        "member_budget_id": _member_budget(row, notes=notes),
        "member_key_duration": _member_key_duration(metadata, notes=notes),
        "tags": names(metadata, "tags", notes=notes),
        "metadata": kept_metadata(metadata),
        "noted": noted_fields(row, "organization_id", "router_settings", "allow_team_guardrail_config"),
        "blocked": bool(row.get("blocked")),
    }
    return Planned(
        team_id,
        columns["team_alias"] or team_id,
        columns,
        born(row, now=now),
        limited.limits,
        spent=spent_of(row, limited, now=now),
        notes=tuple(notes.taken),
    )


def _member_budget(row: Row, *, notes: Notes) -> str | None:
    """The budget of members that have none of their own: the reader says which, and whether there is a row of it."""
    budget_id = row.get("member_budget_id")
    if not budget_id:
        return None
    if not row.get("member_budget_exists") or not is_id(budget_id):
        notes.add("metadata.team_member_budget_id", budget_id, "not brought: there is no such budget")
        return None
    return str(budget_id)


def _member_key_duration(metadata: Mapping[str, Any], *, notes: Notes) -> str | None:
    duration = metadata.get("team_member_key_duration")
    if not duration:
        return None
    try:
        parse_period(duration)
    except DurationError as error:
        notes.add("metadata.team_member_key_duration", duration, f"not brought: {error}")
        return None
    return str(duration)


def customer(row: Row, *, now: datetime) -> Planned:
    """An end user. Nothing there says when it was made."""
    notes = Notes()
    customer_id = row["user_id"]
    if not is_guest_name(customer_id):
        return refused(str(customer_id), f"user_id: {GUEST_RULE}")
    limited = with_budget(row, notes=notes)
    note_unenforced(row, {}, notes=notes)
    columns: dict[str, Any] = {
        "alias": text(row, "alias", limit=255, notes=notes),
        "blocked": bool(row.get("blocked")),
        "allowed_models": models_of(row, "models", notes=notes),
        "default_model": text(row, "default_model", limit=255, notes=notes),
        "noted": noted_fields(row, "allowed_model_region"),
    }
    return Planned(
        customer_id,
        columns["alias"] or customer_id,
        columns,
        {"created_at": now, "updated_at": now},
        limited.limits,
        budget_id=limited.budget_id,
        spent=spent_of(row, limited, now=now),
        notes=tuple(notes.taken),
    )


def tag(row: Row, *, now: datetime) -> Planned:
    """A tag with limits. Those of its models that have none here are brought all the same."""
    notes = Notes()
    name = row["tag_name"]
    if not is_guest_name(name, without=","):
        return refused(str(name), f"tag_name: {TAG_RULE}")
    limited = with_budget(row, notes=notes)
    columns: dict[str, Any] = {
        "description": text(row, "description", limit=1000, notes=notes) or "",
        "allowed_models": models_of(row, "models", notes=notes),
    }
    return Planned(
        name,
        name,
        columns,
        born(row, now=now),
        limited.limits,
        budget_id=limited.budget_id,
        spent=spent_of(row, limited, now=now),
        notes=tuple(notes.taken),
    )
