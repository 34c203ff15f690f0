"""Calls of views as any actor, past the authentication and the table of permissions, which are budgetgate's."""

import json
from decimal import Decimal
from typing import Any

from rest_framework.test import APIRequestFactory, force_authenticate
from rest_framework.views import APIView

from budgets.actors import Actor, Role

ADMIN = Actor("ada", Role.PROXY_ADMIN)
VIEWER = Actor("vic", Role.PROXY_ADMIN_VIEWER)
USER = Actor("u1", Role.INTERNAL_USER, user_id="u1", teams=frozenset({"a-team"}))
TEAM_ADMIN = Actor(
    "tom", Role.INTERNAL_USER, user_id="tom", teams=frozenset({"a-team"}), admin_of=frozenset({"a-team"})
)
STRANGER = Actor("sid", Role.INTERNAL_USER, user_id="sid", teams=frozenset({"b-team"}))


def key_actor(key: Any) -> Actor:
    return Actor(str(key), Role.KEY, key_id=str(key.id), team_id=key.team_id)


def ask(view: type[APIView], by: Actor, body: Any = None, *, query: Any = None, **path: str) -> Any:
    """The raw answer to a POST with a body, or to a GET with a query."""
    factory = APIRequestFactory()
    if body is not None:
        request = factory.generic("POST", "/", json.dumps(body), content_type="application/json")
    else:
        request = factory.get("/", query or {})
    force_authenticate(request, user=by)  # type: ignore[arg-type]
    response = view.as_view(permission_classes=[])(request, **path)
    return response if response.streaming else response.render()


def answer(view: type[APIView], by: Actor, body: Any = None, *, query: Any = None, **path: str) -> Any:
    """The JSON of a good answer, with exact numbers."""
    response = ask(view, by, body, query=query, **path)
    assert response.status_code == 200, response.content
    return json.loads(response.content, parse_float=Decimal)
