"""Every write to credentials, and the sealing that routes and credentials share.

A secret is sealed here and shown in no message. Messages name fields as the API does; the admin asks
`credential_problems` before it saves.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, TypedDict

from django.db import transaction
from django.db.models import QuerySet

from budgets.actors import SYSTEM, Actor
from budgets.audit import record_change
from budgets.errors import InputError, NotFoundError, conflicts_named
from budgets.gate import changes
from catalog.models import Credential, Route
from catalog.route_rules import credential_problems, is_credential_name
from catalog.secrets import LostSecretError, NoSecretKeyError, Secret, seal, sealed_with_first_key, unseal

API_NAMES = {
    "name": "credential_name",
    "base_url": "credential_values.api_base",
    "api_key": "credential_values.api_key",
}
"""What clients call the fields of a credential."""


class CredentialFields(TypedDict, total=False):
    """What somebody says of a credential: a missing field leaves it as it is, None empties it."""

    name: str
    api_key: Secret | None
    base_url: str | None
    info: dict[str, object]


def create_credential(fields: CredentialFields, *, now: datetime, by: Actor = SYSTEM) -> Credential:
    """Makes a credential. Raises InputError."""
    credential = Credential()
    with conflicts_named(_taken(fields)), transaction.atomic():
        _apply(credential, fields)
        save_credential(credential, now=now, by=by)
    return credential


def update_credential(name: str, fields: CredentialFields, *, now: datetime, by: Actor = SYSTEM) -> Credential:
    """Changes what `fields` names. Raises NotFoundError and InputError."""
    with conflicts_named(_taken(fields)), transaction.atomic():
        credential = credential_for(name, lock=True)
        _apply(credential, fields)
        save_credential(credential, now=now, by=by)
    return credential


def save_credential(credential: Credential, *, now: datetime, by: Actor = SYSTEM) -> None:
    """Raises InputError, also where a route of the credential could not work any more."""
    problems = credential_problems(credential, routes=routes_of(credential))
    for field, message in problems.items():
        raise InputError(f"{API_NAMES[field]}: {message}", field=API_NAMES[field])
    credential.created_at = credential.created_at or now
    credential.updated_at = now
    with transaction.atomic():
        stored = Credential.objects.filter(pk=credential.pk).first()
        before = {} if stored is None else _credential_record(stored)
        credential.save()
        publish_on_commit()
        action = "create" if stored is None else "update"
        _note(by, action, credential, before=before, after=_credential_record(credential), now=now)


def delete_credential(name: str, *, now: datetime, by: Actor = SYSTEM) -> None:
    """Deletes a credential that no route uses. Raises NotFoundError and InputError."""
    with transaction.atomic():
        credential = credential_for(name, lock=True)
        used_by = [route.model_name for route in routes_of(credential)]
        if used_by:
            message = f"credential_name {name!r} is used by {_listed(used_by)}; allowed is one that no model uses"
            raise InputError(message, field="credential_name")
        _note(by, "delete", credential, before=_credential_record(credential), after={}, now=now)
        credential.delete()
        publish_on_commit()


def _credential_record(credential: Credential) -> dict[str, Any]:
    key = secret_mark(credential.sealed_api_key)
    return {"name": credential.name, "base_url": credential.base_url, "info": credential.info, "api_key": key}


def _note(
    by: Actor, action: str, credential: Credential, *, before: dict[str, Any], after: dict[str, Any], now: datetime
) -> None:
    name = credential.name
    record_change(by, action=action, kind="credential", subject_id=name, before=before, after=after, now=now)


def credential_for(name: str, *, lock: bool = False, field: str = "credential_name") -> Credential:
    """The credential of that name, until the end of the transaction nobody else's if locked."""
    credentials = Credential.objects.select_for_update() if lock else Credential.objects.all()
    credential = credentials.filter(name=name).first() if is_credential_name(name) else None
    if credential is None:
        raise NotFoundError(f"Credential not found, passed {field}: {name}.", field=field)
    return credential


def routes_of(credential: Credential) -> QuerySet[Route]:
    """The routes that use a credential; none where it is not saved yet."""
    return Route.objects.filter(credential=credential.pk, credential__isnull=False).order_by("model_name")


def _apply(credential: Credential, fields: CredentialFields) -> None:
    credential.name = fields.get("name", credential.name)
    if "base_url" in fields:
        credential.base_url = fields["base_url"] or ""
    if "api_key" in fields:
        credential.sealed_api_key = resealed(credential.sealed_api_key, fields["api_key"], field=API_NAMES["api_key"])
    if "info" in fields:
        credential.info = fields["info"]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _taken(fields: CredentialFields) -> dict[str, InputError]:
    message = f"credential_name {fields.get('name')!r} exists already; allowed is another name"
    return {"catalog_credential_name": InputError(message, field="credential_name")}


def publish_on_commit() -> None:
    """Tells gateways to read the routes anew, credentials included."""
    transaction.on_commit(partial(changes.publish, "routes"))


# --- secrets --------------------------------------------------------------------------------------


def secret_mark(sealed_api_key: str) -> str | None:
    """What an audit shows of a key: whether there is one, and a mark that changes with it."""
    return f"sealed ({hashlib.sha256(sealed_api_key.encode()).hexdigest()[:8]})" if sealed_api_key else None


def sealed(api_key: Secret, *, field: str) -> str:
    """A key for the database. Raises InputError."""
    try:
        return seal(api_key)
    except NoSecretKeyError as error:
        raise InputError(f"{field}: {error}", field=field) from None


def resealed(before: str, api_key: Secret | None, *, field: str) -> str:
    """The same text for the same key, so that saying a key again is no change; an empty one for none."""
    if api_key is None:
        return ""
    try:
        is_same = bool(before) and unseal(before) == api_key
    except LostSecretError:
        is_same = False
    return before if is_same else sealed(api_key, field=field)


@dataclass(frozen=True, slots=True)
class Rotation:
    """What a rotation did: how many secrets it sealed anew, how many it left, and whose it could not open."""

    resealed: int
    current: int
    lost: tuple[str, ...]


def rotate_secrets() -> Rotation:
    """Seals every secret with the first key, in one transaction. A second run changes nothing. Raises InputError."""
    resealed, current, lost = 0, 0, []
    with transaction.atomic():
        for row in _rows_with_secrets():
            if sealed_with_first_key(row.sealed_api_key):
                current += 1
                continue
            try:
                row.sealed_api_key = sealed(unseal(row.sealed_api_key), field="BUDGETGATE_SECRET_KEYS")
            except LostSecretError:
                lost.append(f"{row._meta.verbose_name} {row}")
                continue
            row.save(update_fields=["sealed_api_key"])
            resealed += 1
    return Rotation(resealed, current, tuple(lost))


def _rows_with_secrets() -> list[Route | Credential]:
    routes = Route.objects.select_for_update().exclude(sealed_api_key="").order_by("model_name")
    credentials = Credential.objects.select_for_update().exclude(sealed_api_key="").order_by("name")
    return [*routes, *credentials]
