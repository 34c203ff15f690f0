"""A model made over the API, end to end: its stored key reaches the provider, its price the ledger."""

from typing import Any

import openai
import pytest

from tests.provider.server import Provider
from tests.system import System, wait_until

pytestmark = pytest.mark.xdist_group("system")  # one worker, so that the shared start is paid once


def ask(client: openai.OpenAI) -> Any:
    return client.chat.completions.create(model="house-mini", messages=[{"role": "user", "content": "hello"}])


def test_a_model_can_be_called_as_soon_as_it_is_made_and_not_once_it_is_blocked(
    system: System, provider: Provider
) -> None:
    params = {
        "model": "house/gpt-4o-mini",
        "api_base": provider.base_url,
        "api_key": provider.api_key,
        "input_cost_per_token": 1e-06,
        "output_cost_per_token": 2e-06,
    }
    assert system.post("/health/test_connection", {"litellm_params": params})["status"] == "success"
    model_id = system.post("/model/new", {"model_name": "house-mini", "litellm_params": params})["model_id"]
    key = str(system.post("/key/generate", {"budget_limits": [{"budget_duration": "1h", "max_budget": 1}]})["key"])
    client = system.client(key)
    wait_until(lambda: "house-mini" in {model.id for model in client.models.list()})
    usage = ask(client).usage
    system.wait_until_settled(key)
    assert system.spent(key) == usage.prompt_tokens * 1000 + usage.completion_tokens * 2000
    system.post("/model/block", {"id": model_id})
    wait_until(lambda: "house-mini" not in {model.id for model in client.models.list()})
    with pytest.raises(openai.BadRequestError, match="Invalid model name passed in model=house-mini"):
        ask(client)
    [(sealed,)] = system.rows("SELECT sealed_api_key FROM catalog_route")
    assert provider.api_key not in sealed
