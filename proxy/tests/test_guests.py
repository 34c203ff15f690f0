"""Customers and tags: admitted after the key's root, all or none, exactly, on the real Valkey."""

import asyncio
import hashlib
from typing import Any

import pytest
import redis

from budgets.gate.aio import Asking
from budgets.gate.protocol import HOLD_LIFE_MS
from budgets.gate.sync import SyncGate
from budgets.gate.wire import StoreDown, StoreError
from budgets.rules.admission import Admission
from budgets.rules.limits import LimitUnit
from budgets.rules.settlement import decode
from proxy.calls import now_ms
from proxy.tests.factories import MODEL, make_body, make_limit, make_scope, strict
from proxy.tests.gateway import Gateway, assert_nothing_happened, counters, open_holds
from tests.provider.behaviour import Behaviour
from tests.provider.server import Provider

INPUT, OUTPUT = 150, 600  # nano-USD per token
COST = 1000 * INPUT + 10 * OUTPUT


@pytest.fixture(autouse=True)
def _usage(provider: Provider) -> None:
    provider.behave(Behaviour(prompt_tokens=1000, output_tokens=10))


def of_root(store: redis.Redis, gateway: Gateway, root: str) -> list[dict[str, int]]:
    """The counters of one root."""
    stem = f"{gateway.names.prefix}:{{{root}}}:"
    return [each for counter, each in sorted(counters(store, gateway.names).items()) if counter.startswith(stem)]


# --- what is counted ----------------------------------------------------------------------------------


async def test_call_is_charged_to_its_customer_and_its_tags(gateway: Gateway, valkey: redis.Redis) -> None:
    gateway.guests.add("customer", "anna", make_limit(duration="1h"), make_limit(duration="30d"))
    gateway.guests.add("tag", "blue", make_limit())
    body = make_body(user="anna", metadata={"tags": ["blue", "unlimited"]})
    assert (await gateway.ask(body)).status == 200
    [entry] = await gateway.settled()
    assert (entry.customer_id, entry.tags, entry.cost_nanousd) == ("anna", ("blue", "unlimited"), COST)
    done = {"spent": COST, "held": 0}
    assert of_root(valkey, gateway, "customer:anna") == [done, done]
    assert of_root(valkey, gateway, "tag:blue") == [done]
    assert of_root(valkey, gateway, "tag:unlimited") == []
    assert len(counters(valkey, gateway.names)) == 4
    assert open_holds(valkey, gateway.names) == 0
    assert gateway.settler.open_calls == 0


async def test_customer_without_limits_costs_no_round_trip_and_stands_in_the_ledger(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*args: object, **kwargs: object) -> None:
        raise AssertionError("nobody has to be asked")

    monkeypatch.setattr(gateway.plane.gate, "admit_each", never)
    for _ in range(3):
        assert (await gateway.ask(make_body(user="anna"))).status == 200
    assert {entry.customer_id for entry in await gateway.settled()} == {"anna"}
    assert gateway.guests.loads == ["anna"]


@pytest.mark.parametrize(
    ("user", "known_as"),
    [
        ("anna", "anna"),
        ("two words", f"sha256:{hashlib.sha256(b'two words').hexdigest()}"),
        ("x" * 129, f"sha256:{hashlib.sha256(b'x' * 129).hexdigest()}"),
    ],
)
async def test_id_of_a_customer_is_the_same_everywhere(
    gateway: Gateway, valkey: redis.Redis, provider: Provider, user: str, known_as: str
) -> None:
    gateway.guests.add("customer", known_as, make_limit())
    assert (await gateway.ask(make_body(user=user))).status == 200
    assert (await gateway.ask(make_body(), headers={"x-litellm-customer-id": user})).status == 200
    assert [entry.customer_id for entry in await gateway.settled()] == [known_as] * 2
    assert of_root(valkey, gateway, f"customer:{known_as}") == [{"spent": 2 * COST, "held": 0}]
    assert provider.calls[0].payload["user"] == user
    assert "user" not in provider.calls[1].payload


