"""The API for keys, and /team/info, which shows a team with its keys."""

from datetime import datetime
from typing import cast

from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from budgets.answers import usage_answer
from budgets.errors import InputError
from budgets.rules.scopes import ScopeLimits, root_of
from budgets.services import limit_set
from budgets.usage import Spends, spends_of, usage_of
from keys.answers import generated_answer, key_row
from keys.lookup import key_for, token_hash_of_alias, token_hashes_of_aliases
from keys.models import Key
from keys.parsing import token_hash_of
from keys.profiles import limits_of_key
from keys.serializers import DeleteKeysSerializer, GenerateKeySerializer, UpdateKeySerializer
from keys.services import KeyFields, create_key, delete_keys, update_key
from teams.answers import team_row
from teams.scopes import limits_of_team
from teams.services import team_for

KEYS_SHOWN_MAX = 1000


class GenerateKey(APIView):
    """Makes a key; the answer is the only place where its text ever appears."""

    def post(self, request: Request) -> Response:
        body = GenerateKeySerializer(data=request.data)
        body.is_valid(raise_exception=True)
        fields, now = body.validated_data, timezone.now()
        text = fields.pop("key", None)
        created = create_key(cast(KeyFields, fields), text=text, now=now)
        return Response(generated_answer(created, now=now))


class UpdateKey(APIView):
    """Changes what the body names."""

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

    def get(self, request: Request) -> Response:
        presented = _parameter(request, "key")
        key, now = key_for(presented), timezone.now()
        row = key_row(key, spends=_spends_of_keys([key], now=now)[0], now=now)
        usage = _windows(limits_of_key(key), listed=len(key.budget_limits), team_id=key.team_id, now=now)
        return Response({"key": presented, "info": {**row, "budget_limits_usage": usage}})


class DeleteKeys(APIView):
    """Deletes all of the named keys, or none."""

    def post(self, request: Request) -> Response:
        body = DeleteKeysSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        keys, aliases = body.validated_data.get("keys"), body.validated_data.get("key_aliases")
        if keys:
            delete_keys([token_hash_of(key) for key in keys], field="keys")
        else:
            delete_keys(token_hashes_of_aliases(aliases), field="key_aliases")
        return Response({"deleted_keys": keys or aliases})


class TeamInfo(APIView):
    """Shows a team, the usage of its windows, and its newest keys."""

    def get(self, request: Request) -> Response:
        team, now = team_for(_parameter(request, "team_id")), timezone.now()
        limits = limits_of_team(team)
        [spends] = spends_of([(limits.scope, limit_set(team))], now=now)
        usage = _windows(limits, listed=len(team.budget_limits), team_id=team.team_id, now=now)
        keys = list(Key.objects.filter(team=team).order_by("-created_at")[: _key_limit(request)])
        rows = [
            {"token": key.token_hash, **key_row(key, spends=spent, now=now)}
            for key, spent in zip(keys, _spends_of_keys(keys, now=now), strict=True)
        ]
        info = {**team_row(team, spends=spends, now=now), "budget_limits_usage": usage}
        return Response({"team_id": team.team_id, "team_info": info, "keys": rows, "team_memberships": []})


def _parameter(request: Request, name: str) -> str:
    value = request.query_params.get(name)
    if not value:
        raise InputError(f"{name}: needed in the query", field=name)
    return value


def _key_limit(request: Request) -> int:
    text = request.query_params.get("key_limit") or str(KEYS_SHOWN_MAX)
    if not text.isascii() or not text.isdigit() or not int(text[:9]) <= KEYS_SHOWN_MAX or len(text) > 9:
        raise InputError(f"key_limit: {text!r} is not allowed; allowed is 0 to {KEYS_SHOWN_MAX}", field="key_limit")
    return int(text)


def _spends_of_keys(keys: list[Key], *, now: datetime) -> list[Spends]:
    return spends_of([(limits_of_key(key).scope, limit_set(key)) for key in keys], now=now)


def _windows(scope: ScopeLimits, *, listed: int, team_id: str | None, now: datetime) -> dict[str, object]:
    """The usage of the windows of `budget_limits`, which are the last `listed` of a scope's limits."""
    only = ScopeLimits(scope.scope, scope.calendar, scope.limits[len(scope.limits) - listed :])
    return usage_answer(usage_of(only, root=root_of(scope.scope.id, team_id=team_id), now=now))
