"""Who is in a team of LiteLLM: its list with roles, the lists of old versions, and the table of memberships. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from budgetgate.litellm.fields import models_of
from budgetgate.litellm.planned import USER_ID_RULE, Planned, is_user_id, refused, spent_of, with_budget
from budgetgate.litellm.values import Notes, Row, decoded, names
from budgets.rules.scopes import member_id


def emails_of(rows: Iterable[Row]) -> set[str]:
    """The emails by which lists name members that they give no id of, in lower case."""
    listed = (entry for row in rows for entry in _listed(row, notes=Notes()))
    return {
        str(entry["user_email"]).lower() for entry in listed if not entry.get("user_id") and entry.get("user_email")
    }


def members_of(
    row: Row, memberships: Mapping[str, Row], *, users_by_email: Mapping[str, str], now: datetime
) -> Iterator[Planned]:
    """The members of one team. `memberships` are its rows of that table by user."""
    notes = Notes()
    roles: dict[str, str] = {}
    for entry in _listed(row, notes=notes):
        user_id = entry.get("user_id") or users_by_email.get(str(entry.get("user_email")).lower())
        if user_id is None:
            name = f"{entry.get('user_email') or 'a member'} in {row['team_id']}"
            yield refused(name, "members_with_roles names neither a user_id nor the email of a user")
        elif roles.get(str(user_id)) != "admin":
            roles[str(user_id)] = "admin" if entry.get("role") == "admin" else "user"
    for user_id in dict.fromkeys([*roles, *memberships]):
        yield _member(row, user_id, role=roles.get(user_id), membership=memberships.get(user_id, {}), now=now)


def _listed(row: Row, *, notes: Notes) -> list[Mapping[str, Any]]:
    listed = decoded(row.get("members_with_roles"), field="members_with_roles", notes=notes)
    found = [entry for entry in listed if isinstance(entry, Mapping)] if isinstance(listed, list) else []
    found += [{"user_id": user_id, "role": "admin"} for user_id in names(row, "admins", notes=notes)]
    return [*found, *({"user_id": user_id, "role": "user"} for user_id in names(row, "members", notes=notes))]


def _member(row: Row, user_id: str, *, role: str | None, membership: Row, now: datetime) -> Planned:
    notes = Notes()
    name = f"{user_id} in {row['team_id']}"
    if not is_user_id(user_id):
        return refused(name, f"user_id: {USER_ID_RULE}")
    if role is None:
        notes.add("members_with_roles", user_id, "a member all the same, because LiteLLM has a membership with limits")
    limited = with_budget(membership, notes=notes)
    is_default = limited.budget_id is not None and limited.budget_id == row.get("member_budget_id")
    return Planned(
        member_id(user_id, team_id=row["team_id"]),
        name,
        {
            "team_id": row["team_id"],
            "user_id": user_id,
            "role": role or "user",
            "allowed_models": models_of(limited.budget, "allowed_models", notes=notes),
        },
        {"created_at": now},
        limited.limits,
        budget_id=None if is_default else limited.budget_id,
        spent=spent_of(membership, limited, now=now),
        notes=tuple(notes.taken),
    )
