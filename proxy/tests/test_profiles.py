"""What is known of keys is fresh, or not used, or all there is in an outage; and it is read once for all who ask."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from budgets.rules.scopes import GuestProfile, KeyProfile
from proxy import cache as cache_module
from proxy.cache import DOWN_MS, FRESH_MS, OUTAGE_MS, RETRY_MS, USABLE_MS, DatabaseDown
from proxy.profiles import CachedKey, GuestCache, ProfileCache
from proxy.tests.factories import NAMES, make_limit, make_profile, make_scope

NOW = 1_800_000_000_000  # 08:00 UTC
HOUR = 3600_000


class Database:
    """Profiles by hash. While `gate` is closed, readings wait; the answer is what was there when they began."""

    def __init__(self, **profiles: KeyProfile | None) -> None:
        self.profiles = dict(profiles)
        self.error: Exception | None = None
        self.loads = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def load(self, token_hash: str) -> KeyProfile | None:
        self.loads += 1
        profile, error = self.profiles.get(token_hash), self.error
        await self.gate.wait()
        if error is not None:
            raise error
        return profile


@pytest.fixture
async def database() -> Database:
    return Database(a=make_profile(alias="old"))


@pytest.fixture
async def cache(database: Database) -> AsyncIterator[ProfileCache]:
    """Also shows that no reading's error is left without somebody who looked at it."""
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    yield ProfileCache(database.load, names=NAMES)
    await ticks()
    assert told == []


async def ticks() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def alias_of(cache: ProfileCache, token_hash: str = "a", *, at: int = NOW) -> str | None:
    cached = await cache.get(token_hash, now_ms=at)
    assert cached is not None
    return cached.profile.alias


async def test_fresh_profile_is_not_read_again(cache: ProfileCache, database: Database) -> None:
    assert await alias_of(cache) == "old"
    assert await alias_of(cache, at=NOW + FRESH_MS - 1) == "old"
    assert database.loads == 1


async def test_usable_profile_is_used_while_it_is_read_again(cache: ProfileCache, database: Database) -> None:
    await alias_of(cache)
    database.profiles["a"] = make_profile(alias="new")
    assert await alias_of(cache, at=NOW + FRESH_MS) == "old"
    await ticks()
    assert await alias_of(cache, at=NOW + FRESH_MS) == "new"
    assert database.loads == 2


async def test_profile_that_is_too_old_is_read_before_it_is_used(cache: ProfileCache, database: Database) -> None:
    await alias_of(cache)
    database.profiles["a"] = make_profile(alias="new")
    assert await alias_of(cache, at=NOW + USABLE_MS) == "new"


async def test_key_that_is_gone_is_found_out(cache: ProfileCache, database: Database) -> None:
    await alias_of(cache)
    del database.profiles["a"]
    assert await cache.get("a", now_ms=NOW + USABLE_MS) is None
    assert await cache.get("a", now_ms=NOW + USABLE_MS + 1) is None
    assert database.loads == 2


async def test_hundred_calls_at_once_read_once(cache: ProfileCache, database: Database) -> None:
    assert await asyncio.gather(*(alias_of(cache) for _ in range(100))) == ["old"] * 100
    assert database.loads == 1


async def test_caller_that_gives_up_takes_nobody_with_it(cache: ProfileCache, database: Database) -> None:
    database.gate.clear()
    first, second = asyncio.create_task(alias_of(cache)), asyncio.create_task(alias_of(cache))
    await ticks()
    first.cancel()
    await ticks()
    database.gate.set()
    assert await second == "old"
    assert first.cancelled()


# --- changes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", ["drop", "drop_team", "clear"])
async def test_change_is_seen_by_the_next_call(cache: ProfileCache, database: Database, change: str) -> None:
    database.profiles["a"] = make_profile(alias="old", team_id="a")
    await alias_of(cache)
    database.profiles["a"] = make_profile(alias="new", team_id="a")
    getattr(cache, change)(*([] if change == "clear" else ["a"]))
    assert await alias_of(cache) == "new"


