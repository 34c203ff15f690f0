"""Every write to users but deleting them, which takes keys with it. A password is stored hashed and never answered.

The role says what Django's admin allows: a proxy admin is a superuser there, a viewer is staff and may view everything
(teams/models.py), everybody else has no access to it.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import partial
from typing import Any, cast
from uuid import uuid4

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import transaction

from budgets.actors import SYSTEM, Actor
from budgets.audit import record_change
from budgets.errors import ConflictError, ForbiddenError, InputError, NotFoundError, conflicts_named
from budgets.gate.changes import publish
from budgets.rules.scopes import USER, root_of
from budgets.services import LIMIT_FIELDS, LimitFields, changed_limits, set_limits
from budgets.usage import set_spend
from teams.models import User
from teams.parsing import TeamIdError, check_new_user_id, is_email
from teams.records import user_record
from teams.scopes import limits_of_user


class UserFields(LimitFields, total=False):
    """What a request says of a user: a missing field leaves it as it is, None empties it."""

    user_email: str | None
    user_alias: str | None
    user_role: str | None
    sso_user_id: str | None
    models: list[str] | None
    metadata: dict[str, Any] | None
    noted: dict[str, Any]
    blocked: bool | None
    password: str | None


def create_user(
    fields: UserFields,
    *,
    now: datetime,
    user_id: str | None = None,
    by: Actor = SYSTEM,
    spend_nanousd: int | None = None,
) -> User:
    """Makes a user without teams and keys, who has spent `spend_nanousd` already. Raises InputError and LimitError."""
    user_id = user_id or str(uuid4())
    try:
        check_new_user_id(user_id)
    except TeamIdError as error:
        raise InputError(f"user_id: {error}", field="user_id") from None
    user = User(username=user_id, date_joined=now, updated_at=now, created_by=by.name)
    user.set_unusable_password()
    _apply(user, {"user_role": User.Role.INTERNAL_USER, **fields}, now=now)
    taken = InputError(f"User id = {user_id} already exists. Please use a different user id.", field="user_id")
    with conflicts_named(_conflicts(user) | {"teams_user_pkey": taken}), transaction.atomic():
        user.save(force_insert=True)
        after = user_record(user)
        record_change(by, action="create", kind=USER, subject_id=user_id, before={}, after=after, now=now)
        if spend_nanousd:
            _set_spend(user, spend_nanousd, by=by, now=now)
        transaction.on_commit(partial(publish, f"user:{user_id}"))
    return user


def update_user(
    user_id: str, fields: UserFields, *, now: datetime, by: Actor = SYSTEM, spend_nanousd: int | None = None
) -> User:
    """Changes what `fields` names. Raises NotFoundError, InputError, LimitError, ConflictError at the last admin."""
    with transaction.atomic():
        user = locked_users([user_id], field="user_id")[0]
        before = user_record(user)
        demoted = (fields.get("user_role") or user.role) != User.Role.PROXY_ADMIN or bool(fields.get("blocked"))
        if demoted:
            check_admin_remains([user], field="user_role")
        _apply(user, fields, now=now)
        user.updated_at = now
        with conflicts_named(_conflicts(user)), transaction.atomic():
            user.save(force_update=True)
        after = user_record(user)
        record_change(by, action="update", kind=USER, subject_id=user_id, before=before, after=after, now=now)
        if spend_nanousd is not None:
            _set_spend(user, spend_nanousd, by=by, now=now)
        transaction.on_commit(partial(publish, f"user:{user_id}"))
    return user


def _set_spend(user: User, nanousd: int, *, by: Actor, now: datetime) -> None:
    root = root_of("", team_id=None, user_id=user.username)
    set_spend(limits_of_user(user), root=root, to_nanousd=nanousd, by=by, reason="spend", now=now)


def locked_users(user_ids: Sequence[str], *, field: str) -> list[User]:
    """Users and all proxy admins, locked in one order, so that two requests cannot take the last admin away together.

    Answers with the users that were asked for. Raises NotFoundError.
    """
    wanted = set(user_ids)
    locked = User.objects.select_for_update().order_by("username")
    found = {user.username: user for user in locked.filter(username__in=wanted | _admin_ids())}
    for index, user_id in enumerate(user_ids):
        if user_id not in found:
            path = field if len(user_ids) == 1 and field == "user_id" else f"{field}[{index}]"
            raise NotFoundError(f"User not found, passed user id: {user_id}.", field=path)
    return [found[user_id] for user_id in dict.fromkeys(user_ids)]


def _admin_ids() -> set[str]:
    return set(User.objects.filter(role=User.Role.PROXY_ADMIN).values_list("username", flat=True))


def check_admin_remains(leaving: Iterable[User], *, field: str) -> None:
    """Raises ConflictError where no active proxy admin would be left. The admins are locked."""
    gone = {user.username for user in leaving if user.role == User.Role.PROXY_ADMIN and user.is_active}
    if not gone:
        return
    admins = User.objects.filter(role=User.Role.PROXY_ADMIN, is_active=True)
    if not admins.exclude(username__in=gone).exists():
        raise ConflictError(f"{', '.join(sorted(gone))} is the last proxy admin; make another one first", field=field)


def change_password(user_id: str, *, current: str | None, new: str, now: datetime, by: Actor) -> User:
    """Gives a user another password; who has one must know it. Raises NotFoundError, ForbiddenError and InputError."""
    with transaction.atomic():
        user = locked_users([user_id], field="user_id")[0]
        if user.has_usable_password() and not user.check_password(current or ""):
            raise ForbiddenError("current_password is not the password of this user")
        before = user_record(user)
        _set_password(user, new, field="new_password")
        user.updated_at = now
        user.save(update_fields=["password", "updated_at"])
        after = {**user_record(user), "password": "changed"}
        record_change(by, action="update", kind=USER, subject_id=user_id, before=before, after=after, now=now)
    return user


def set_role(user: User, role: str) -> None:
    """Gives an unsaved or locked user a role and what Django's admin makes of it."""
    user.role = role
    user.is_superuser = role == User.Role.PROXY_ADMIN
    user.is_staff = role in (User.Role.PROXY_ADMIN, User.Role.PROXY_ADMIN_VIEWER)


