"""A parsed model_list becomes plans and refusals, one for each entry."""

from typing import Any

import pytest

from catalog.litellm_config import plan_model_list


def entry(name: Any = "house", **params: Any) -> dict[str, Any]:
    return {"model_name": name, "litellm_params": {"model": "openai/gpt-4o"} | params}


def test_entry_becomes_a_plan() -> None:
    plan = plan_model_list([entry(api_key="os.environ/HOUSE_API_KEY") | {"model_info": {"id": "m1"}}])
    [route] = plan.routes
    assert (route.position, route.model_name, route.fields["api_key_env"]) == (1, "house", "HOUSE_API_KEY")
    assert route.fields["public_id"] == "m1"
    assert plan.refused == ()


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ("text", "it is not an object"),
        ({}, "model_name: None is not allowed"),
        ({"model_name": "a"}, "litellm_params: it is not an object"),
        ({"model_name": "a", "litellm_params": {}}, "litellm_params.model: it is missing"),
        ({"model_name": "a", "litellm_params": {1: 2}}, "litellm_params: it is not an object with texts as names"),
        (entry() | {"model_info": []}, ""),
        (entry() | {"model_info": [1]}, "model_info: it is not an object"),
        (entry() | {"tpm": 1}, "tpm: unknown field"),
        (entry(rpm=5), "litellm_params.rpm: not supported yet"),
    ],
)
def test_malformed_entry_is_refused_with_its_reason(wrong: Any, reason: str) -> None:
    plan = plan_model_list([wrong])
    if not reason:
        assert len(plan.routes) == 1
        return
    [refused] = plan.refused
    assert refused.position == 1
    assert any(text.startswith(reason) for text in refused.reasons)


def test_second_entry_of_a_name_is_refused_and_names_the_first() -> None:
    plan = plan_model_list([entry("a"), entry("b"), entry("a")])
    assert [route.model_name for route in plan.routes] == ["a", "b"]
    [refused] = plan.refused
    assert (refused.position, refused.model_name) == (3, "a")
    assert "entry 1 has this name" in refused.reasons[0]


def test_no_repr_of_a_plan_shows_a_key() -> None:
    assert "sk-secret" not in repr(plan_model_list([entry(api_key="sk-secret"), entry("b", api_key="sk-secret x")]))
