"""Whether a key may make a call now, and which models it may call."""

from proxy import errors
from proxy.errors import ApiError
from proxy.profiles import CachedKey


def barred(key: CachedKey, *, at_ms: int) -> ApiError | None:
    """Why the key makes no calls at this instant, if it does not."""
    profile = key.profile
    if profile.blocked:
        return errors.blocked_key()
    if profile.team_blocked:
        return errors.blocked_team(profile.team_id)
    if profile.expires_ms is not None and profile.expires_ms <= at_ms:
        return errors.expired_key(profile.expires_ms)
    return None


def model_denied(key: CachedKey, names: set[str]) -> ApiError | None:
    """One model can have two spellings (`gpt-4o`, `openai/gpt-4o`); a list that has one of them allows both."""
    if key.profile.models is not None and key.profile.models.isdisjoint(names):
        return errors.model_denied(min(names), holder="key")
    if key.profile.team_models is not None and key.profile.team_models.isdisjoint(names):
        return errors.model_denied(min(names), holder="team")
    return None


def models_of(key: CachedKey, *, names: list[str]) -> list[str]:
    """Those of the models that the key may call."""
    return [name for name in names if model_denied(key, {name}) is None]
