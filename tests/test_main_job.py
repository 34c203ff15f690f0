"""The main job, end to end: real processes, the real OpenAI SDK over sockets, a provider that says what it served."""

import concurrent.futures
import math
import tempfile
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import redis

from tests.provider.behaviour import Behaviour
from tests.provider.server import Provider
from tests.system import NANO, System, running_system, wait_until

pytestmark = pytest.mark.xdist_group("system")  # one worker, so that the shared start is paid once

MODEL = "gpt-4o-mini"
# OpenAI's list price of gpt-4o-mini: 0.15 and 0.60 USD per million tokens, 0.075 for cached input; here in nano-USD.
INPUT, CACHED, OUTPUT = 150, 75, 600
ANNOUNCED_S = 1.0
"""Within this time a gateway has heard of a change, also on a busy machine."""

HOUR_AND_MONTH = [{"budget_duration": "1h", "max_budget": 10.0}, {"budget_duration": "30d", "max_budget": 500.0}]


def make_key(system: System, **fields: Any) -> str:
    return str(system.post("/key/generate", fields)["key"])


def make_team(system: System, **fields: Any) -> str:
    return str(system.post("/team/new", fields)["team_id"])


def ask(client: openai.OpenAI, *, words: str = "hello", **options: Any) -> Any:
    return client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": words}], **options)


def listen(client: openai.OpenAI, *, words: str = "hello", **options: Any) -> list[Any]:
    return list(ask(client, words=words, stream=True, **options))


def price_by_hand(provider: Provider) -> int:
    """What the provider's own usage costs, rounded up once per call."""
    total = 0
    for call in provider.calls:
        usage: Any = call.usage
        cached = usage.get("prompt_tokens_details", {}).get("cached_tokens", 0)
        nanos = (usage["prompt_tokens"] - cached) * INPUT + cached * CACHED + usage["completion_tokens"] * OUTPUT
        total += nanos
    return total


def next_hour() -> datetime:
    return datetime.now(UTC).replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)


