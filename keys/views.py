"""The API that changes keys. Views parse, call one service, and render; what is only read is in keys/info_views.py."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, cast

from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer
from rest_framework.views import APIView

from budgets.actors import Actor
from budgets.answers import Answer
from budgets.documents import Links, documented
from budgets.errors import ForbiddenError, InputError
from budgets.queries import parameters_of
from budgets.requests import actor_of
from budgets.usage import Spends
from keys.access import keys_visible_to
from keys.answers import (
    BULK_ANSWER,
    DELETED_ANSWER,
    GENERATED_ANSWER,
    TOKEN_ANSWER,
    UPDATED_ANSWER,
    Beside,
    generated_answer,
    key_row,
    key_rows,
    token_answer,
)
from keys.bulk import Outcome, outcome_of, update_team_keys
from keys.deletion import delete_keys, delete_keys_of_aliases
from keys.fields import KeyFields
from keys.lookup import token_hash_of_alias
from keys.models import Key
from keys.rotation import Rotation, rotate_key
from keys.serializers import (
    BULK_MAX,
    BulkItemSerializer,
    BulkUpdateSerializer,
    DeleteKeysSerializer,
    GenerateKeySerializer,
    NamedKeySerializer,
    RegenerateKeySerializer,
    RegenerateQuery,
    ServiceAccountSerializer,
    TeamBulkUpdateSerializer,
    UpdateKeySerializer,
)
from keys.services import create_key, set_blocked, update_key

_NAMED = {"key": "$response.body#/token"}
_LINKS: Links = {
    "get /key/info": _NAMED,
    "post /key/update": _NAMED,
    "post /key/block": _NAMED,
    "post /key/unblock": _NAMED,
    "post /key/{key}/regenerate": _NAMED,
    "post /key/{key}/reset_spend": _NAMED,
    "post /key/delete": {"keys": [_NAMED["key"]]},
    "post /v2/key/info": {"keys": [_NAMED["key"]]},
    "post /budget/explain": _NAMED,
    "post /budget/grant": {"scope": "key", "scope_id": _NAMED["key"]},
}
_CHANGES = "A field that is left out stays as it is, null empties it."


def _fields_of(serializer: type[BaseSerializer[Any]], data: Any) -> dict[str, Any]:
    body = serializer(data=data)
    body.is_valid(raise_exception=True)
    fields: dict[str, Any] = body.validated_data
    return fields


def _generate(request: Request, serializer: type[GenerateKeySerializer], *, is_service_account: bool) -> Response:
    fields, now = _fields_of(serializer, request.data), timezone.now()
    text = fields.pop("key", None)
    fields.pop("send_invite_email", None)
    created = create_key(
        cast(KeyFields, fields), text=text, now=now, by=actor_of(request), is_service_account=is_service_account
    )
    spent = fields.get("spend_nanousd") or 0
    row = key_row(created.key, beside=Beside(Spends(spent, spent)), now=now)
    return Response(generated_answer(created, row=row))


class GenerateKey(APIView):
    """Makes a key; the answer is the only place where its text ever appears."""

    @documented("Make a key", request=GenerateKeySerializer, answer=GENERATED_ANSWER, links=_LINKS)
    def post(self, request: Request) -> Response:
        return _generate(request, GenerateKeySerializer, is_service_account=False)


class GenerateServiceAccountKey(APIView):
    """Makes a key of a team and of no user."""

    @documented(
        "Make a key for a service",
        request=ServiceAccountSerializer,
        answer=GENERATED_ANSWER,
        links=_LINKS,
        description="Such a key belongs to its team only, and stays when people leave.",
    )
    def post(self, request: Request) -> Response:
        return _generate(request, ServiceAccountSerializer, is_service_account=True)


class UpdateKey(APIView):
    """Changes what the body names."""

    @documented(
        "Change a key",
        request=UpdateKeySerializer,
        answer=UPDATED_ANSWER,
        description=f"`key` or else `key_alias` names it. {_CHANGES}",
    )
    def post(self, request: Request) -> Response:
        fields, now, by = _fields_of(UpdateKeySerializer, request.data), timezone.now(), actor_of(request)
        named = fields.pop("key", None)
        name = named or token_hash_of_alias(fields.pop("key_alias"), field="key_alias", keys=keys_visible_to(by))
        key = update_key(name, cast(KeyFields, fields), now=now, by=by)
        return Response({"key": name, **token_answer(key, now=now)})


class BulkUpdateKeys(APIView):
    """Changes up to 500 keys."""

    @documented(
        "Change many keys",
        request=BulkUpdateSerializer,
        answer=BULK_ANSWER,
        description=f"Each key has a result of its own. {_CHANGES} For proxy admins.",
    )
    def post(self, request: Request) -> Response:
        items, now, by = _fields_of(BulkUpdateSerializer, request.data)["keys"], timezone.now(), actor_of(request)
        if not by.manages_all:
            raise ForbiddenError("Only proxy admins change many keys at once; /key/update changes one")
        outcomes = [
            outcome_of(str(item.get("key")), lambda item=item: _update_item(item, now=now, by=by))  # type: ignore[misc]
            for item in items
        ]
        return Response(_bulk_answer(outcomes, now=now))


def _update_item(item: dict[str, Any], *, now: datetime, by: Actor) -> Key:
    fields = _fields_of(BulkItemSerializer, item)
    return update_key(fields.pop("key"), cast(KeyFields, fields), now=now, by=by)


def _bulk_answer(outcomes: Sequence[Outcome], *, now: datetime) -> Answer:
    changed = [outcome.key for outcome in outcomes if outcome.key is not None]
    rows = dict(zip([key.id for key in changed], key_rows(changed, now=now), strict=True))
    return {
        "total_requested": len(outcomes),
        "successful_updates": [
            {"key": outcome.name, "key_info": {"token": outcome.key.token_hash, **rows[outcome.key.id]}}
            for outcome in outcomes
            if outcome.key is not None
        ],
        "failed_updates": [
            {"key": outcome.name, "key_info": None, "failed_reason": outcome.reason}
            for outcome in outcomes
            if outcome.key is None
        ],
    }


class BulkUpdateTeamKeys(APIView):
    """Changes keys of one team, all in the same way."""

    @documented(
        "Change keys of a team",
        request=TeamBulkUpdateSerializer,
        answer=BULK_ANSWER,
        description=f"Each key has a result of its own. {_CHANGES} For admins of the team.",
        tag="key",
    )
    def post(self, request: Request) -> Response:
        fields, now = _fields_of(TeamBulkUpdateSerializer, request.data), timezone.now()
        names = None if fields.get("all_keys_in_team") else fields["key_ids"]
        changes = cast(KeyFields, fields["update_fields"])
        outcomes = update_team_keys(fields["team_id"], names, changes, now=now, by=actor_of(request), most=BULK_MAX)
        return Response(_bulk_answer(outcomes, now=now))


class DeleteKeys(APIView):
    """Deletes all of the named keys, or none."""

    @documented("Delete keys", request=DeleteKeysSerializer, answer=DELETED_ANSWER)
    def post(self, request: Request) -> Response:
        fields, now, by = _fields_of(DeleteKeysSerializer, request.data), timezone.now(), actor_of(request)
        keys, aliases = fields.get("keys"), fields.get("key_aliases")
        if keys:
            delete_keys(keys, field="keys", now=now, by=by)
        else:
            delete_keys_of_aliases(aliases or [], now=now, by=by)
        return Response({"deleted_keys": keys or aliases})


class BlockKey(APIView):
    """Refuses every call of a key."""

    @documented("Block a key", request=NamedKeySerializer, answer=TOKEN_ANSWER)
    def post(self, request: Request) -> Response:
        return _blocked(request, True)


class UnblockKey(APIView):
    """Lets a key call again."""

    @documented("Unblock a key", request=NamedKeySerializer, answer=TOKEN_ANSWER)
    def post(self, request: Request) -> Response:
        return _blocked(request, False)


def _blocked(request: Request, blocked: bool) -> Response:
    fields, now = _fields_of(NamedKeySerializer, request.data), timezone.now()
    key = set_blocked(fields["key"], blocked, now=now, by=actor_of(request))
    return Response(token_answer(key, now=now))


class RegenerateKey(APIView):
    """Gives a key another text; everything else stays."""

    @documented(
        "Rotate a key",
        request=RegenerateKeySerializer,
        answer=GENERATED_ANSWER,
        path={"key": "Which key: its text or its hash."},
        description=f"With `grace_period` the old text works for that long. {_CHANGES}",
        links=_LINKS,
    )
    def post(self, request: Request, key: str) -> Response:
        return _regenerated(request, key)


class RegenerateNamedKey(APIView):
    """The same; the query or the body says which key."""

    @documented(
        "Rotate a key",
        request=RegenerateKeySerializer,
        query=RegenerateQuery,
        answer=GENERATED_ANSWER,
        description=f"With `grace_period` the old text works for that long. {_CHANGES}",
        links=_LINKS,
    )
    def post(self, request: Request) -> Response:
        return _regenerated(request, parameters_of(RegenerateQuery, request)["key"])


def _regenerated(request: Request, name: str | None) -> Response:
    fields, now = _fields_of(RegenerateKeySerializer, request.data), timezone.now()
    fields.pop("send_invite_email", None)
    in_body = fields.pop("key", None)
    if name is None and in_body is None:
        raise InputError("key: needed in the address or in the body", field="key")
    if name is not None and in_body not in (None, name):
        raise InputError("key: the address names another key; give it once", field="key")
    text, grace = fields.pop("new_key", None), fields.pop("grace_period", None)
    rotation = Rotation(cast(KeyFields, fields), text=text, grace=grace)
    created = rotate_key(name or in_body or "", rotation, now=now, by=actor_of(request))
    return Response(generated_answer(created, row=key_rows([created.key], now=now)[0]))
