"""What the data plane knows of a key: its limits and its team's, what it may call, and until when."""

import logging
from collections.abc import Iterable

from budgets.rules.limits import LimitUnit
from budgets.rules.scopes import KeyProfile, ScopeLimits, lifetime_tracker
from budgets.rules.windows import LIFETIME
from budgets.services import ms_of, scope_limits
from keys.models import Key
from teams.services import limits_of_team

logger = logging.getLogger(__name__)


def load_profile(token_hash: str) -> KeyProfile | None:
    """The profile of the key with that hash; None where there is none. One query."""
    key = Key.objects.select_related("team").filter(token_hash=token_hash).first()
    return None if key is None else profile_of(key)


def profiles_for(key_ids: Iterable[str]) -> dict[str, KeyProfile]:
    """The profiles of those keys that still exist, by id. One query. What cannot be read is reported and left out."""
    profiles: dict[str, KeyProfile] = {}
    for key in Key.objects.select_related("team").filter(id__in=list(key_ids)):
        try:
            profiles[str(key.id)] = profile_of(key)
        except Exception:
            logger.exception("the limits of key %s cannot be read", key.id)
    return profiles


def profile_of(key: Key) -> KeyProfile:
    """A key with its team, which must have been selected with it."""
    team = key.team
    return KeyProfile(
        key_id=str(key.id),
        token_hash=key.token_hash,
        alias=key.key_alias,
        team_id=key.team_id,
        blocked=key.blocked,
        team_blocked=team is not None and team.blocked,
        expires_ms=None if key.expires_at is None else ms_of(key.expires_at),
        models=_allowed(key.allowed_models),
        team_models=None if team is None else _allowed(team.allowed_models),
        scopes=(_tracked(key),) if team is None else (_tracked(key), limits_of_team(team)),
    )


def limits_of_key(key: Key) -> ScopeLimits:
    """A key's own limits as the gate wants them."""
    return scope_limits(key, kind="key", scope_id=str(key.id))


def _tracked(key: Key) -> ScopeLimits:
    """The key's limits and a count of its whole spend, unless one of the limits counts that already."""
    own = limits_of_key(key)
    if any(counted.limit.period == LIFETIME and counted.limit.unit is LimitUnit.USD for counted in own.limits):
        return own
    return ScopeLimits(own.scope, own.calendar, (*own.limits, lifetime_tracker(ms_of(key.rooted_at))))


def _allowed(models: list[str]) -> frozenset[str] | None:
    return frozenset(models) or None
