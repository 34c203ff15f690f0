"""What the data plane knows of a key: its limits and those of its team and user, what it may call, and until when."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from budgets.models import Grant
from budgets.rules.limits import LimitUnit
from budgets.rules.scopes import KEY, MEMBER, TEAM, USER, KeyProfile, ScopeLimits, lifetime_tracker, member_id, root_of
from budgets.rules.windows import LIFETIME
from budgets.services import grants_for, ms_of, scope_limits
from keys.lookup import named
from keys.models import Key
from teams.models import Member
from teams.scopes import limits_of_membership, limits_of_team, limits_of_user

logger = logging.getLogger(__name__)


SELECTED = ("team__budget", "team__member_budget", "user__budget", "budget")


def load_profile(token_hash: str, *, now: datetime) -> KeyProfile | None:
    """The profile of the key with that hash, or that had it before its rotation; None where there is none."""
    key = Key.objects.select_related(*SELECTED).filter(named(token_hash, now=now)).first()
    return None if key is None else _profiles([key], now=now)[0]


def profiles_for(key_ids: Iterable[str], *, now: datetime) -> dict[str, KeyProfile]:
    """The profiles of those keys that still exist, by id. What cannot be read is reported and left out."""
    profiles: dict[str, KeyProfile] = {}
    keys = list(Key.objects.select_related(*SELECTED).filter(id__in=list(key_ids)))
    members, grants = _members(keys), _grants(keys, now=now)
    for key in keys:
        try:
            profiles[str(key.id)] = profile_of(key, member=members.get((key.team_id, key.user_id)), grants=grants)
        except Exception:
            logger.exception("the limits of key %s cannot be read", key.id)
    return profiles


def _profiles(keys: Sequence[Key], *, now: datetime) -> list[KeyProfile]:
    members, grants = _members(keys), _grants(keys, now=now)
    return [profile_of(key, member=members.get((key.team_id, key.user_id)), grants=grants) for key in keys]


def _members(keys: Sequence[Key]) -> dict[tuple[str | None, str | None], Member]:
    in_teams = [key for key in keys if key.team_id is not None and key.user_id is not None]
    if not in_teams:
        return {}
    found = Member.objects.select_related("budget").filter(
        team_id__in={key.team_id for key in in_teams}, user_id__in={key.user_id for key in in_teams}
    )
    return {(member.team_id, member.user_id): member for member in found}


def _grants(keys: Sequence[Key], *, now: datetime) -> list[Grant]:
    scopes: set[tuple[str, str]] = set()
    for key in keys:
        scopes.add((KEY, str(key.id)))
        if key.team_id is not None:
            scopes.add((TEAM, key.team_id))
        if key.user_id is not None:
            scopes.add((USER, key.user_id) if key.team_id is None else _member_scope(key.user_id, team_id=key.team_id))
    return grants_for(scopes, now=now)


def _member_scope(user_id: str, *, team_id: str) -> tuple[str, str]:
    return MEMBER, member_id(user_id, team_id=team_id)


def profile_of(key: Key, *, member: Member | None, grants: Sequence[Grant]) -> KeyProfile:
    """A key with its team, its user and their tiers, which must have been selected with it."""
    team, user = key.team, key.user
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
        scopes=tuple(_scopes(key, member=member, grants=grants)),
        user_id=key.user_id,
        user_blocked=user is not None and not user.is_active,
        user_models=_models_of_user(key, member=member),
        aliases={**({} if team is None else team.model_aliases), **key.model_aliases},
        routes=_allowed(key.allowed_routes),
        tags=tuple(dict.fromkeys([*key.tags, *([] if team is None else team.tags)])),
        has_max_budget=key.max_budget_nanousd is not None,
    )


def _scopes(key: Key, *, member: Member | None, grants: Sequence[Grant]) -> Iterator[ScopeLimits]:
    yield _tracked(key, grants=grants)
    if key.team is None:
        if key.user is not None:
            yield limits_of_user(key.user, grants=grants)
        return
    yield limits_of_team(key.team, grants=grants)
    if key.user_id is not None:
        yield limits_of_membership(key.user_id, team=key.team, member=member, grants=grants)


def _models_of_user(key: Key, *, member: Member | None) -> frozenset[str] | None:
    """What the user may call: in a team what the membership says, else what the user does."""
    if key.team is None:
        return None if key.user is None else _allowed(key.user.allowed_models)
    if key.user_id is None:
        return None
    return _allowed((member.allowed_models if member is not None else []) or key.team.default_member_models)


def limits_of_key(key: Key, *, grants: Sequence[Grant] = ()) -> ScopeLimits:
    """A key's own limits as the gate wants them."""
    return scope_limits(key, kind=KEY, scope_id=str(key.id), grants=grants)


def root_of_key(key: Key) -> str:
    """Where a key's counters live."""
    return root_of(str(key.id), team_id=key.team_id, user_id=key.user_id)


def _tracked(key: Key, *, grants: Sequence[Grant]) -> ScopeLimits:
    """The key's limits and a count of its whole spend, unless one of the limits counts that already."""
    own = limits_of_key(key, grants=grants)
    if any(counted.limit.period == LIFETIME and counted.limit.unit is LimitUnit.USD for counted in own.limits):
        return own
    return replace(own, limits=(*own.limits, lifetime_tracker(ms_of(key.rooted_at))))


def _allowed(models: list[str]) -> frozenset[str] | None:
    return frozenset(models) or None
