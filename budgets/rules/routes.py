"""Which addresses a key may call: paths, paths that end in `*`, and the groups of routes that LiteLLM names. Pure.

The data plane and the management API ask the same question of a key's list.
"""

from collections.abc import Collection, Mapping

_OPENAI = (
    "/chat/completions",
    "/completions",
    "/embeddings",
    "/responses",
    "/responses/*",
    "/images/*",
    "/audio/*",
    "/moderations",
    "/models",
    "/models/*",
    "/batches",
    "/batches/*",
    "/files",
    "/files/*",
)
_OPENAI_ROUTES = (*_OPENAI, *(f"/v1{path}" for path in _OPENAI), "/engines/*", "/openai/*")

GROUPS: Mapping[str, tuple[str, ...]] = {
    "openai_routes": _OPENAI_ROUTES,
    "llm_api_routes": (*_OPENAI_ROUTES, "/v1/messages", "/v1/messages/*", "/rerank", "/v1/rerank", "/v2/rerank"),
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
        "/customer/info",
        "/customer/list",
        "/end_user/info",
        "/end_user/list",
        "/budget/explain",
        "/model/info",
        "/v1/model/info",
        "/v2/model/info",
        "/model_group/info",
        "/models",
        "/models/*",
        "/v1/models",
        "/v1/models/*",
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
        "/organization/*",
        "/spend/*",
        "/global/*",
        "/audit",
        "/audit/*",
        "/health",
        "/health/*",
    ),
}
"""What each name stands for. Addresses that this gateway does not have do no harm."""


def is_route(entry: str) -> bool:
    """Whether a text may stand in a list of allowed routes: a group, a path, or a path that ends in `*`."""
    return entry in GROUPS or (entry.startswith("/") and "*" not in entry[:-1])


def route_allowed(routes: Collection[str] | None, path: str) -> bool:
    """Whether a list of allowed routes has the path; None has all of them."""
    return routes is None or any(_has(entry, path) for entry in routes)


def _has(entry: str, path: str) -> bool:
    if entry in GROUPS:
        return any(_matches(pattern, path) for pattern in GROUPS[entry])
    return _matches(entry, path)


def _matches(pattern: str, path: str) -> bool:
    return path.startswith(pattern[:-1]) if pattern.endswith("*") else path == pattern


def route_denied_text(routes: Collection[str], path: str) -> str:
    """What a caller is told whose key does not have the path."""
    return (
        f"Virtual key is not allowed to call this route. Only allowed to call routes: {sorted(routes)}. "
        f"Tried to call route: {path}"
    )
