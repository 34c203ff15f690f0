"""Every model that the gateway knows by name: the routes, working or not, then the built-in models that work."""

from __future__ import annotations

from datetime import datetime

from catalog.answers import ModelEntry, built_in_entry, route_entry
from catalog.models import Route
from catalog.table import RouteTable


def model_entries(*, now: datetime) -> list[ModelEntry]:
    """Reads the routes as the data plane does, with the same settings and the same environment."""
    routes = list(Route.objects.select_related("credential").order_by("model_name"))
    table = RouteTable.from_settings()
    table.use(routes)
    return [route_entry(route, now=now) for route in routes] + [built_in_entry(each) for each in table.built_ins()]
