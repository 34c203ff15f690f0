"""The addresses of the management API as the URL conf has them. Pages of people (admin, dashboard) are none of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.urls import URLPattern, URLResolver, get_resolver

_HTTP_ONLY = frozenset({"head", "options", "trace"})


@dataclass(frozen=True, slots=True)
class ApiAddress:
    """One method of a DRF view at one route."""

    method: str
    route: str
    permissions: tuple[type[Any], ...]


def api_addresses() -> Iterator[ApiAddress]:
    """Every method of every DRF view that the URL conf knows."""
    return _below(get_resolver().url_patterns, prefix="")


def _below(patterns: Sequence[URLPattern | URLResolver], *, prefix: str) -> Iterator[ApiAddress]:
    for pattern in patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from _below(pattern.url_patterns, prefix=route)
        else:
            yield from _of_view(pattern.callback, route=route)


def _of_view(callback: Any, *, route: str) -> Iterator[ApiAddress]:
    view = getattr(callback, "cls", None)  # DRF's mark; importing its views here would come before the models
    if view is None:
        return
    permissions = tuple(callback.initkwargs.get("permission_classes", view.permission_classes))
    for method in view.http_method_names:
        if hasattr(view, method) and method not in _HTTP_ONLY:
            yield ApiAddress(method.upper(), route, permissions)
