"""The API for keys."""

from datetime import datetime
from typing import cast

from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from budgets.answers import usage_answer
from budgets.documents import documented
from budgets.queries import parameters_of
from budgets.rules.scopes import ScopeLimits, root_of
from budgets.services import limit_set
from budgets.usage import Spends, spends_of, usage_of
from keys.answers import (
    DELETED_ANSWER,
    GENERATED_ANSWER,
    KEY_INFO_ANSWER,
    UPDATED_ANSWER,
    generated_answer,
    key_row,
)
from keys.lookup import key_for, token_hash_of_alias, token_hashes_of_aliases
from keys.models import Key
from keys.parsing import token_hash_of
from keys.profiles import limits_of_key
from keys.serializers import (
    DeleteKeysSerializer,
    GenerateKeySerializer,
    KeyInfoQuery,
    UpdateKeySerializer,
)
from keys.services import KeyFields, create_key, delete_keys, update_key

_NAMED = {"key": "$response.body#/token"}


class GenerateKey(APIView):
    """Makes a key; the answer is the only place where its text ever appears."""

    @documented(
        "Make a key",
        request=GenerateKeySerializer,
        answer=GENERATED_ANSWER,
        links={"get /key/info": _NAMED, "post /key/update": _NAMED},
    )
    def post(self, request: Request) -> Response:
        body = GenerateKeySerializer(data=request.data)
        body.is_valid(raise_exception=True)
        fields, now = body.validated_data, timezone.now()
        text = fields.pop("key", None)
        created = create_key(cast(KeyFields, fields), text=text, now=now)
        return Response(generated_answer(created, now=now))


class UpdateKey(APIView):
    """Changes what the body names."""

    @documented(
        "Change a key",
        request=UpdateKeySerializer,
        answer=UPDATED_ANSWER,
        description="`key` or else `key_alias` names it. A field that is left out stays as it is, null empties it.",
    )
    def post(self, request: Request) -> Response:
        body = UpdateKeySerializer(data=request.data)
        body.is_valid(raise_exception=True)
        fields, now = body.validated_data, timezone.now()
        named = fields.pop("key", None)
        token_hash = token_hash_of(named) if named else token_hash_of_alias(fields.pop("key_alias"), field="key_alias")
        key = update_key(token_hash, cast(KeyFields, fields), now=now)
        row = key_row(key, spends=_spends_of_keys([key], now=now)[0], now=now)
        return Response({"key": named or token_hash, "token": token_hash, **row})


class KeyInfo(APIView):
    """Shows a key and the usage of its windows."""

    @documented("Show a key", query=KeyInfoQuery, answer=KEY_INFO_ANSWER)
    def get(self, request: Request) -> Response:
        presented = parameters_of(KeyInfoQuery, request)["key"]
        key, now = key_for(presented), timezone.now()
        row = key_row(key, spends=_spends_of_keys([key], now=now)[0], now=now)
        usage = _windows(limits_of_key(key), listed=len(key.budget_limits), team_id=key.team_id, now=now)
        return Response({"key": presented, "info": {**row, "budget_limits_usage": usage}})


class DeleteKeys(APIView):
    """Deletes all of the named keys, or none."""

    @documented("Delete keys", request=DeleteKeysSerializer, answer=DELETED_ANSWER)
    def post(self, request: Request) -> Response:
        body = DeleteKeysSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        keys, aliases = body.validated_data.get("keys"), body.validated_data.get("key_aliases")
        if keys:
            delete_keys([token_hash_of(key) for key in keys], field="keys")
        else:
            delete_keys(token_hashes_of_aliases(aliases), field="key_aliases")
        return Response({"deleted_keys": keys or aliases})


def _spends_of_keys(keys: list[Key], *, now: datetime) -> list[Spends]:
    return spends_of([(limits_of_key(key).scope, limit_set(key)) for key in keys], now=now)


def _windows(scope: ScopeLimits, *, listed: int, team_id: str | None, now: datetime) -> dict[str, object]:
    """The usage of the windows of `budget_limits`, which are the last `listed` of a scope's limits."""
    only = ScopeLimits(scope.scope, scope.calendar, scope.limits[len(scope.limits) - listed :])
    return usage_answer(usage_of(only, root=root_of(scope.scope.id, team_id=team_id), now=now))