async def test_header_and_body_mean_the_same_text(gateway: Gateway) -> None:
    same = {"x-budgetgate-customer": "ü".encode().decode("latin-1")}
    assert (await gateway.ask(make_body(user="ü"), headers=same)).status == 200


async def test_customer_named_twice_differently_is_400(gateway: Gateway, valkey: redis.Redis) -> None:
    answer = await gateway.ask(make_body(user="anna"), headers={"x-litellm-end-user-id": "berta"})
    assert (answer.status, answer.error["param"]) == (400, "x-litellm-end-user-id")
    await assert_nothing_happened(gateway, valkey)


async def test_tags_come_from_key_body_and_headers_and_only_ours_go_no_further(
    gateway: Gateway, provider: Provider
) -> None:
    gateway.keys.add(tags=("static",))
    body = make_body(metadata={"tags": ["a"], "session": "s1"})
    await gateway.ask(body, headers={"x-litellm-tags": "b, static"})
    await gateway.ask(make_body(metadata={"tags": ["a"]}))
    first, second = await gateway.settled()
    assert (first.tags, second.tags) == (("static", "a", "b"), ("static", "a"))
    assert provider.calls[0].payload["metadata"] == {"session": "s1"}
    assert "metadata" not in provider.calls[1].payload


@pytest.mark.parametrize(
    ("fields", "headers", "param"),
    [
        ({"metadata": {"tags": "a"}}, {}, "metadata.tags"),
        ({"metadata": {"tags": ["a"] * 3 + [7]}}, {}, "metadata.tags"),
        ({}, {"x-litellm-tags": ",".join(str(each) for each in range(21))}, "x-litellm-tags"),
        ({}, {"x-budgetgate-tags": "x" * 129}, "x-budgetgate-tags"),
        ({"user": 5}, {}, "user"),
        ({}, {"x-budgetgate-run": "a b"}, "x-budgetgate-run"),
    ],
)
async def test_bad_labels_are_400_and_say_where(
    gateway: Gateway, valkey: redis.Redis, fields: dict[str, Any], headers: dict[str, str], param: str
) -> None:
    answer = await gateway.ask(make_body(**fields), headers=headers)
    assert (answer.status, answer.error["type"], answer.error["param"]) == (400, "invalid_request_error", param)
    assert len(answer.body) < 1000
    await assert_nothing_happened(gateway, valkey)


# --- who refuses --------------------------------------------------------------------------------------


async def test_customer_that_is_over_refuses_and_leaves_no_hold_with_the_key(
    gateway: Gateway, valkey: redis.Redis, provider: Provider
) -> None:
    gateway.guests.add("customer", "anna", make_limit(0, duration="1d"))
    answer = await gateway.ask(make_body(user="anna"))
    assert (answer.status, answer.error["type"]) == (429, "budget_exceeded")
    assert answer.error["message"] == "ExceededBudget: Customer over 1d budget. Spend=$0.0000, Limit=$0.00"
    assert answer.error["budget"]["scope_id"] == "anna"
    # At once, not when the settler gets to it: the next call must not meet the hold of one that was refused.
    assert open_holds(valkey, gateway.names) == 0
    assert gateway.settler.open_calls == 0
    assert provider.calls == []
    await assert_nothing_happened(gateway, valkey)


async def test_tag_that_the_caller_did_not_give_refuses_without_its_name(gateway: Gateway) -> None:
    gateway.keys.add(tags=("secret",))
    gateway.guests.add("tag", "secret", make_limit(0))
    hidden = (await gateway.ask()).error
    assert hidden["message"] == "ExceededBudget: Tag over 1h budget. Spend=$0.0000, Limit=$0.00"
    assert (hidden["budget"]["scope"], hidden["budget"]["scope_id"]) == ("tag", None)
    named = (await gateway.ask(make_body(metadata={"tags": ["secret"]}))).error
    assert named["budget"]["scope_id"] == "secret"


