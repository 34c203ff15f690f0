"""Who calls the management API: the master key, a virtual key or a person with a session, each as an Actor.

A virtual key is refused for the reasons and with the words of the data plane, and on every route that its list of
routes does not have. What an actor may do otherwise is in budgetgate/permissions.py.
"""

import hashlib
import hmac
from dataclasses import replace

from django.conf import settings
from django.db.models import Q
from django.utils import timezone
from rest_framework.authentication import BaseAuthentication
from rest_framework.authentication import SessionAuthentication as CheckedSession
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied
from rest_framework.request import Request

from budgets.actors import MASTER, Actor, Role
from budgets.rules.routes import route_allowed, route_denied_text
from budgets.services import ms_of
from keys.models import Key
from keys.parsing import hash_key
from proxy import errors
from proxy.errors import ApiError
from teams.models import Member, User

CHANGED_BY = "litellm-changed-by"
CHANGED_BY_CHARS_MAX = 128
NAME_CHARS_MAX = 255


class KeyRefused(AuthenticationFailed):
    """The presented key lets nobody in. `param` is the field that the answer names."""

    def __init__(self, error: ApiError) -> None:
        super().__init__(error.message, code=error.type)
        self.param = error.param


class KeyAuthentication(BaseAuthentication):
    """The master key or a virtual key, in one of the headers that clients of LLM gateways use."""

    def authenticate(self, request: Request) -> tuple[Actor, None] | None:
        presented = presented_key(request)
        if not presented:
            return None
        if settings.MASTER_KEY and hmac.compare_digest(_digest(presented), _digest(settings.MASTER_KEY)):
            actor = MASTER
        else:
            actor = _actor_of_key(_valid_key(presented), path=request.path)
        return _of_request(actor, request), None

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="BudgetGate"'


class SessionAuthentication(CheckedSession):
    """A person who has logged in. A browser sends the session by itself, so what writes needs the CSRF token too."""

    def authenticate(self, request: Request) -> tuple[Actor, None] | None:
        user = getattr(request._request, "user", None)
        if not isinstance(user, User) or not user.is_active:
            return None
        self.enforce_csrf(request)
        role = Role.PROXY_ADMIN if user.is_superuser else Role(user.role)
        return _of_request(actor_of_user(user, role=role), request), None


def presented_key(request: Request) -> str:
    """The key that a request presents, or an empty text."""
    for header in ("x-litellm-api-key", "x-api-key"):
        if value := request.headers.get(header, "").strip():
            return value.removeprefix("Bearer ").strip()
    value = request.headers.get("authorization", "").strip()
    scheme, _, key = value.partition(" ")
    if value and scheme.lower() != "bearer":
        message = "Authentication Error, Malformed API Key passed in. Ensure Key has `Bearer ` prefix."
        raise AuthenticationFailed(message, code="auth_error")
    return key.strip()


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _valid_key(presented: str) -> Key:
    """The key of that text. A hash is none: whoever has read one in the database holds nothing."""
    now, token_hash = timezone.now(), hash_key(presented)
    named = Q(token_hash=token_hash) | Q(previous_token_hash=token_hash, previous_until__gt=now)
    key = Key.objects.select_related("team", "user").filter(named).first()
    if key is None:
        raise KeyRefused(errors.unknown_key())
    if key.blocked:
        raise KeyRefused(errors.blocked_key())
    if key.team is not None and key.team.blocked:
        raise KeyRefused(errors.blocked_team(key.team_id))
    if key.user is not None and not key.user.is_active:
        raise KeyRefused(errors.blocked_user(key.user_id))
    if key.expires_at is not None and key.expires_at <= now:
        raise KeyRefused(errors.expired_key(ms_of(key.expires_at)))
    return key


def _actor_of_key(key: Key, *, path: str) -> Actor:
    if key.allowed_routes and not route_allowed(key.allowed_routes, path):
        raise PermissionDenied(route_denied_text(key.allowed_routes, path))
    key_id = str(key.id)
    if key.user is not None and key.acts_for_user:
        return replace(actor_of_user(key.user, role=Role(key.user.role)), key_id=key_id, team_id=key.team_id)
    name = f"key {key.key_alias or key.key_name}"[:NAME_CHARS_MAX]
    return Actor(name, Role.KEY, key_id=key_id, team_id=key.team_id)


def actor_of_user(user: User, *, role: Role) -> Actor:
    """The user with the teams that he is in. One query."""
    roles = dict(Member.objects.filter(user=user).values_list("team_id", "role"))
    admin_of = frozenset(team_id for team_id, member_role in roles.items() if member_role == Member.Role.ADMIN)
    return Actor(user.username, role, user_id=user.username, teams=frozenset(roles), admin_of=admin_of)


def _of_request(actor: Actor, request: Request) -> Actor:
    """Adds from where, and for whom: an admin's tool may say who uses it, which then stands in audits beside it."""
    actor = replace(actor, address=request.META.get("REMOTE_ADDR", ""))
    said = "".join(filter(str.isprintable, request.headers.get(CHANGED_BY, ""))).strip()
    if not said or not actor.manages_all:
        return actor
    by = f" (by {actor.name})"
    return replace(actor, name=said[: min(CHANGED_BY_CHARS_MAX, NAME_CHARS_MAX - len(by))] + by)
