"""Routes for tests: every field has a value that works, the test names the ones that it is about."""

from typing import Any

from catalog.models import Route


def make_route(**fields: Any) -> Route:
    """Not saved."""
    values: dict[str, Any] = {
        "model_name": "house-model",
        "provider": "house",
        "upstream_model": "llama-70b",
        "base_url": "http://127.0.0.1:8000/v1",
    }
    return Route(**values | fields)


def saved_route(**fields: Any) -> Route:
    route = make_route(**fields)
    route.save()
    return route