async def test_key_that_is_over_is_asked_first(gateway: Gateway, valkey: redis.Redis) -> None:
    gateway.keys.add(make_scope(make_limit(0)))
    gateway.guests.add("customer", "anna", make_limit())
    answer = await gateway.ask(make_body(user="anna"))
    assert answer.error["budget"]["scope"] == "key"
    assert of_root(valkey, gateway, "customer:anna") == []
    await assert_nothing_happened(gateway, valkey)


async def test_one_guest_that_refuses_releases_the_others(gateway: Gateway, valkey: redis.Redis) -> None:
    gateway.guests.add("customer", "anna", make_limit())
    gateway.guests.add("tag", "good", make_limit())
    gateway.guests.add("tag", "bad", make_limit(0))
    answer = await gateway.ask(make_body(user="anna", metadata={"tags": ["good", "bad"]}))
    assert answer.error["budget"]["scope_id"] == "bad"
    assert open_holds(valkey, gateway.names) == 0
    await assert_nothing_happened(gateway, valkey)


async def test_blocked_customer_is_401_and_its_models_are_its_own(gateway: Gateway, valkey: redis.Redis) -> None:
    gateway.guests.add("customer", "anna", blocked=True)
    gateway.guests.add("customer", "berta", models=frozenset({"other"}))
    answer = await gateway.ask(make_body(user="anna"))
    assert (answer.status, answer.error["type"], answer.error["param"]) == (401, "auth_error", "user")
    answer = await gateway.ask(make_body(user="berta"))
    assert (answer.status, answer.error["type"]) == (403, "customer_model_access_denied")
    await assert_nothing_happened(gateway, valkey)


async def test_strict_customer_bounds_an_answer_that_nobody_bounded(gateway: Gateway, provider: Provider) -> None:
    gateway.guests.add("customer", "anna", strict(10**9))
    await gateway.ask(make_body(user="anna"))
    assert provider.calls[0].payload["max_completion_tokens"] == 1000


async def test_limit_of_a_customer_for_one_model_leaves_the_others_alone(gateway: Gateway, valkey: redis.Redis) -> None:
    gateway.guests.add("customer", "anna", by_model={f"openai/{MODEL}": [make_limit(0, duration="1d")]})
    gateway.guests.add("customer", "berta", by_model={"other": [make_limit(0)]})
    answer = await gateway.ask(make_body(user="anna"))
    assert answer.error["message"].startswith(f"ExceededBudget: Customer over 1d budget for {MODEL}.")
    assert answer.error["budget"]["model"] == MODEL
    assert (await gateway.ask(make_body(user="berta"))).status == 200
    await gateway.settled()
    assert of_root(valkey, gateway, "customer:berta") == []


# --- races --------------------------------------------------------------------------------------------


async def test_first_calls_of_an_unknown_customer_are_bounded_exactly(
    gateway: Gateway, valkey: redis.Redis, provider: Provider
) -> None:
    gateway.guests.add("customer", "new", make_limit(20, duration="1d", unit=LimitUnit.REQUESTS))
    answers = await asyncio.gather(*(gateway.ask(make_body(user="new")) for _ in range(50)))
    assert sorted(answer.status for answer in answers) == [200] * 20 + [429] * 30
    assert len(await gateway.settled()) == 20
    assert gateway.guests.loads == ["new"]
    assert of_root(valkey, gateway, "customer:new") == [{"spent": 20, "held": 0}]
    assert {counter["held"] for counter in counters(valkey, gateway.names).values()} == {0}


async def test_customer_is_bounded_over_all_keys_that_name_it(gateway: Gateway, valkey: redis.Redis) -> None:
    keys = [f"sk-number-{number}" for number in range(10)]
    for number, key in enumerate(keys):
        gateway.keys.add(key=key, team_id=f"t{number}")
    gateway.guests.add("customer", "anna", make_limit(20, duration="1d", unit=LimitUnit.REQUESTS))
    answers = await asyncio.gather(*(gateway.ask(make_body(user="anna"), key=key) for key in keys * 5))
    assert sorted(answer.status for answer in answers) == [200] * 20 + [429] * 30
    await gateway.settled()
    assert of_root(valkey, gateway, "customer:anna") == [{"spent": 20, "held": 0}]
    spent = sum(of_root(valkey, gateway, f"team:t{number}")[0]["spent"] for number in range(10))
    assert spent == 20 * COST
    assert open_holds(valkey, gateway.names) == 0


