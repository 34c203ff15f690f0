"""Routes and credentials for tests: every field has a value that works, the test names the ones that it is about."""

from datetime import UTC, datetime
from typing import Any

from catalog.models import Credential, Route
from catalog.secrets import Secret, seal

CREATED_AT = datetime(2026, 10, 1, tzinfo=UTC)


def make_route(**fields: Any) -> Route:
    """Not saved. `api_key` is sealed."""
    values: dict[str, Any] = {
        "model_name": "house-model",
        "provider": "house",
        "upstream_model": "llama-70b",
        "base_url": "http://127.0.0.1:8000/v1",
        "created_at": CREATED_AT,
        "updated_at": CREATED_AT,
    }
    return Route(**values | _sealed(fields))


def saved_route(**fields: Any) -> Route:
    route = make_route(**fields)
    route.save()
    return route


def saved_credential(**fields: Any) -> Credential:
    """`api_key` is sealed."""
    values: dict[str, Any] = {
        "name": "house",
        "base_url": "https://house.example/v1",
        "created_at": CREATED_AT,
        "updated_at": CREATED_AT,
    }
    return Credential.objects.create(**values | _sealed(fields))


def _sealed(fields: dict[str, Any]) -> dict[str, Any]:
    api_key = fields.pop("api_key", None)
    return fields | ({"sealed_api_key": seal(Secret(api_key))} if api_key else {})
