"""Whether a key may make a call now, from which addresses, and which models it may call."""

from collections.abc import Callable, Iterable

from budgets.rules.routes import route_allowed
from budgets.rules.scopes import GuestProfile, KeyProfile
from catalog.routing import ResolvedRoute
from proxy import errors
from proxy.errors import ApiError


def barred(profile: KeyProfile, *, at_ms: int) -> ApiError | None:
    """Why the key makes no calls at this instant, if it does not."""
    if profile.blocked:
        return errors.blocked_key()
    if profile.team_blocked:
        return errors.blocked_team(profile.team_id)
    if profile.user_blocked:
        return errors.blocked_user(profile.user_id)
    if profile.expires_ms is not None and profile.expires_ms <= at_ms:
        return errors.expired_key(profile.expires_ms)
    return None


def route_denied(profile: KeyProfile, *, path: str) -> ApiError | None:
    """Why the key does not reach the address, if it does not."""
    if profile.routes is None or route_allowed(profile.routes, path):
        return None
    return errors.route_denied(profile.routes, path)


def target_of(profile: KeyProfile, *, asked: str) -> str:
    """The name of a route that the caller's name of a model stands for: one step, an alias names no alias."""
    return profile.aliases.get(asked, asked) if profile.aliases else asked


def names_of(asked: str, *, target: str, route: ResolvedRoute) -> tuple[str, ...]:
    """What callers and admins may call the model of a call: all of it is one model."""
    qualified = f"{route.provider}/{route.upstream_model}"
    bare = route.model.removeprefix(f"{route.provider}/")
    return asked, target, route.model, qualified, bare


def spellings_of(
    profile: KeyProfile, *, asked: str, route: ResolvedRoute, resolve: Callable[[str], ResolvedRoute | None]
) -> tuple[str, ...]:
    """Every name that a limit of the model may have: also that of another alias for it, or calling the model by its own
    name would pass by a limit of the alias. Unless that is the name of a model, too."""
    target = target_of(profile, asked=asked)
    aliases = [alias for alias, meant in profile.aliases.items() if meant == target and alias != asked]
    others = [alias for alias in aliases if resolve(alias) is None]
    return *names_of(asked, target=target, route=route), *others


def model_denied(profile: KeyProfile, *, asked: str, names: set[str]) -> ApiError | None:
    """One model can have two spellings (`gpt-4o`, `openai/gpt-4o`); a list that has one of them allows both.

    An alias counts for the key's own list alone: whoever may give a key aliases must not reach with one of them what
    the lists of its team or its user leave out.
    """
    if profile.models is not None and asked not in profile.models and profile.models.isdisjoint(names):
        return errors.model_denied(asked, holder="key")
    if profile.team_models is not None and profile.team_models.isdisjoint(names):
        return errors.model_denied(asked, holder="team")
    if profile.user_models is not None and profile.user_models.isdisjoint(names):
        return errors.model_denied(asked, holder="user" if profile.team_id is None else "member")
    return None


def guest_denied(guest: GuestProfile, *, asked: str, names: set[str]) -> ApiError | None:
    """Why a customer's or a tag's call is not made, if it is not."""
    kind = guest.limits.scope.kind
    if guest.blocked:
        return errors.blocked_customer(guest.limits.scope.id)
    if guest.models is not None and guest.models.isdisjoint(names):
        return errors.model_denied(asked, holder=kind)
    return None


def models_of(profile: KeyProfile, *, names: Iterable[str]) -> list[str]:
    """Those of the models that the key may call, and its aliases for them."""
    known = dict.fromkeys(names)
    listed = [name for name in known if model_denied(profile, asked=name, names={name}) is None]
    aliases = [
        alias
        for alias, target in sorted(profile.aliases.items())
        if target in known and model_denied(profile, asked=alias, names={target}) is None
    ]
    return list(dict.fromkeys([*listed, *aliases]))