async def test_refusals_of_a_guest_leave_the_key_exactly_what_it_spent(gateway: Gateway, valkey: redis.Redis) -> None:
    gateway.keys.add(make_scope(make_limit(1000, duration="1d", unit=LimitUnit.REQUESTS)))
    for number in range(5):
        gateway.guests.add("tag", f"t{number}", make_limit(4, duration="1d", unit=LimitUnit.REQUESTS))
    bodies = [make_body(metadata={"tags": [f"t{number % 5}", f"t{(number + 1) % 5}"]}) for number in range(60)]
    answers = await asyncio.gather(*(gateway.ask(body) for body in bodies))
    admitted = sum(answer.status == 200 for answer in answers)
    assert len(await gateway.settled()) == admitted
    assert 0 < admitted <= 10  # five tags of four calls, two of them in each call
    [home] = of_root(valkey, gateway, "key:0198f000-0000-7000-8000-000000000001")
    assert home == {"spent": admitted, "held": 0}
    tags = [of_root(valkey, gateway, f"tag:t{number}")[0] for number in range(5)]
    assert sum(tag["spent"] for tag in tags) == 2 * admitted
    assert {tag["held"] for tag in tags} == {0}
    assert open_holds(valkey, gateway.names) == 0


# --- bad days -----------------------------------------------------------------------------------------


async def test_unknown_windows_of_all_guests_are_read_at_once(gateway: Gateway) -> None:
    for tag in "abc":
        gateway.guests.add("tag", tag, make_limit(duration="1h"), make_limit(duration="30d"))
    bodies = [make_body(metadata={"tags": ["a", "b", "c"]})] * 10
    assert {answer.status for answer in await asyncio.gather(*map(gateway.ask, bodies))} == {200}
    assert gateway.ledger.reads == [1, 6]


async def test_database_that_is_down_stops_guests_that_nobody_knows(gateway: Gateway, valkey: redis.Redis) -> None:
    gateway.guests.add("customer", "anna", make_limit())
    assert (await gateway.ask(make_body(user="anna"))).status == 200
    assert (await gateway.ask(make_body(user="berta"))).status == 200
    gateway.guests.is_down = gateway.ledger.is_down = True
    assert (await gateway.ask(make_body(user="anna"))).status == 200
    assert (await gateway.ask(make_body(user="berta"))).status == 200
    assert (await gateway.ask(make_body(user="carla"))).status == 503
    gateway.ledger.is_down = False
    assert len(await gateway.settled()) == 4


async def test_guest_that_cannot_be_read_from_the_ledger_leaves_nothing_held(
    gateway: Gateway, valkey: redis.Redis
) -> None:
    await gateway.ask()
    gateway.guests.add("customer", "anna", make_limit())
    gateway.ledger.is_down = True
    answer = await gateway.ask(make_body(user="anna"))
    assert (answer.status, answer.error["type"]) == (503, "service_unavailable")
    gateway.ledger.is_down = False
    assert len(await gateway.settled()) == 1
    assert open_holds(valkey, gateway.names) == 0


@pytest.mark.parametrize("perhaps_done", [True, False])
async def test_store_that_dies_between_the_admissions_refuses_and_takes_the_key_s_hold_back(
    gateway: Gateway, valkey: redis.Redis, monkeypatch: pytest.MonkeyPatch, provider: Provider, perhaps_done: bool
) -> None:
    gateway.guests.add("customer", "anna", make_limit())
    admit_each = gateway.plane.gate.admit_each

    async def dies(askings: list[Asking], **options: Any) -> list[StoreDown]:
        if perhaps_done:
            await admit_each(askings, **options)
        return [StoreDown("lost", perhaps_done=perhaps_done) for _ in askings]

    await gateway.ask(make_body(user="anna"))
    await gateway.settled()
    monkeypatch.setattr(gateway.plane.gate, "admit_each", dies)
    answer = await gateway.ask(make_body(user="anna"))
    assert (answer.status, answer.error["type"]) == (503, "service_unavailable")
    assert len(provider.calls) == 1
    assert len(await gateway.settled()) == 1
    assert open_holds(valkey, gateway.names) == 0
    assert {counter["held"] for counter in counters(valkey, gateway.names).values()} == {0}
    assert gateway.settler.open_calls == 0


