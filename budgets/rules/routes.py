"""The routes that a key may call: names of groups, paths, and paths that end in `*`. Pure."""

GROUPS: dict[str, tuple[str, ...]] = {
    "openai_routes": (
        "/chat/completions",
        "/v1/chat/completions",
        "/completions",
        "/v1/completions",
        "/embeddings",
        "/v1/embeddings",
        "/responses",
        "/v1/responses",
        "/v1/responses/*",
        "/models",
        "/v1/models",
        "/v1/models/*",
    ),
    "anthropic_routes": ("/v1/messages", "/v1/messages/*"),
    "info_routes": (
        "/key/info",
        "/v2/key/info",
        "/key/list",
        "/key/aliases",
        "/key/health",
        "/team/info",
        "/team/list",
        "/v2/team/list",
        "/team/available",
        "/user/info",
        "/v2/user/info",
        "/user/list",
        "/model/info",
        "/v1/model/info",
        "/v2/model/info",
        "/model_group/info",
        "/models",
        "/v1/models",
        "/health",
        "/health/*",
    ),
    "management_routes": (
        "/key/*",
        "/v2/key/*",
        "/team/*",
        "/v2/team/*",
        "/user/*",
        "/v2/user/*",
        "/customer/*",
        "/end_user/*",
        "/budget/*",
        "/tag/*",
        "/model/*",
        "/v1/model/info",
        "/v2/model/info",
        "/model_group/*",
        "/credentials",
        "/credentials/*",
        "/spend/*",
        "/global/*",
        "/audit/*",
    ),
}
GROUPS["llm_api_routes"] = GROUPS["openai_routes"] + GROUPS["anthropic_routes"]


def route_allowed(routes: frozenset[str] | None, path: str) -> bool:
    """Whether a key with these allowed routes may call that path; None allows every one."""
    if routes is None:
        return True
    return any(_covers(pattern, path) for route in routes for pattern in GROUPS.get(route, (route,)))


def _covers(pattern: str, path: str) -> bool:
    # Only a star at the end means anything: a pattern of fnmatch could be made slow, and mean more than it says.
    return path.startswith(pattern[:-1]) if pattern.endswith("*") else path == pattern
