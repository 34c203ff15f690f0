"""Lists of keys: filters, order, pages. A page takes three statements at most, whatever the number of keys."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db.models import F, Q, QuerySet
from rest_framework import serializers

from budgets.actors import Actor
from budgets.answers import Answer
from budgets.errors import InputError
from budgets.pages import Page, page_of
from budgets.queries import INSTANTS_ALLOWED, InstantParameter
from keys.access import keys_visible_to, visible
from keys.answers import deleted_row, key_rows
from keys.models import DeletedKey, Key
from keys.parsing import token_hash_of
from keys.serializers import SORTS
from teams.models import Member

_NOTED = ("organization_id", "project_id", "agent_id")
_INSTANT = InstantParameter(help_text="", end_of_day=True)


def list_keys(actor: Actor, query: Mapping[str, Any], *, now: datetime) -> Page[Any]:
    """A page of the keys that an actor sees: hashes, or rows with `return_full_object`. Raises InputError."""
    is_full = query["return_full_object"]
    if query["status"] == "deleted":
        return _deleted(actor, query, is_full=is_full)
    conditions = _conditions(actor, query) & _status(query["status"], now=now) & _expires_by(query["expires"])
    noted = {name: query[name] for name in _NOTED if query[name] is not None}
    if noted:
        conditions &= Q(noted__contains=noted)
    found = keys_visible_to(actor).filter(conditions)
    order = _order(query)
    rows = _full() if is_full else Key.objects.only("token_hash")
    page = page_of(found, order=order, number=query["page"], size=query["size"], rows=rows)
    shown = _rows(page.rows, query, now=now) if is_full else [key.token_hash for key in page.rows]
    return Page(shown, page.total, page.number, page.size)


def _order(query: Mapping[str, Any]) -> list[str]:
    """As the indexes are: the second column runs against the first one."""
    column = SORTS[query["sort_by"]]
    return [column, "-id"] if query["sort_order"] == "asc" else [f"-{column}", "id"]


def _full() -> QuerySet[Any]:
    return Key.objects.select_related("budget").annotate(
        team_alias=F("team__team_alias"), user_email=F("user__email"), user_alias=F("user__user_alias")
    )


def _rows(keys: list[Any], query: Mapping[str, Any], *, now: datetime) -> list[Answer]:
    shown = []
    for key, row in zip(keys, key_rows(keys, now=now), strict=True):
        beside = {"team_alias": key.team_alias, "user_email": key.user_email or None}
        if query["expand"]:
            user = {"user_id": key.user_id, "user_email": key.user_email or None, "user_alias": key.user_alias}
            beside["user"] = None if key.user_id is None else user
        shown.append({"token": key.token_hash, **row, **beside})
    return shown


def _conditions(actor: Actor, query: Mapping[str, Any]) -> Q:
    """What keys and deleted keys are looked for by."""
    conditions = _whose(actor, query)
    if query["team_id"] is not None:
        conditions &= Q(team_id=query["team_id"])
    if query["key_hash"] is not None:
        conditions &= Q(token_hash=token_hash_of(query["key_hash"]))
    if query["key_alias"] is not None:
        contains = "key_alias__icontains" if query["substring_matching"] else "key_alias"
        conditions &= Q(**{contains: query["key_alias"]})
    if query["search"] is not None:
        text = query["search"]
        conditions &= Q(key_alias__icontains=text) | Q(token_hash=token_hash_of(text)) | Q(key_name=text)
    if query["access_group_id"] is not None:
        conditions &= Q(pk__in=[])
    return conditions


def _whose(actor: Actor, query: Mapping[str, Any]) -> Q:
    """The keys of the user that is meant, and on demand those of teams that the user administers or has made.

    Who does not see all means oneself, where neither a user nor a team is named.
    """
    user_id = query["user_id"]
    if user_id is None and not actor.sees_all and query["team_id"] is None:
        user_id = actor.user_id
    if user_id is None:
        return Q()
    column = "user_id" if query["status"] == "deleted" else "user__username"  # a deleted key refers to nobody
    whose = Q(**{f"{column}__icontains": user_id}) if query["substring_matching"] else Q(user_id=user_id)
    if query["include_team_keys"]:
        teams = Member.objects.filter(user_id=user_id, role=Member.Role.ADMIN).values("team_id")
        whose |= Q(team_id__in=teams)
    if query["include_created_by_keys"] and query["status"] != "deleted":
        whose |= Q(created_by=user_id)
    return whose


def _status(status: str | None, *, now: datetime) -> Q:
    is_alive = Q(expires_at__isnull=True) | Q(expires_at__gt=now)
    if status == "active":
        return Q(blocked=False) & is_alive
    if status == "expired":
        return Q(blocked=False, expires_at__lte=now)
    return Q(blocked=True) if status is not None else Q()


def _expires_by(text: str | None) -> Q:
    """Keys that never expire, or that expire at an instant or earlier. Raises InputError."""
    if text is None:
        return Q()
    if text == "never":
        return Q(expires_at__isnull=True)
    try:
        return Q(expires_at__lte=_INSTANT.to_internal_value(text))
    except serializers.ValidationError:
        message = f"expires: {text!r} is not allowed; allowed are never, {INSTANTS_ALLOWED}"
        raise InputError(message, field="expires") from None


def _deleted(actor: Actor, query: Mapping[str, Any], *, is_full: bool) -> Page[Any]:
    """Newest deletions first."""
    found = DeletedKey.objects.filter(_conditions(actor, query))
    if not actor.sees_all:
        found = found.filter(visible(actor))
    page = page_of(found, order=["-deleted_at", "id"], number=query["page"], size=query["size"])
    shown = [
        {"token": row.token_hash, **deleted_row(row), "team_alias": None, "user_email": None}
        if is_full
        else row.token_hash
        for row in page.rows
    ]
    return Page(shown, page.total, page.number, page.size)


def list_aliases(actor: Actor, query: Mapping[str, Any]) -> Page[str]:
    """A page of the aliases of the keys that an actor sees, in their order."""
    found = keys_visible_to(actor).filter(key_alias__isnull=False)
    if query["search"] is not None:
        found = found.filter(key_alias__icontains=query["search"])
    if query["team_id"] is not None:
        found = found.filter(team_id=query["team_id"])
    rows = Key.objects.only("key_alias")
    page = page_of(found, order=["key_alias", "-id"], number=query["page"], size=query["size"], rows=rows)
    return Page([key.key_alias for key in page.rows], page.total, page.number, page.size)