async def test_store_that_dies_while_a_refused_call_is_taken_back_releases_it_later(
    gateway: Gateway, valkey: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway.guests.add("customer", "anna", make_limit(0))
    settle, failures = gateway.plane.gate.settle, iter([StoreDown("gone")])

    async def fails_once(calls: Any, **options: Any) -> Any:
        for failure in failures:
            raise failure
        return await settle(calls, **options)

    monkeypatch.setattr(gateway.plane.gate, "settle", fails_once)
    assert (await gateway.ask(make_body(user="anna"))).status == 429
    await assert_nothing_happened(gateway, valkey)


async def test_error_of_the_store_for_one_guest_takes_everything_back(
    gateway: Gateway, valkey: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    for tag in "ab":
        gateway.guests.add("tag", tag, make_limit())
    body = make_body(metadata={"tags": ["a", "b"]})
    await gateway.ask(body)
    admit_each = gateway.plane.gate.admit_each

    async def one_fails(askings: list[Asking], **options: Any) -> list[Admission | StoreDown | StoreError]:
        first, _ = await admit_each(askings, **options)
        return [first, StoreError("WRONGTYPE")]

    monkeypatch.setattr(gateway.plane.gate, "admit_each", one_fails)
    assert (await gateway.ask(body)).status == 503
    assert len(await gateway.settled()) == 1
    assert open_holds(valkey, gateway.names) == 0


async def test_call_that_is_cancelled_between_the_admissions_leaves_no_hold(
    gateway: Gateway, valkey: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway.guests.add("customer", "anna", make_limit())
    await gateway.ask(make_body(user="anna"))
    admit_each, admitted = gateway.plane.gate.admit_each, asyncio.Event()

    async def slow(*args: Any, **kwargs: Any) -> None:
        await admit_each(*args, **kwargs)
        admitted.set()
        await asyncio.sleep(60)

    monkeypatch.setattr(gateway.plane.gate, "admit_each", slow)
    task = asyncio.create_task(gateway.ask(make_body(user="anna")))
    await admitted.wait()
    assert open_holds(valkey, gateway.names) >= 2
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(await gateway.settled()) == 1
    assert open_holds(valkey, gateway.names) == 0


async def test_every_hold_of_a_call_has_its_own_windows_and_the_same_entry(
    gateway: Gateway, valkey: redis.Redis, provider: Provider
) -> None:
    gateway.guests.add("customer", "anna", make_limit())
    gateway.guests.add("tag", "blue", make_limit())
    provider.behave(Behaviour(delay_s=5))
    task = asyncio.create_task(gateway.ask(make_body(user="anna", metadata={"tags": ["blue"]})))
    await asyncio.to_thread(provider.wait_until, lambda calls: len(calls) == 1)
    gate = SyncGate(valkey, gateway.names)
    roots = set(gate.noted_roots())
    assert {"customer:anna", "tag:blue"} < roots
    later_ms = now_ms() + HOLD_LIFE_MS + 1000
    records = {root: gate.expired_holds(root, now_ms=later_ms, most=9) for root in roots}
    settlements = {root: decode(record) for root, [record] in ((r, [*found.values()]) for r, found in records.items())}
    assert len({settlement.entry.id for settlement in settlements.values()}) == 1
    assert len({settlement.entry.cost_nanousd for settlement in settlements.values()}) == 1
    for root, settlement in settlements.items():
        assert [group.root for group in settlement.groups] == [root]
        assert all(f"{{{root}}}" in window.counter for window in settlement.groups[0].windows)
    await gateway.settler.extend_holds()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await assert_nothing_happened(gateway, valkey)