@pytest.mark.parametrize("change", ["drop", "drop_team", "clear"])
async def test_reading_that_began_before_a_change_serves_no_call_after_it(
    cache: ProfileCache, database: Database, change: str
) -> None:
    database.gate.clear()
    before = asyncio.create_task(alias_of(cache))
    await ticks()
    database.profiles["a"] = make_profile(alias="new")
    getattr(cache, change)(*([] if change == "clear" else ["a"]))
    after = asyncio.create_task(alias_of(cache))
    await ticks()
    database.gate.set()
    assert await before == "old"
    assert await after == "new"
    assert await alias_of(cache) == "new"


async def test_key_that_is_made_while_it_is_looked_for_is_not_forgotten(
    cache: ProfileCache, database: Database
) -> None:
    database.gate.clear()
    before = asyncio.create_task(cache.get("b", now_ms=NOW))
    await ticks()
    database.profiles["b"] = make_profile(alias="made")
    cache.drop("b")
    database.gate.set()
    assert await before is None
    assert await alias_of(cache, "b") == "made"


async def test_other_teams_stay_known(cache: ProfileCache, database: Database) -> None:
    database.profiles["a"] = make_profile(team_id="t1")
    await alias_of(cache)
    cache.drop_team("t2")
    await alias_of(cache)
    assert database.loads == 1


# --- unknown keys -------------------------------------------------------------------------------------


async def test_unknown_key_is_asked_for_once_in_a_while(cache: ProfileCache, database: Database) -> None:
    assert await cache.get("nobody", now_ms=NOW) is None
    assert await cache.get("nobody", now_ms=NOW + FRESH_MS - 1) is None
    assert database.loads == 1
    database.profiles["nobody"] = make_profile(alias="made")
    assert await alias_of(cache, "nobody", at=NOW + FRESH_MS) == "made"


async def test_unknown_keys_are_forgotten_when_there_are_many(
    cache: ProfileCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "_unknown_max", 3)
    for number in range(10):
        await cache.get(f"made-up-{number}", now_ms=NOW)
    assert list(cache._unknown) == ["made-up-7", "made-up-8", "made-up-9"]


async def test_keys_are_forgotten_oldest_first_when_there_are_many(
    cache: ProfileCache, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "_known_max", 2)
    database.profiles |= {name: make_profile(alias=name) for name in "bc"}
    for name in "abac":
        await alias_of(cache, name, at=NOW)
    assert list(cache._known) == ["b", "c"]


