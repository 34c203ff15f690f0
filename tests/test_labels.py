"""Customers, tags, runs and rates, end to end: real processes, the real OpenAI SDK over sockets."""

from typing import Any

import openai
import pytest

from tests.provider.behaviour import Behaviour
from tests.provider.server import Provider
from tests.system import NANO, System

pytestmark = pytest.mark.xdist_group("system")  # one worker, so that the shared start is paid once

MODEL = "gpt-4o-mini"
MESSAGES: Any = [{"role": "user", "content": "hello"}]
RUN = "r1; max=0.0002"
COST = 1000 * 150 + 7 * 600  # nano-USD


def make_key(system: System, **fields: object) -> str:
    return str(system.post("/key/generate", fields)["key"])


def test_labels_of_the_sdk_stand_in_the_ledger_and_bound_the_run(system: System, provider: Provider) -> None:
    provider.behave(Behaviour(prompt_tokens=1000, output_tokens=7))
    key = make_key(system, max_budget=5, budget_limits=[{"budget_duration": "1d", "max_budget": 1}])
    client = system.client(key)

    def ask() -> dict[str, str]:
        answer: Any = client.chat.completions.with_raw_response.create(
            model=MODEL,
            messages=MESSAGES,
            user="anna",
            extra_body={"metadata": {"tags": ["blue", "green"]}},
            extra_headers={"x-budgetgate-run": RUN},
        )
        return dict(answer.headers)

    headers = ask()
    assert headers["x-litellm-key-max-budget"] == "5.0"
    assert headers["x-budgetgate-run-remaining"] == "0.0000458"
    system.wait_until_settled(key)
    ask()
    system.wait_until_settled(key)
    with pytest.raises(openai.RateLimitError, match="Run over lifetime budget"):
        ask()
    query = "SELECT DISTINCT customer_id, run_id, tags FROM ledger_entry WHERE key_id = %s"
    assert system.rows(query, system.key_id(key)) == [("anna", "r1", ["blue", "green"])]
    assert {call.payload.get("user") for call in provider.calls} == {"anna"}
    assert all("metadata" not in call.payload for call in provider.calls)
    question = {"key": key, "model": MODEL, "input_tokens": 10, "output_tokens": 5, "run": RUN}
    refusing = [window for window in system.post("/budget/explain", question)["windows"] if not window["would_pass"]]
    assert [(window["scope"], window["spent"] * NANO) for window in refusing] == [("run", 2 * COST)]


def test_second_request_of_a_minute_is_a_rate_limit_error_of_the_sdk(system: System, provider: Provider) -> None:
    client = system.client(make_key(system, rpm_limit=1, key_alias="paced"))

    def ask_three_times() -> None:
        for _ in range(3):  # a new minute may begin between two of them
            client.chat.completions.create(model=MODEL, messages=MESSAGES)

    with pytest.raises(openai.RateLimitError) as refused:
        ask_three_times()
    assert "Rate limit exceeded for key: paced. Limit type: requests. Current limit: 1" in refused.value.message
    assert refused.value.type == "throttling_error"
