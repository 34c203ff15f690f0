"""Which addresses a list of allowed routes has."""

import pytest

from budgets.rules.routes import GROUPS, is_route, route_allowed, route_denied_text


@pytest.mark.parametrize(
    ("routes", "path", "is_allowed"),
    [
        (None, "/anything", True),
        ([], "/v1/chat/completions", False),
        (["/v1/chat/completions"], "/v1/chat/completions", True),
        (["/v1/chat/completions"], "/chat/completions", False),
        (["/v1/chat/completions"], "/v1/chat/completions/more", False),
        (["/v1/*"], "/v1/models", True),
        (["/v1/*"], "/models", False),
        (["/*"], "/models", True),
        (["llm_api_routes"], "/v1/chat/completions", True),
        (["llm_api_routes"], "/chat/completions", True),
        (["llm_api_routes"], "/v1/models", True),
        (["llm_api_routes"], "/v1/messages", True),
        (["llm_api_routes"], "/key/info", False),
        (["openai_routes"], "/v1/embeddings", True),
        (["openai_routes"], "/v1/messages", False),
        (["info_routes"], "/key/info", True),
        (["info_routes"], "/v1/models", True),
        (["info_routes"], "/key/generate", False),
        (["info_routes"], "/chat/completions", False),
        (["management_routes"], "/key/generate", True),
        (["management_routes"], "/key/abc/regenerate", True),
        (["management_routes"], "/v1/chat/completions", False),
        (["management_routes", "/v1/chat/completions"], "/v1/chat/completions", True),
        (["key"], "/key", False),
    ],
)
def test_path_is_in_the_list_or_not(routes: list[str] | None, path: str, is_allowed: bool) -> None:
    assert route_allowed(routes, path) is is_allowed


def test_refusal_names_the_list_and_the_path() -> None:
    assert route_denied_text(["info_routes", "/a"], "/b") == (
        "Virtual key is not allowed to call this route. Only allowed to call routes: ['/a', 'info_routes']. "
        "Tried to call route: /b"
    )


@pytest.mark.parametrize("entry", [*GROUPS, "/v1/models", "/v1/*", "/*"])
def test_groups_paths_and_patterns_may_stand_in_a_list(entry: str) -> None:
    assert is_route(entry)


@pytest.mark.parametrize("entry", ["", "v1/models", "*", "/v1/*/info", "all_routes"])
def test_nothing_else_may(entry: str) -> None:
    assert not is_route(entry)


def test_every_group_has_paths_and_patterns_only() -> None:
    assert all(is_route(path) and path not in GROUPS for paths in GROUPS.values() for path in paths)
