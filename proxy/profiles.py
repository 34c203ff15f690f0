"""What this process knows of keys, customers and tags: profiles and their open windows, kept for seconds."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from budgets.gate.protocol import Names
from budgets.gate.windows import ActiveWindow, active_windows, model_windows
from budgets.rules.money import exact_usd
from budgets.rules.scopes import GuestProfile, KeyProfile, ScopeLimits
from proxy.cache import FRESH_MS, FreshCache

UNKNOWN_KEYS_MAX = 10_000
KEYS_MAX = 200_000
GUESTS_MAX = 100_000
MODELS_OF_RECORD_MAX = 100

LoadKey = Callable[[str], Awaitable[KeyProfile | None]]
LoadGuest = Callable[[str, str], Awaitable[GuestProfile | None]]
_Windows = tuple[ActiveWindow, ...]


class CachedScopes:
    """Scopes of one root with the windows that are open now; worked out again when the first of them changes."""

    __slots__ = ("_by_model", "_names", "_scopes", "_until_ms", "_windows", "has_models", "loaded_ms", "root")

    def __init__(self, scopes: tuple[ScopeLimits, ...], *, root: str, names: Names, loaded_ms: int) -> None:
        self.root = root
        self.loaded_ms = loaded_ms
        self.has_models = any(scope.by_model for scope in scopes)
        self._scopes = scopes
        self._names = names
        self._windows: _Windows = ()
        self._until_ms = -1
        self._by_model: dict[tuple[str, ...], tuple[int, _Windows]] = {}

    def windows(self, now_ms: int) -> _Windows:
        """The open window of every limit that holds for all models."""
        if not now_ms < self._until_ms:
            self._windows = active_windows(self._scopes, names=self._names, root=self.root, now_ms=now_ms)
            self._until_ms = _until_ms(self._windows, now_ms=now_ms)
        return self._windows

    def windows_for(self, now_ms: int, *, spellings: tuple[str, ...], model: str) -> _Windows:
        """Those, and the open window of every limit for the model, by any of its spellings."""
        always = self.windows(now_ms)
        if not self.has_models:
            return always
        until_ms, found = self._by_model.get(spellings, (-1, ()))
        if not now_ms < until_ms:
            found = model_windows(
                self._scopes, spellings=spellings, model=model, names=self._names, root=self.root, now_ms=now_ms
            )
            if len(self._by_model) >= MODELS_OF_RECORD_MAX:
                self._by_model.clear()
            self._by_model[spellings] = _until_ms(found, now_ms=now_ms), found
        return always + found


def _until_ms(windows: _Windows, *, now_ms: int) -> int:
    return min((active.until_ms for active in windows), default=now_ms + FRESH_MS)


class CachedKey(CachedScopes):
    """A key's profile with the windows of the key, its team and its user."""

    __slots__ = ("profile",)

    def __init__(self, profile: KeyProfile, *, names: Names, loaded_ms: int) -> None:
        super().__init__(profile.scopes, root=profile.root, names=names, loaded_ms=loaded_ms)
        self.profile = profile

    def max_budget(self, now_ms: int) -> str | None:
        """The key's own `max_budget` in USD, with what grants add to it now."""
        if not self.profile.has_max_budget:
            return None
        return exact_usd(self.windows(now_ms)[0].limit.maximum or 0)


class CachedGuest(CachedScopes):
    """What is known of a customer or a tag. A `profile` of None says that it has no limits and nothing forbids it."""

    __slots__ = ("profile",)

    def __init__(self, profile: GuestProfile | None, *, names: Names, loaded_ms: int) -> None:
        scopes, root = ((), "") if profile is None else ((profile.limits,), profile.root)
        super().__init__(scopes, root=root, names=names, loaded_ms=loaded_ms)
        self.profile = profile


class ProfileCache(FreshCache[CachedKey]):
    """Profiles by token hash."""

    def __init__(self, load: LoadKey, *, names: Names) -> None:
        async def read(token_hash: str, now_ms: int) -> CachedKey | None:
            profile = await load(token_hash)
            return None if profile is None else CachedKey(profile, names=names, loaded_ms=now_ms)

        super().__init__(read, what="key", known_max=KEYS_MAX, unknown_max=UNKNOWN_KEYS_MAX)

    def drop_team(self, team_id: str) -> None:
        """Forgets every key of a team."""
        self.drop_where(lambda cached: cached.profile.team_id == team_id)

    def drop_user(self, user_id: str) -> None:
        """Forgets every key of a user."""
        self.drop_where(lambda cached: cached.profile.user_id == user_id)


class GuestCache(FreshCache[CachedGuest]):
    """Customers and tags by `<kind>:<id>`. That one has no limits is known like everything else, also in an outage."""

    def __init__(self, load: LoadGuest, *, names: Names) -> None:
        async def read(name: str, now_ms: int) -> CachedGuest:
            kind, _, guest_id = name.partition(":")
            return CachedGuest(await load(kind, guest_id), names=names, loaded_ms=now_ms)

        super().__init__(read, what="customer or tag", known_max=GUESTS_MAX, unknown_max=0)

    async def all(self, names: Sequence[str], *, now_ms: int) -> list[CachedGuest]:
        """What is known of each, read at the same time where it has to be read. Raises DatabaseDown."""
        fresh = [guest for name in names if (guest := self.fresh(name, now_ms=now_ms)) is not None]
        if len(fresh) == len(names):
            return fresh
        return await asyncio.gather(*(self._guest(name, now_ms=now_ms) for name in names))

    async def _guest(self, name: str, *, now_ms: int) -> CachedGuest:
        cached = await self.get(name, now_ms=now_ms)
        assert cached is not None, "a guest that is not there has a record that says so"
        return cached
