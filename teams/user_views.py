"""The API for users, but where a user is made, shown or deleted with keys: that is in keys/people_views.py."""

from collections.abc import Sequence
from typing import Any, cast

from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import ValidationError
from rest_framework.views import APIView

from budgets.actors import Actor
from budgets.answers import Answer
from budgets.documents import documented
from budgets.errors import ConflictError, ForbiddenError, InputError, NotFoundError
from budgets.queries import parameters_of
from budgets.requests import actor_of
from budgets.rules.limits import LimitError
from teams.access import check_manages_all, check_may_set, user_seen_by
from teams.guest_serializers import NoQuery
from teams.member_services import user_id_of
from teams.models import Member, User
from teams.usage import spends_of_rows
from teams.user_answers import (
    BULK_UPDATED_ANSWER,
    PASSWORD_ANSWER,
    ROLE_TEXTS,
    ROLES_ANSWER,
    UPDATED_ANSWER,
    user_row,
)
from teams.user_serializers import BulkUpdateUsersSerializer, ChangePasswordSerializer, UpdateUserSerializer
from teams.user_services import UserFields, change_password, update_user
from teams.views import validated

OPEN_TO_ONESELF = frozenset({"user_alias"})
"""What users may set of themselves; what binds them, proxy admins set."""


def teams_of(user_ids: Sequence[str]) -> dict[str, list[str]]:
    """The ids of the teams of each of these users, with one query."""
    found: dict[str, list[str]] = {user_id: [] for user_id in user_ids}
    memberships = Member.objects.filter(user_id__in=user_ids).order_by("created_at", "id")
    for user_id, team_id in memberships.values_list("user_id", "team_id"):
        found[user_id].append(team_id)
    return found


def user_answer(user: User) -> Answer:
    """A user with teams and spends."""
    now = timezone.now()
    [spends] = spends_of_rows([user], now=now)
    return user_row(user, spends=spends, teams=teams_of([user.username])[user.username], now=now)


class UpdateUser(APIView):
    """Changes what the body names."""

    @documented(
        "Change a user",
        request=UpdateUserSerializer,
        answer=UPDATED_ANSWER,
        description="`user_id` or else `user_email` names the user. A field that is left out stays as it is, null "
        "empties it. The last proxy admin stays one.",
    )
    def post(self, request: Request) -> Response:
        user = _update(validated(UpdateUserSerializer, request), by=actor_of(request))
        return Response({"user_id": user.username, "data": user_answer(user)})


def _update(fields: dict[str, Any], *, by: Actor) -> User:
    user_id = fields.pop("user_id", None)
    if user_id is None:
        user_id = user_id_of(None, user_email=fields.pop("user_email"))
    user_seen_by(by, user_id)
    if not by.may_write:
        raise ForbiddenError("This role changes nothing")
    check_may_set(by, fields, open_to_others=OPEN_TO_ONESELF)
    spend = fields.pop("spend", None)
    return update_user(user_id, cast(UserFields, fields), spend_nanousd=spend, by=by, now=timezone.now())


class BulkUpdateUsers(APIView):
    """Changes many users, each on its own."""

    @documented(
        "Change many users",
        request=BulkUpdateUsersSerializer,
        answer=BULK_UPDATED_ANSWER,
        description="Who cannot be changed is named with the reason; the others are changed.",
    )
    def post(self, request: Request) -> Response:
        fields, by = validated(BulkUpdateUsersSerializer, request), actor_of(request)
        check_manages_all(by)
        updates = fields.get("users") or _for_everybody(fields["user_updates"])
        results = [_updated(update, by=by) for update in updates]
        good = sum(result["success"] for result in results)
        counts = {"successful_updates": good, "failed_updates": len(results) - good}
        return Response({"results": results, "total_requested": len(results), **counts})


def _for_everybody(updates: dict[str, Any]) -> list[dict[str, Any]]:
    for name in ("user_id", "user_email"):
        if name in updates:
            raise InputError(f"user_updates.{name}: cannot be the same of all users", field=f"user_updates.{name}")
    ids = User.objects.order_by("username").values_list("username", flat=True)
    return [{**updates, "user_id": user_id} for user_id in ids]


def _updated(update: dict[str, Any], *, by: Actor) -> Answer:
    named = {
        name: update.get(name) if isinstance(update.get(name), str) else None for name in ("user_id", "user_email")
    }
    try:
        body = UpdateUserSerializer(data=update)
        body.is_valid(raise_exception=True)
        user = _update(body.validated_data, by=by)
    except (InputError, LimitError, NotFoundError, ConflictError, ValidationError) as error:
        return {**named, "success": False, "error": _text_of(error), "updated_user": None}
    row = user_answer(user)
    return {**{name: row[name] for name in named}, "success": True, "error": None, "updated_user": row}


def _text_of(error: Exception) -> str:
    if isinstance(error, LimitError):
        return f"{error.field}: {error}"
    if isinstance(error, ValidationError) and isinstance(error.detail, dict):
        return "; ".join(
            f"{name}: {said[0] if isinstance(said, list) else said}" for name, said in error.detail.items()
        )
    return str(error)


class AvailableRoles(APIView):
    """The roles that a user may have."""

    @documented("List the roles of users", query=NoQuery, answer=ROLES_ANSWER)
    def get(self, request: Request) -> Response:
        parameters_of(NoQuery, request)
        roles = {role: {"ui_label": label, "description": said} for role, (label, said) in ROLE_TEXTS.items()}
        return Response(roles)


class ChangePassword(APIView):
    """Gives the caller another password."""

    @documented("Change one's own password", request=ChangePasswordSerializer, answer=PASSWORD_ANSWER)
    def post(self, request: Request) -> Response:
        fields, by = validated(ChangePasswordSerializer, request), actor_of(request)
        if by.user_id is None:
            raise ForbiddenError(f"The {by.name} is no user and has no password")
        current, new = fields.get("current_password"), fields["new_password"]
        change_password(by.user_id, current=current, new=new, by=by, now=timezone.now())
        return Response({"user_id": by.user_id, "message": "Password changed"})
