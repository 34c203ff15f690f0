"""The API that shows keys, and /team/info, which shows a team with its keys."""

from datetime import datetime
from typing import Any

from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from budgets.actors import Actor
from budgets.answers import Answer
from budgets.documents import documented
from budgets.errors import ForbiddenError, InputError
from budgets.pages import Page
from budgets.queries import parameters_of
from budgets.requests import actor_of
from keys.access import keys_visible_to, sees_key, visible
from keys.answers import (
    HEALTH_ANSWER,
    KEY_ALIASES_ANSWER,
    KEY_INFO_ANSWER,
    KEY_LIST_ANSWER,
    KEYS_INFO_ANSWER,
    deleted_row,
    info_of,
    key_rows,
)
from keys.listing import list_aliases, list_keys
from keys.lookup import any_named, hashes_of, key_not_found, named
from keys.models import DeletedKey, Key
from keys.parsing import token_hash_of
from keys.profiles import SELECTED
from keys.serializers import KeyAliasesQuery, KeyInfoQuery, KeyListQuery, NamedKeysSerializer


class KeyInfo(APIView):
    """Shows a key and the usage of its windows."""

    @documented(
        "Show a key",
        query=KeyInfoQuery,
        answer=KEY_INFO_ANSWER,
        description="Without `key` the calling one. Of a deleted key the last state is shown, as long as no other key "
        "has its text.",
    )
    def get(self, request: Request) -> Response:
        presented, now, actor = parameters_of(KeyInfoQuery, request)["key"], timezone.now(), actor_of(request)
        if presented is None:
            key = _calling_key(actor)
            return Response({"key": key.token_hash, "info": info_of(key, now=now)})
        return Response({"key": presented, "info": _info(actor, presented, now=now)})


def _calling_key(actor: Actor) -> Key:
    if actor.key_id is None:
        raise InputError("key: needed in the query, because the caller is no virtual key", field="key")
    key = Key.objects.select_related(*SELECTED).filter(id=actor.key_id).first()
    if key is None:
        raise key_not_found("key")
    return key


def _info(actor: Actor, presented: str, *, now: datetime) -> Answer:
    """Here a foreign key is told from an unknown one: whoever holds its text knows that it exists."""
    key = Key.objects.select_related(*SELECTED).filter(named(presented, now=now)).first()
    if key is not None:
        if not sees_key(actor, key):
            raise ForbiddenError(f"{actor.name} may not see this key")
        return info_of(key, now=now)
    gone = DeletedKey.objects.filter(token_hash=token_hash_of(presented)).order_by("-deleted_at")
    deleted = gone.first()
    if deleted is None:
        raise key_not_found("key")
    if not actor.sees_all and not gone.filter(visible(actor), pk=deleted.pk).exists():
        raise ForbiddenError(f"{actor.name} may not see this key")
    return {**deleted_row(deleted), "budget_limits_usage": {}, "model_max_budget_usage": {}, "grants": []}


class KeysInfo(APIView):
    """Shows several keys."""

    @documented(
        "Show several keys",
        request=NamedKeysSerializer,
        answer=KEYS_INFO_ANSWER,
        description="Keys that do not exist, or are not the caller's to see, are left out.",
    )
    def post(self, request: Request) -> Response:
        body = NamedKeysSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        names, now = body.validated_data["keys"], timezone.now()
        seen = keys_visible_to(actor_of(request)).select_related("budget").filter(any_named(names, now=now))
        keys = {token_hash: key for key in seen for token_hash in hashes_of(key, now=now)}
        ordered = list({keys[name].id: keys[name] for name in map(token_hash_of, names) if name in keys}.values())
        rows = key_rows(ordered, now=now)
        info = [{"token": key.token_hash, **row} for key, row in zip(ordered, rows, strict=True)]
        return Response({"key": names, "info": info})


class ListKeys(APIView):
    """Lists keys."""

    @documented(
        "List keys",
        query=KeyListQuery,
        answer=KEY_LIST_ANSWER,
        description="Who does not see all keys sees the own ones, and on demand those of teams that one administers.",
    )
    def get(self, request: Request) -> Response:
        page = list_keys(actor_of(request), parameters_of(KeyListQuery, request), now=timezone.now())
        return Response({"keys": page.rows, **_counts(page)})


class KeyAliases(APIView):
    """Lists the aliases of keys."""

    @documented("List aliases", query=KeyAliasesQuery, answer=KEY_ALIASES_ANSWER)
    def get(self, request: Request) -> Response:
        page = list_aliases(actor_of(request), parameters_of(KeyAliasesQuery, request))
        return Response({"aliases": page.rows, **_counts(page), "size": page.size})


def _counts(page: Page[Any]) -> Answer:
    return {"total_count": page.total, "current_page": page.number, "total_pages": page.pages}


class KeyHealth(APIView):
    """Says whether the calling key works: whoever reads the answer has a key that does."""

    @documented("Check the calling key", answer=HEALTH_ANSWER)
    def post(self, request: Request) -> Response:
        return Response({"key": "healthy", "logging_callbacks": None})
