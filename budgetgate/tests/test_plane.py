"""The assembled data plane over the real PostgreSQL and Valkey: guests from the database, and gateways that die."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest
import redis
from django.conf import LazySettings
from django.db import connection
from django.utils import timezone

from budgetgate import plane as plane_module
from budgetgate.explaining import Explanation, Question, explain
from budgetgate.plane import AssembledPlane
from budgets.gate.changes import publish
from budgets.gate.protocol import HOLD_LIFE_MS
from budgets.gate.store import names, sync_gate
from budgets.models import Budget
from budgets.rules.admission import Verdict
from budgets.rules.limits import Limit, parse_limits
from budgets.services import LimitSet, calendar_of, set_limits
from catalog.pricing import Usage
from keys.models import Key
from keys.profiles import load_profile
from keys.services import create_key
from ledger.models import Entry, Rollup
from ledger.reconcile import repair_counters
from ledger.recovery import charge_expired_holds
from proxy.calls import Call, now_ms
from proxy.errors import REASONS, ApiError
from proxy.metering import Measured
from proxy.profiles import CachedKey
from proxy.tests.factories import MODEL, make_body
from teams.models import Customer, Tag

TEXT = "sk-key-of-the-assembled-plane"
CALLS = 20


@pytest.fixture
def key(transactional_db: None, settings: LazySettings) -> Key:
    settings.PROVIDERS = {**settings.PROVIDERS, "openai": {"api_key": "sk-openai", "base_url": "http://127.0.0.1:1"}}
    limits = parse_limits([{"budget_duration": "30d", "max_budget": 100}])
    return create_key({"budget_limits": limits}, text=TEXT, now=timezone.now()).key


@pytest.fixture
async def assembled(key: Key, valkey: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[AssembledPlane]:
    """Its one database thread gives its connection back: the database of the tests has to be emptied."""
    monkeypatch.setattr(plane_module, "DATABASE_THREADS", 1)
    monkeypatch.setattr(plane_module, "_calm_the_collector", lambda: None)
    assembled = AssembledPlane()
    await assembled.start()
    yield assembled
    await assembled._settler.settled()
    await assembled._in_thread(lambda: connection.close())
    await assembled.stop()


def limits_of(scope: Customer | Tag | Budget, *limits: Limit) -> None:
    """Saved with the scope, counted for a day already."""
    since = timezone.now() - timedelta(days=1)
    set_limits(scope, LimitSet(limits, None, calendar_of(scope)), now=since)
    scope.save()


def requests_a_month(maximum: int) -> Limit:
    [limit] = parse_limits([{"budget_duration": "30d", "max_requests": maximum}])
    return limit


def make_customer(customer_id: str, *limits: Limit, **fields: Any) -> Customer:
    now = timezone.now()
    customer = Customer(customer_id=customer_id, created_at=now, updated_at=now, **fields)
    limits_of(customer, *limits)
    return customer


def make_tag(name: str, *limits: Limit) -> Tag:
    now = timezone.now()
    tag = Tag(name=name, created_at=now, updated_at=now)
    limits_of(tag, *limits)
    return tag


async def admitted(assembled: AssembledPlane, **fields: Any) -> Call | ApiError:
    """As the middleware does it."""
    key = await assembled.plane.authenticate(TEXT)
    assert isinstance(key, CachedKey)
    call = assembled.plane.estimate(key, make_body(**fields))
    assert isinstance(call, Call)
    return await assembled.plane.admit(call) or call


def counter_of(kind: str, scope_id: str, valkey: redis.Redis) -> list[dict[str, int]]:
    """Spent and held of each counter of a scope."""
    found: list[dict[str, int]] = []
    for counter in sorted(valkey.scan_iter(f"{names().prefix}:{{*}}:{kind}:{scope_id}:*", count=1000)):
        spent, held = (int(value or 0) for value in valkey.hmget(counter, "spent", "held"))
        found.append({"spent": spent, "held": held})
    return found


async def recovered(assembled: AssembledPlane) -> int:
    """What the tasks charge once the holds of a dead gateway are over."""
    later_ms = now_ms() + HOLD_LIFE_MS + 1000
    return await assembled._in_thread(lambda: charge_expired_holds(gate=sync_gate(), now_ms=later_ms))


async def rows(assembled: AssembledPlane, read: Callable[[], Any]) -> Any:
    return await assembled._in_thread(read)


# --- guests from the database ---------------------------------------------------------------------------


async def test_customer_of_the_database_is_bounded_exactly_and_charged(
    assembled: AssembledPlane, valkey: redis.Redis
) -> None:
    await rows(assembled, lambda: make_customer("anna", requests_a_month(CALLS)))
    outcomes = await asyncio.gather(*(admitted(assembled, user="anna") for _ in range(2 * CALLS)))
    calls = [outcome for outcome in outcomes if isinstance(outcome, Call)]
    assert len(calls) == CALLS
    for call in calls:
        assembled.plane.settle(call, Measured(Usage(10, 5), is_estimated=False), http_status=200)
    await assembled._settler.settled()
    assert counter_of("customer", "anna", valkey) == [{"spent": CALLS, "held": 0}]
    rollups = Rollup.objects.filter(scope_kind="customer").values_list("scope_id", "requests")
    assert await rows(assembled, lambda: list(rollups)) == [("anna", CALLS)]


async def test_unknown_customers_have_the_default_tier_each_for_itself(
    assembled: AssembledPlane, settings: LazySettings, valkey: redis.Redis
) -> None:
    def make_tier() -> None:
        now = timezone.now()
        limits_of(
            Budget(budget_id="default", created_at=now, created_by="t", updated_at=now, updated_by="t"),
            requests_a_month(3),
        )

    settings.CUSTOMER_BUDGET_ID = "default"
    await rows(assembled, make_tier)
    outcomes = await asyncio.gather(*(admitted(assembled, user=f"new {number % 4}") for number in range(40)))
    assert sum(isinstance(outcome, Call) for outcome in outcomes) == 4 * 3
    for outcome in outcomes:
        if isinstance(outcome, Call):
            assembled.plane.release(outcome)
    await assembled._settler.settled()
    assert counter_of("customer", "sha256*", valkey) == [{"spent": 0, "held": 0}] * 4


async def test_change_of_a_guest_is_heard_of(assembled: AssembledPlane) -> None:
    assert isinstance(await admitted(assembled, user="anna"), Call)
    await rows(assembled, lambda: make_customer("anna", blocked=True))
    assert isinstance(await admitted(assembled, user="anna"), Call)
    await rows(assembled, lambda: publish("customer:anna"))
    async with asyncio.timeout(5):
        outcome = await admitted(assembled, user="anna")
        while isinstance(outcome, Call):
            outcome = await admitted(assembled, user="anna")
    assert outcome.status == 401


@pytest.mark.parametrize("subject", ["user:u1", "team:t1", "budget:b1", "tag:x", "routes", "of a newer version"])
async def test_every_subject_is_understood(assembled: AssembledPlane, subject: str) -> None:
    await assembled._changed(subject)
    assert isinstance(await admitted(assembled), Call)


# --- a gateway that dies --------------------------------------------------------------------------------


class Died(BaseException):
    """Nothing catches it: what was done is done, and nothing comes after it."""


async def dies(*args: object, **kwargs: object) -> None:
    raise Died


async def test_gateway_that_dies_between_the_admissions_is_charged_once_and_holds_nothing(
    assembled: AssembledPlane, key: Key, valkey: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rows(assembled, lambda: make_customer("anna", requests_a_month(CALLS)))
    with monkeypatch.context() as patched:
        patched.setattr(assembled.plane.gate, "admit_each", dies)
        with pytest.raises(Died):
            await admitted(assembled, user="anna")
    assert [counter["held"] > 0 for counter in counter_of("key", str(key.id), valkey)] == [True, True]
    assert [await recovered(assembled) for _ in range(2)] == [1, 0]
    [entry] = await rows(assembled, lambda: list(Entry.objects.all()))
    assert (entry.kind, entry.customer_id) == ("unsettled", "anna")
    assert counter_of("key", str(key.id), valkey) == [{"spent": entry.cost_nanousd, "held": 0}] * 2
    assert counter_of("customer", "anna", valkey) == []
    # The customer's window is unknown still, and seeded from a ledger that has the call.
    assert isinstance(await admitted(assembled, user="anna"), Call)
    assert counter_of("customer", "anna", valkey) == [{"spent": 1, "held": 1}]


@pytest.mark.parametrize("at_once", [True, False])
async def test_gateway_that_dies_in_the_middle_of_a_call_is_charged_once_to_every_root(
    assembled: AssembledPlane, key: Key, valkey: redis.Redis, at_once: bool
) -> None:
    def make_guests() -> None:
        make_customer("anna", requests_a_month(CALLS))
        make_tag("blue", requests_a_month(CALLS))

    await rows(assembled, make_guests)
    assert isinstance(await admitted(assembled, user="anna", metadata={"tags": ["blue"]}), Call)
    recoveries: Sequence[Awaitable[int]] = [recovered(assembled) for _ in range(2)]
    charged = await asyncio.gather(*recoveries) if at_once else [await each for each in recoveries]
    assert sum(charged) == 3  # each root's hold, one entry
    [entry] = await rows(assembled, lambda: list(Entry.objects.all()))
    assert counter_of("key", str(key.id), valkey) == [{"spent": entry.cost_nanousd, "held": 0}] * 2
    for kind, name in (("customer", "anna"), ("tag", "blue")):
        assert counter_of(kind, name, valkey) == [{"spent": 1, "held": 0}]
    rollups = Rollup.objects.filter(scope_kind__in=["customer", "tag"]).values_list("scope_id", "requests")
    assert sorted(await rows(assembled, lambda: list(rollups))) == [("anna", 1), ("blue", 1)]
    assert await rows(assembled, lambda: repair_counters(gate=sync_gate(), now=timezone.now())) == 0
    assert sync_gate().roots_with_expired_holds(now_ms=now_ms() + 2 * HOLD_LIFE_MS) == []


# --- explanations ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("maximum", ["0", "0.0001", "0.001", "0.01", "1"])
@pytest.mark.parametrize("enforcement", ["standard", "strict"])
async def test_explanation_says_what_admission_does(
    assembled: AssembledPlane, key: Key, maximum: str, enforcement: str
) -> None:
    entry = {"budget_duration": "1d", "max_budget": maximum, "enforcement": enforcement}
    await rows(assembled, lambda: make_customer("anna", *parse_limits([entry])))

    def question() -> Explanation:
        profile = load_profile(key.token_hash, now=timezone.now())
        assert profile is not None
        body = make_body(user="anna", max_tokens=1000)
        return explain(Question(profile, MODEL, body=body), now=timezone.now())

    for _ in range(3):
        explanation = await rows(assembled, question)
        outcome = await admitted(assembled, user="anna", max_tokens=1000)
        assert explanation.would_pass is isinstance(outcome, Call)
        if isinstance(outcome, Call):
            assert explanation.estimate == outcome.estimate
        else:
            refused = [each for each in explanation.windows if each.verdict is not Verdict.ROOM]
            budget: Any = outcome.fields["budget"]
            assert [REASONS[each.verdict] for each in refused] == [budget["reason"]]
            assert refused[0].usage.held == int(budget["held"] * 10**9)
