"""Which paths a key's list of routes covers."""

import pytest

from budgets.rules.routes import route_allowed


@pytest.mark.parametrize(
    ("routes", "path", "allowed"),
    [
        (None, "/team/new", True),
        ({"llm_api_routes"}, "/v1/chat/completions", True),
        ({"llm_api_routes"}, "/key/info", False),
        ({"info_routes"}, "/key/info", True),
        ({"info_routes"}, "/key/generate", False),
        ({"management_routes"}, "/key/sk-1/regenerate", True),
        ({"management_routes"}, "/chat/completions", False),
        ({"openai_routes"}, "/v1/messages", False),
        ({"/key/info"}, "/key/info", True),
        ({"/key/info"}, "/key/info/more", False),
        ({"/key/*"}, "/key/info", True),
        ({"/k*y/info"}, "/key/info", False),
        ({"no_such_group"}, "/key/info", False),
        (set(), "/key/info", False),
    ],
)
def test_a_list_of_routes_covers_groups_paths_and_beginnings(routes: set[str] | None, path: str, allowed: bool) -> None:
    assert route_allowed(None if routes is None else frozenset(routes), path) is allowed
