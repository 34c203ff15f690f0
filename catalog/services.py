"""Every write to routes and credentials. Gateways take a change up after its commit."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from functools import partial

from django.core.exceptions import ValidationError
from django.db import transaction

from budgets.gate import changes
from catalog.models import Route
from catalog.route_rules import route_problems


def save_route(route: Route, *, now: datetime) -> None:
    """Raises ValidationError with a message per field; gateways take the route up after the commit."""
    problems = route_problems(route)
    if problems:
        raise ValidationError(problems)
    with transaction.atomic():
        route.created_at = route.created_at or now
        route.updated_at = now
        route.save()
        _publish_on_commit()


def delete_routes(routes: Iterable[Route]) -> None:
    with transaction.atomic():
        Route.objects.filter(pk__in=[route.pk for route in routes]).delete()
        _publish_on_commit()


def _publish_on_commit() -> None:
    transaction.on_commit(partial(changes.publish, "routes"))
