"""What happens when two want something of a key at the same moment: all or nothing, and never an error of ours."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import partial
from threading import Barrier, Event
from time import sleep

import pytest
from django.db import IntegrityError, connections, transaction

from budgets.errors import ConflictError, InputError, NotFoundError
from budgets.grants import Wanted, grant
from budgets.models import Budget, Change
from budgets.tiers import create_tier, delete_tier, update_tier
from keys.deletion import delete_keys
from keys.models import DeletedKey, Key
from keys.profiles import load_profile
from keys.rotation import Rotation, rotate_key
from keys.services import CreatedKey, create_key, set_blocked, update_key
from teams.models import Team, User
from teams.services import create_team
from tests.api import NOW

LATER = NOW + timedelta(minutes=10)
EXPECTED = (InputError, NotFoundError, ConflictError)
pytestmark = pytest.mark.django_db(transaction=True)


def at_once(*calls: Callable[[], object]) -> list[object]:
    """All calls from the same moment, each on a connection of its own: answers, or errors that are told to callers."""
    barrier = Barrier(len(calls))

    def run(call: Callable[[], object]) -> object:
        try:
            barrier.wait(timeout=10)
            return call()
        except EXPECTED as error:
            return error
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def errors(answers: list[object]) -> list[Exception]:
    return [answer for answer in answers if isinstance(answer, Exception)]


@pytest.mark.parametrize("grace", [None, "24h"])
def test_of_two_rotations_at_once_one_wins_and_its_text_works(grace: str | None) -> None:
    for _ in range(5):
        made = create_key({}, now=NOW)
        answers = at_once(*[partial(rotate_key, made.text, Rotation({}, grace=grace), now=LATER)] * 3)
        refused = errors(answers)
        assert len(refused) == 2
        assert {type(error) for error in refused} == {NotFoundError if grace is None else ConflictError}
        [winner] = [answer for answer in answers if isinstance(answer, CreatedKey)]
        key = Key.objects.get(id=made.key.id)
        assert (key.rotation_count, key.token_hash) == (1, winner.key.token_hash)
        assert (load_profile(made.key.token_hash, now=LATER) is None) == (grace is None)


def test_a_block_during_an_update_is_kept() -> None:
    for _ in range(5):
        key = create_key({}, now=NOW).key
        answers = at_once(
            partial(update_key, key.token_hash, {"max_budget_nanousd": 7}, now=LATER),
            partial(set_blocked, key.token_hash, True, now=LATER),
            partial(update_key, key.token_hash, {"key_alias": None, "tags": ["a"]}, now=LATER),
        )
        assert not errors(answers)
        key.refresh_from_db()
        assert (key.max_budget_nanousd, key.blocked, key.tags) == (7, True, ["a"])


def test_an_update_and_a_deletion_at_once_leave_a_whole_key_or_none() -> None:
    for _ in range(5):
        key = create_key({}, now=NOW).key
        answers = at_once(
            partial(delete_keys, [key.token_hash], field="keys", now=LATER),
            partial(update_key, key.token_hash, {"max_budget_nanousd": 7}, now=LATER),
            partial(rotate_key, key.token_hash, Rotation({}), now=LATER),
            partial(delete_keys, [key.token_hash], field="keys", now=LATER),
        )
        left = Key.objects.filter(id=key.id).count()
        assert DeletedKey.objects.filter(id=key.id).count() == 1 - left
        assert {type(error) for error in errors(answers)} <= {NotFoundError}
        assert Change.objects.filter(subject_id=str(key.id), action="delete").count() == 1 - left


def test_aliases_swapped_at_once_are_given_once() -> None:
    keys = [create_key({}, now=NOW).key for _ in range(4)]
    answers = at_once(*[partial(update_key, key.token_hash, {"key_alias": "one"}, now=LATER) for key in keys])
    assert [error.field for error in errors(answers) if isinstance(error, InputError)] == ["key_alias"] * 3
    assert Key.objects.filter(key_alias="one").count() == 1


def test_a_key_is_never_left_in_a_team_or_with_a_user_that_is_gone() -> None:
    for number in range(5):
        team_id, user_id = f"t{number}", f"u{number}"
        create_team({}, team_id=team_id, now=NOW)
        User.objects.create_user(user_id)

        def remove(team_id: str = team_id, user_id: str = user_id) -> None:
            with suppress(IntegrityError):
                Team.objects.filter(team_id=team_id)._raw_delete("default")
                User.objects.filter(username=user_id)._raw_delete("default")

        at_once(partial(create_key, {"team_id": team_id, "user_id": user_id}, now=NOW), remove)
        for key in Key.objects.filter(team_id=team_id):
            assert Team.objects.filter(team_id=key.team_id).exists()
            assert User.objects.filter(username=key.user_id).exists()


def test_a_tier_is_deleted_or_taken_and_never_both() -> None:
    for number in range(6):
        budget_id = f"b{number}"
        create_tier({"max_budget_nanousd": 5}, budget_id=budget_id, now=NOW)
        key = create_key({}, now=NOW).key
        answers = at_once(
            partial(delete_tier, budget_id, now=LATER),
            partial(update_key, key.token_hash, {"budget_id": budget_id}, now=LATER),
            partial(update_tier, budget_id, {"max_budget_nanousd": 6}, now=LATER),
        )
        key.refresh_from_db()
        assert (key.budget_id is None) != Budget.objects.filter(budget_id=budget_id).exists(), answers
        assert len(errors(answers)) >= 1


def test_a_tier_of_many_and_its_keys_change_at_once() -> None:
    create_tier({"max_budget_nanousd": 5, "budget_duration": "1d"}, budget_id="b1", now=NOW)
    keys = [create_key({"budget_id": "b1"}, now=NOW).key for _ in range(6)]
    changes = [partial(update_tier, "b1", {"max_budget_nanousd": number}, now=LATER) for number in (7, 8)]
    updates = [partial(update_key, key.token_hash, {"rpm_limit": 5, "budget_id": None}, now=LATER) for key in keys[:3]]
    others = [partial(update_key, key.token_hash, {"tags": ["a"]}, now=LATER) for key in keys[3:]]
    assert not errors(at_once(*changes, *updates, *others))
    assert Budget.objects.get().max_budget_nanousd in (7, 8)
    assert Key.objects.filter(budget=None, rpm_limit=5).count() == 3


def test_grants_at_once_all_count() -> None:
    key = create_key({"max_budget_nanousd": 10}, now=NOW).key
    wanted = Wanted("0.5", until=LATER + timedelta(days=1))
    assert not errors(at_once(*[partial(grant, "key", key.token_hash, wanted, now=LATER)] * 4))
    profile = load_profile(key.token_hash, now=LATER)
    assert profile is not None
    assert [raised.amount for raised in profile.scopes[0].limits[0].raises] == [500_000_000] * 4


@contextmanager
def held_back(key: Key, **changes: object) -> Iterator[None]:
    """Another transaction that has changed the key, and commits while what is inside of this waits for its lock."""
    held = Event()

    def change() -> None:
        try:
            with transaction.atomic():
                Key.objects.filter(pk=key.pk).update(**changes)
                held.set()
                wait_for_a_waiter()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(change)
        assert held.wait(timeout=10)
        yield
        other.result()


def wait_for_a_waiter() -> None:
    """Until some transaction of this database waits for a lock."""
    for _ in range(1000):
        with connections["default"].cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            if cursor.fetchone() != (0,):
                return
        sleep(0.01)
    raise AssertionError("nobody waits for the lock")


def test_a_tier_and_a_team_given_during_an_update_are_kept() -> None:
    create_tier({"max_budget_nanousd": 5}, budget_id="b1", now=NOW)
    create_tier({"max_budget_nanousd": 6}, budget_id="b2", now=NOW)
    create_team({}, team_id="t1", now=NOW)
    key = create_key({"budget_id": "b1"}, now=NOW).key
    with held_back(key, budget="b2", team="t1"):
        update_key(key.token_hash, {"rpm_limit": 7}, now=LATER)
    key = Key.objects.get()
    assert (key.budget_id, key.team_id, key.rpm_limit) == ("b2", "t1", 7)


def test_a_key_that_got_a_tier_during_its_deletion_leaves_its_last_state() -> None:
    create_tier({"max_budget_nanousd": 6}, budget_id="b2", now=NOW)
    key = create_key({}, now=NOW).key
    with held_back(key, budget="b2", counted_since={"tier": "2037-11-23T13:00:00Z"}):
        delete_keys([key.token_hash], field="keys", now=LATER)
    assert DeletedKey.objects.get().row["budget_id"] == "b2"