def test_the_first_key_comes_with_the_resets_of_both_windows(system: System) -> None:
    before = next_hour()
    answer = system.post("/key/generate", {"budget_limits": HOUR_AND_MONTH})

    hour, month = answer["budget_limits"]
    assert answer["key"].startswith("sk-")
    assert hour["reset_at"] in {f"{each:%Y-%m-%dT%H:%M:%SZ}" for each in (before, next_hour())}
    now = datetime.now(UTC)
    first = datetime(now.year + now.month // 12, now.month % 12 + 1, 1, tzinfo=UTC)
    assert month["reset_at"] == f"{first:%Y-%m-%dT%H:%M:%SZ}"
    assert [hour["max_budget"], month["max_budget"]] == [10, 500]


def test_fifty_calls_and_fifty_streams_are_charged_to_the_nano_dollar(system: System, provider: Provider) -> None:
    team_id = make_team(system, budget_limits=HOUR_AND_MONTH)
    key = make_key(system, team_id=team_id, budget_limits=HOUR_AND_MONTH)
    provider.behave(Behaviour(prompt_tokens=1000, cached_tokens=400, output_tokens=7), containing="cached")
    client = system.client(key)

    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        kinds = [ask, listen] * 50
        words = [f"number {number}{' cached' if number % 5 == 0 else ''}" for number in range(100)]
        list(pool.map(lambda kind, each: kind(client, words=each, max_tokens=50), kinds, words))
    system.wait_until_settled(key)

    expected = price_by_hand(provider)
    assert len(provider.calls) == 100
    assert expected > 0
    assert system.spent(key) == expected
    assert system.entries(key) == 100
    assert {window["current_spend"] for window in system.usage(key).values()} == {expected}
    assert {window["current_spend"] for window in system.team_usage(team_id).values()} == {expected}
    assert {window["held"] for window in system.team_usage(team_id).values()} == {0}


def test_a_client_that_did_not_ask_for_usage_sees_no_usage_chunk(system: System, provider: Provider) -> None:
    client = system.client(make_key(system, budget_limits=HOUR_AND_MONTH))

    without = listen(client)
    with_usage = listen(client, stream_options={"include_usage": True})

    assert all(chunk.choices for chunk in without)
    assert with_usage[-1].choices == []
    assert with_usage[-1].usage.completion_tokens > 0


def test_an_answer_says_what_it_cost_and_what_is_left(system: System, provider: Provider) -> None:
    key = make_key(system, budget_limits=HOUR_AND_MONTH)

    first = system.client(key).chat.completions.with_raw_response.create(
        model=MODEL, messages=[{"role": "user", "content": "hello"}]
    )

    cost = price_by_hand(provider)
    assert _nano(first.headers["x-budgetgate-response-cost"]) == cost
    assert first.headers["x-litellm-response-cost"] == first.headers["x-budgetgate-response-cost"]
    assert _nano(first.headers["x-budgetgate-remaining"]) == 10 * NANO - cost
    assert _nano(first.headers["x-litellm-key-spend"]) == cost
    assert len(first.headers["x-request-id"]) == 36
    assert first.headers["ratelimit-policy"] == '"1h";q=10000000;qu="micro-usd";w=3600'


def _nano(dollars: str) -> int:
    whole, _, part = dollars.partition(".")
    return int(whole) * NANO + int(part.ljust(9, "0"))


def test_an_empty_window_refuses_with_everything_a_client_needs(system: System, provider: Provider) -> None:
    key = make_key(system, budget_limits=[{"budget_duration": "1h", "max_budget": 0}])

    until_reset_s = (next_hour() - datetime.now(UTC)).total_seconds()
    with pytest.raises(openai.RateLimitError) as refusal:
        ask(system.client(key))

    error = refusal.value.response.json()["error"]
    assert error["message"] == "ExceededBudget: Key over 1h budget. Spend=$0.0000, Limit=$0.00"
    assert (error["type"], error["code"], error["param"]) == ("budget_exceeded", "429", None)
    assert error["budget"]["reason"] == "exhausted"
    assert int(refusal.value.response.headers["retry-after"]) in range(math.ceil(until_reset_s) - 2, 3602)
    assert until_reset_s - 3 < int(refusal.value.response.headers["retry-after"]) <= until_reset_s + 1
    assert provider.calls == []
    assert system.entries(key) == 0


def test_a_short_window_opens_again_while_the_long_one_keeps_its_count(system: System, provider: Provider) -> None:
    provider.behave(Behaviour(prompt_tokens=1000, output_tokens=1000))
    cost = 1000 * INPUT + 1000 * OUTPUT
    limits = [
        {"budget_duration": "5s", "max_budget": cost / NANO},
        {"budget_duration": "1h", "max_budget": 10},
    ]
    key = make_key(system, budget_limits=limits)
    client = system.client(key)
    _wait_for_the_beginning_of_a_window(seconds=5)

    ask(client)
    system.wait_until_settled(key)
    with pytest.raises(openai.RateLimitError) as refusal:
        ask(client)
    assert "over 5s budget" in str(refusal.value)
    time.sleep(int(refusal.value.response.headers["retry-after"]))
    ask(client)
    system.wait_until_settled(key)

    assert system.usage(key)["1h"]["current_spend"] == 2 * cost
    assert len(provider.calls) == 2
    history = "SELECT spent, maximum FROM budgets_windowhistory WHERE scope_id = %s AND identity = 'usd/5s'"
    wait_until(lambda: len(system.rows(history, system.key_id(key))) == 2, timeout_s=40)
    assert system.rows(history, system.key_id(key)) == [(cost, cost), (cost, cost)]
    hour = system.get("/key/info", key=key)["info"]["budget_limits"][1]
    assert hour["reset_at"] == f"{next_hour():%Y-%m-%dT%H:%M:%SZ}"


def _wait_for_the_beginning_of_a_window(*, seconds: int) -> None:
    time.sleep(seconds - time.time() % seconds + 0.05)


@pytest.mark.parametrize("enforcement", ["strict", "standard"])
def test_two_hundred_calls_at_once_cannot_overspend(system: System, provider: Provider, enforcement: str) -> None:
    """The window pays for ten. A strict one is never passed, a standard one by at most one call's cost."""
    provider.behave(Behaviour(prompt_tokens=100, output_tokens=1000, delay_s=0.2))
    cost = 100 * INPUT + 1000 * OUTPUT
    limit = {"budget_duration": "1h", "max_budget": f"0.{10 * cost:09d}", "enforcement": enforcement}
    key = make_key(system, budget_limits=[limit])
    client = system.client(key)
    barrier = threading.Barrier(200)

    def call(_: int) -> bool:
        barrier.wait()
        try:
            ask(client, max_tokens=1000)
        except openai.RateLimitError:
            return False
        return True

    with concurrent.futures.ThreadPoolExecutor(200) as pool:
        admitted = sum(pool.map(call, range(200)))
    system.wait_until_settled(key)

    spent = system.spent(key)
    assert admitted == len(provider.calls) == system.entries(key)
    assert spent == admitted * cost
    assert spent <= 10 * cost + (cost if enforcement == "standard" else 0)
    assert admitted >= 5
    assert system.usage(key)["1h"]["current_spend"] == spent


def test_keys_and_spends_survive_a_stop_in_the_middle(provider_server: Provider) -> None:
    provider_server.reset()
    with tempfile.TemporaryDirectory(prefix="budgetgate-stop-") as parent:
        directory = Path(parent) / "var"
        with running_system(directory, provider=provider_server) as first:
            key = make_key(first, budget_limits=HOUR_AND_MONTH)
            client = first.client(key)
            with concurrent.futures.ThreadPoolExecutor(4) as pool:
                calls = [pool.submit(ask, client, words=f"number {number}") for number in range(40)]
                concurrent.futures.wait(calls[:20])
                assert first.up.stop() == 0
        with running_system(directory, provider=provider_server) as second:
            second.wait_until_settled(key)
            served = [call for call in provider_server.calls if call.finished]
            spent = second.spent(key)
            assert second.usage(key)["1h"]["current_spend"] == spent
            assert second.entries(key) == len(served)
            assert spent == price_by_hand(provider_server)
            ask(second.client(key))


def test_the_demo_model_works_without_a_provider(system: System, provider: Provider) -> None:
    key = make_key(system, budget_limits=HOUR_AND_MONTH)
    client = system.client(key)
    question: Any = [{"role": "user", "content": "hello"}]

    answer = client.chat.completions.create(model="demo", messages=question)
    pieces = list(client.chat.completions.create(model="demo", messages=question, stream=True))
    system.wait_until_settled(key)

    assert answer.choices[0].message.content
    assert len(pieces) > 3
    assert system.usage(key)["1h"]["current_spend"] > 0
    assert provider.calls == []


def test_models_are_listed_for_the_key(system: System) -> None:
    everything = {model.id for model in system.client(make_key(system)).models.list()}
    some = {model.id for model in system.client(make_key(system, models=["demo", MODEL])).models.list()}

    assert {"demo", MODEL} < everything
    assert some == {"demo", MODEL}


def test_a_change_to_a_key_holds_for_its_next_call(system: System, provider: Provider) -> None:
    key = make_key(system, budget_limits=HOUR_AND_MONTH)
    client = system.client(key)
    ask(client)

    system.post("/key/update", {"key": key, "budget_limits": [{"budget_duration": "1h", "max_budget": 0}]})
    time.sleep(ANNOUNCED_S)
    with pytest.raises(openai.RateLimitError):
        ask(client)
    system.post("/key/update", {"key": key, "budget_limits": []})
    time.sleep(ANNOUNCED_S)

    ask(client)


def test_a_window_that_is_added_later_counts_what_its_period_has_spent(system: System, provider: Provider) -> None:
    key = make_key(system, budget_limits=[{"budget_duration": "30d", "max_budget": 500}])
    ask(system.client(key))
    system.wait_until_settled(key)
    spent = system.spent(key)

    system.post("/key/update", {"key": key, "budget_limits": HOUR_AND_MONTH})
    assert system.usage(key)["1h"]["current_spend"] == spent > 0
    time.sleep(ANNOUNCED_S)
    ask(system.client(key))
    system.wait_until_settled(key)

    assert {window["current_spend"] for window in system.usage(key).values()} == {system.spent(key)}
    assert system.spent(key) > spent


def test_the_store_can_be_emptied_without_losing_a_cent(system: System, provider: Provider) -> None:
    key = make_key(system, budget_limits=HOUR_AND_MONTH)
    ask(system.client(key))
    system.wait_until_settled(key)

    with redis.Redis.from_url(system.up.local()["REDIS_URL"]) as store:
        store.flushall()
    ask(system.client(key))
    system.wait_until_settled(key)

    assert system.spent(key) == price_by_hand(provider)
    assert {window["current_spend"] for window in system.usage(key).values()} == {system.spent(key)}


def test_a_body_that_is_too_large_is_refused(system: System) -> None:
    body = b'{"model":"demo","messages":"' + b"x" * (20 * 1024 * 1024) + b'"}'
    response = httpx.post(
        f"{system.url}/v1/chat/completions",
        content=body,
        headers={"authorization": f"Bearer {make_key(system)}"},
        trust_env=False,
    )
    assert response.status_code == 413
    assert response.json()["error"]["type"] == "invalid_request_error"