async def test_readings_that_wait_for_the_database_are_bounded(
    cache: ProfileCache, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await alias_of(cache)
    monkeypatch.setattr(cache_module, "LOADS_MAX", 5)
    database.gate.clear()
    asked = [asyncio.create_task(cache.get(f"made-up-{number}", now_ms=NOW)) for number in range(20)]
    await ticks()
    assert database.loads == 1 + 5
    assert await alias_of(cache, at=NOW + USABLE_MS) == "old"  # with what is known
    database.gate.set()
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert sum(isinstance(outcome, DatabaseDown) for outcome in outcomes) == 15


# --- outages ------------------------------------------------------------------------------------------


async def test_unknown_key_during_an_outage_is_an_outage(cache: ProfileCache, database: Database) -> None:
    database.error = DatabaseDown("down")
    with pytest.raises(DatabaseDown):
        await cache.get("b", now_ms=NOW)
    database.error = None
    assert await cache.get("b", now_ms=NOW) is None


async def test_known_key_goes_on_during_an_outage_but_not_for_ever(cache: ProfileCache, database: Database) -> None:
    await alias_of(cache)
    database.error = DatabaseDown("down")
    assert await alias_of(cache, at=NOW + USABLE_MS) == "old"
    assert await alias_of(cache, at=NOW + OUTAGE_MS - 1) == "old"
    with pytest.raises(DatabaseDown):
        await cache.get("a", now_ms=NOW + OUTAGE_MS)


async def test_database_that_is_down_is_asked_once_a_second(cache: ProfileCache, database: Database) -> None:
    await alias_of(cache)
    database.error = DatabaseDown("down")
    for at in range(NOW + USABLE_MS, NOW + USABLE_MS + 3 * RETRY_MS, 10):
        assert await alias_of(cache, at=at) == "old"
        await ticks()
    assert database.loads == 1 + 3


async def test_calls_of_a_known_key_do_not_wait_for_a_database_that_hangs(
    cache: ProfileCache, database: Database
) -> None:
    await alias_of(cache)
    database.error = DatabaseDown("down")
    assert await alias_of(cache, at=NOW + USABLE_MS) == "old"
    database.gate.clear()
    async with asyncio.timeout(1):
        assert await alias_of(cache, at=NOW + USABLE_MS + DOWN_MS - 1) == "old"
    database.gate.set()


async def test_outage_that_is_over_leaves_no_old_profile_behind(cache: ProfileCache, database: Database) -> None:
    await alias_of(cache)
    database.error = DatabaseDown("down")
    await alias_of(cache, at=NOW + USABLE_MS)
    database.error, database.profiles["a"] = None, make_profile(alias="new")
    await alias_of(cache, at=NOW + USABLE_MS + RETRY_MS)
    await ticks()
    assert await alias_of(cache, at=NOW + USABLE_MS + RETRY_MS) == "new"


async def test_failure_long_ago_is_no_outage(cache: ProfileCache, database: Database) -> None:
    await alias_of(cache)
    database.error = DatabaseDown("down")
    await alias_of(cache, at=NOW + USABLE_MS)
    database.error, database.profiles["a"] = None, make_profile(alias="new")
    assert await alias_of(cache, at=NOW + USABLE_MS + DOWN_MS) == "new"


async def test_many_calls_during_an_outage_write_one_line(
    cache: ProfileCache, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    await alias_of(cache)
    database.error = DatabaseDown("down")
    await asyncio.gather(*(alias_of(cache, at=NOW + FRESH_MS) for _ in range(50)))
    await ticks()
    assert caplog.text.count("the database is down") == 1


async def test_defect_in_a_reading_that_nobody_waits_for_is_logged(
    cache: ProfileCache, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    await alias_of(cache)
    database.error = RuntimeError("a defect")
    assert await alias_of(cache, at=NOW + FRESH_MS) == "old"
    await ticks()
    assert "a defect" in caplog.text


# --- windows ------------------------------------------------------------------------------------------


def test_windows_are_worked_out_again_when_the_first_of_them_ends() -> None:
    limits = (make_limit(duration="1h"), make_limit(duration="1d"), make_limit(duration=None))
    key = CachedKey(make_profile(make_scope(*limits)), names=NAMES, loaded_ms=NOW)
    windows = key.windows(NOW)
    assert [active.window.start_ms for active in windows] == [NOW, NOW - 8 * HOUR, 0]
    assert key.windows(NOW + HOUR - 1) is windows
    later = key.windows(NOW + HOUR)
    assert [active.window.start_ms for active in later] == [NOW + HOUR, NOW - 8 * HOUR, 0]
    assert later[0].counter != windows[0].counter


def test_windows_of_key_and_team_are_in_one_slot_of_the_store() -> None:
    scopes = make_scope(make_limit()), make_scope(make_limit(), kind="team", scope_id="t1")
    key = CachedKey(make_profile(*scopes, team_id="t1"), names=NAMES, loaded_ms=NOW)
    assert {active.counter.partition("}")[0] for active in key.windows(NOW)} == {"bgtest:{team:t1"}


def test_key_without_limits_has_no_windows() -> None:
    assert CachedKey(make_profile(), names=NAMES, loaded_ms=NOW).windows(NOW) == ()


async def test_user_s_keys_are_forgotten_together(cache: ProfileCache, database: Database) -> None:
    database.profiles |= {"a": make_profile(alias="old", user_id="u1"), "b": make_profile(alias="other", user_id="u2")}
    await alias_of(cache, "a")
    await alias_of(cache, "b")
    database.profiles["a"] = make_profile(alias="new", user_id="u1")
    cache.drop_user("u1")
    assert await alias_of(cache, "a") == "new"
    assert await alias_of(cache, "b") == "other"
    assert database.loads == 3


# --- guests -------------------------------------------------------------------------------------------


class Guests:
    """Customers by id; the kinds are noted."""

    def __init__(self) -> None:
        self.profiles: dict[str, GuestProfile] = {}
        self.error: Exception | None = None
        self.asked: list[tuple[str, str]] = []

    async def load(self, kind: str, guest_id: str) -> GuestProfile | None:
        self.asked.append((kind, guest_id))
        if self.error is not None:
            raise self.error
        return self.profiles.get(guest_id)


async def test_that_a_guest_has_no_limits_is_known_like_everything_else() -> None:
    guests = Guests()
    cache = GuestCache(guests.load, names=NAMES)
    for at in (NOW, NOW + FRESH_MS - 1):
        assert (await cache.all(["customer:a:b"], now_ms=at))[0].profile is None
    assert guests.asked == [("customer", "a:b")]
    guests.error = DatabaseDown("down")
    for at in (NOW + FRESH_MS, NOW + USABLE_MS, NOW + OUTAGE_MS - 1):
        assert (await cache.all(["customer:a:b"], now_ms=at))[0].windows(at) == ()
        await ticks()
    with pytest.raises(DatabaseDown):
        await cache.all(["customer:another"], now_ms=NOW)


async def test_guest_that_gets_limits_is_read_again_at_once_when_it_is_said() -> None:
    guests = Guests()
    cache = GuestCache(guests.load, names=NAMES)
    await cache.all(["customer:a"], now_ms=NOW)
    guests.profiles["a"] = GuestProfile(make_scope(make_limit(), kind="customer", scope_id="a"))
    assert (await cache.all(["customer:a"], now_ms=NOW))[0].windows(NOW) == ()
    cache.drop("customer:a")
    [active] = (await cache.all(["customer:a"], now_ms=NOW))[0].windows(NOW)
    assert active.counter.startswith("bgtest:{customer:a}:customer:a:usd/1h:")
    await cache.all(["tag:a"], now_ms=NOW)
    assert guests.asked[-1] == ("tag", "a")


async def test_guests_of_a_call_are_read_at_the_same_time_and_each_once() -> None:
    guests, names = Guests(), [f"tag:{number % 5}" for number in range(10)]
    cache = GuestCache(guests.load, names=NAMES)
    assert len(await cache.all(names, now_ms=NOW)) == 10
    assert len(await cache.all(names[:3], now_ms=NOW)) == 3
    assert guests.asked == [("tag", str(number)) for number in range(5)]


async def test_guests_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    guests = Guests()
    cache = GuestCache(guests.load, names=NAMES)
    assert cache._known_max == 100_000
    monkeypatch.setattr(cache, "_known_max", 3)
    for number in range(10):
        await cache.all([f"customer:{number}"], now_ms=NOW)
    assert list(cache._known) == ["customer:7", "customer:8", "customer:9"]


def test_windows_of_models_are_bounded() -> None:
    scope = make_scope(make_limit(), by_model={"m": [make_limit()]})
    key = CachedKey(make_profile(scope), names=NAMES, loaded_ms=NOW)
    for number in range(250):
        assert len(key.windows_for(NOW, spellings=("m", str(number)), model="m")) == 2
    assert len(key._by_model) <= 100