def _set_password(user: User, password: str, *, field: str) -> None:
    try:
        validate_password(password, user)
    except ValidationError as error:
        raise InputError(f"{field}: {' '.join(error.messages)}", field=field) from None
    user.set_password(password)


def _conflicts(user: User) -> dict[str, InputError]:
    email = InputError(f"User with email {user.email} already exists.", field="user_email")
    sso = InputError(f"User with sso_user_id {user.sso_user_id} already exists.", field="sso_user_id")
    return {"teams_user_email_once": email, "teams_user_sso_once": sso}


def _apply(user: User, fields: UserFields, *, now: datetime) -> None:
    given = cast(dict[str, Any], fields)
    if "user_email" in fields:
        user.email = _email(fields["user_email"])
    for name in ("user_alias", "sso_user_id"):
        if name in given:
            setattr(user, name, given[name])
    if fields.get("user_role") is not None:
        set_role(user, given["user_role"])
    if "models" in fields:
        user.allowed_models = fields["models"] or []
    if "metadata" in fields:
        user.metadata = fields["metadata"] or {}
    if "blocked" in fields:
        user.is_active = not fields["blocked"]
    user.noted = {**user.noted, **given.get("noted", {})}
    if given.get("password"):
        _set_password(user, given["password"], field="password")
    if user._state.adding or LIMIT_FIELDS & fields.keys():
        set_limits(user, changed_limits(user, fields), now=now)


def _email(address: str | None) -> str:
    if address is None:
        return ""
    if not is_email(address):
        raise InputError(f"user_email: {address!r} is not an email address", field="user_email")
    return address
