"""Writes to routes and credentials, and what gateways hear of them."""

from collections.abc import Iterator
from datetime import UTC, datetime
from unittest.mock import patch

import pytest
from django.core.exceptions import ValidationError
from pytest_django import DjangoCaptureOnCommitCallbacks

from catalog.models import Route
from catalog.services import delete_routes, save_route
from catalog.tests.factories import make_route

NOW = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture
def published() -> Iterator[list[str]]:
    subjects: list[str] = []
    with patch("catalog.services.changes.publish", side_effect=lambda *names: subjects.extend(names)):
        yield subjects


@pytest.mark.django_db
def test_saving_and_deleting_publish_after_the_commit(
    published: list[str], django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    route = make_route()
    with django_capture_on_commit_callbacks(execute=True):
        save_route(route, now=NOW)
        assert published == []
    assert published == ["routes"]
    with django_capture_on_commit_callbacks(execute=True):
        delete_routes([route])
    assert published == ["routes", "routes"]
    assert not Route.objects.exists()


@pytest.mark.django_db
def test_route_with_problems_is_not_saved(published: list[str]) -> None:
    with pytest.raises(ValidationError) as refused:
        save_route(make_route(base_url="nowhere", output_tokens_max=0), now=NOW)
    assert set(refused.value.message_dict) == {"base_url", "output_tokens_max"}
    assert not Route.objects.exists()
