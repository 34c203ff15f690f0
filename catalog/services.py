"""Every write to routes. Gateways take a change up after its commit.

Messages name fields as the API does; the admin, whose fields are the model's own, uses `save_route`.
A secret is sealed before it reaches a row and shown in no message.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction

from budgets.actors import SYSTEM, Actor
from budgets.audit import record_change
from budgets.errors import InputError, NotFoundError, conflicts_named
from catalog.credential_services import credential_for, publish_on_commit, resealed, secret_mark
from catalog.litellm_config import PlannedRoute, RefusedEntry, plan_model_list
from catalog.litellm_params import WILDCARD, RouteFields, is_public_id
from catalog.models import Credential, Route
from catalog.route_rules import route_problems

API_NAMES = {
    "model_name": "model_name",
    "provider": "litellm_params.model",
    "upstream_model": "litellm_params.model",
    "base_url": "litellm_params.api_base",
    "api_key_env": "litellm_params.api_key",
    "input_nanousd_per_mtok": "litellm_params.input_cost_per_token",
    "output_nanousd_per_mtok": "litellm_params.output_cost_per_token",
    "cache_read_nanousd_per_mtok": "litellm_params.cache_read_input_token_cost",
    "cache_write_nanousd_per_mtok": "litellm_params.cache_creation_input_token_cost",
    "output_tokens_max": "model_info.max_output_tokens",
    "connect_timeout_s": "litellm_params.timeout",
    "read_timeout_s": "litellm_params.timeout",
}
"""What clients call the fields of a route."""

_MODEL_NAMES = re.compile(r"\b(" + "|".join(API_NAMES) + r")\b(?= is | has )")


def create_route(fields: RouteFields, *, now: datetime, by: Actor = SYSTEM) -> Route:
    """Makes a route. Raises InputError."""
    with conflicts_named(_taken(fields)), transaction.atomic():
        route = planned_route(fields)
        _save(route, now=now)
        _record(by, "create", route, before={}, after=_route_record(route), now=now)
    return route


def update_route(public_id: str, fields: RouteFields, *, now: datetime, by: Actor = SYSTEM) -> Route:
    """Changes what `fields` names. Raises NotFoundError and InputError."""
    with conflicts_named(_taken(fields)), transaction.atomic():
        route = route_for(public_id, lock=True)
        before = _route_record(route)
        _apply(route, fields)
        _check(route)
        _save(route, now=now)
        _record(by, "update", route, before=before, after=_route_record(route), now=now)
    return route


def delete_route(public_id: str, *, now: datetime, by: Actor = SYSTEM) -> None:
    """Deletes a route. Raises NotFoundError."""
    with transaction.atomic():
        delete_routes([route_for(public_id, lock=True)], now=now, by=by)


def _route_record(route: Route) -> dict[str, Any]:
    """A route as an audit shows it: of a key only whether there is one, and a mark that changes with it."""
    record: dict[str, Any] = {name: getattr(route, name) for name in sorted(_COLUMNS - {"sealed_api_key", "public_id"})}
    return {**record, "own_api_key": secret_mark(route.sealed_api_key)}


def _record(
    by: Actor, action: str, route: Route, *, before: dict[str, Any], after: dict[str, Any], now: datetime
) -> None:
    subject_id = str(route.public_id)
    record_change(by, action=action, kind="route", subject_id=subject_id, before=before, after=after, now=now)


def route_for(public_id: str, *, lock: bool = False) -> Route:
    """The route of that id with its credential, until the end of the transaction nobody else's if locked."""
    routes = Route.objects.select_related("credential")
    routes = routes.select_for_update(of=("self",)) if lock else routes
    route = routes.filter(public_id=public_id).first() if is_public_id(public_id) else None
    if route is None:
        raise NotFoundError(f"Model not found, passed model id: {public_id}.", field="id")
    return route


def planned_route(fields: RouteFields) -> Route:
    """A route as the fields say, checked and not saved. Raises InputError."""
    route = Route()
    with transaction.atomic():
        _apply(route, fields)
    _check(route)
    return route


def save_route(route: Route, *, now: datetime, by: Actor = SYSTEM) -> None:
    """For the admin. Raises ValidationError with a message per field."""
    problems = route_problems(route)
    if problems:
        raise ValidationError(problems)
    with transaction.atomic():
        stored = Route.objects.select_for_update().filter(pk=route.pk).first()
        before = {} if stored is None else _route_record(stored)
        _save(route, now=now)
        action = "create" if stored is None else "update"
        _record(by, action, route, before=before, after=_route_record(route), now=now)


def delete_routes(routes: Iterable[Route], *, now: datetime, by: Actor = SYSTEM) -> None:
    """Deletes routes."""
    routes = list(routes)
    with transaction.atomic():
        for route in routes:
            _record(by, "delete", route, before=_route_record(route), after={}, now=now)
        Route.objects.filter(pk__in=[route.pk for route in routes]).delete()
        publish_on_commit()


def _save(route: Route, *, now: datetime) -> None:
    route.created_at = route.created_at or now
    route.updated_at = now
    route.save()
    publish_on_commit()


def _check(route: Route) -> None:
    problems = route_problems(route)
    if "*" in route.model_name:
        problems["model_name"] = f"model_name is {route.model_name!r}; {WILDCARD}"
    if problems:
        message = "; ".join(problems.values())
        named = _MODEL_NAMES.sub(lambda found: API_NAMES[found[1]], message)
        raise InputError(named, field=API_NAMES[next(iter(problems))])


def _apply(route: Route, fields: RouteFields) -> bool:
    """Takes the fields over; says whether that changed anything."""
    before = {name: getattr(route, name) for name in _COLUMNS}
    _check_id(route, fields)
    for name in fields.keys() & _COLUMNS - {"info"}:
        value = fields[name]  # type: ignore[literal-required]  # a name of both
        setattr(route, name, "" if value is None and name in _TEXT_COLUMNS else value)
    if "credential" in fields:
        credential_name = fields["credential"]
        route.credential = _credential(credential_name) if credential_name else None
    if "api_key" in fields:
        route.sealed_api_key = resealed(route.sealed_api_key, fields["api_key"], field="litellm_params.api_key")
    if "info" in fields:
        merged = route.info | fields["info"]
        route.info = {name: value for name, value in merged.items() if value is not None}
    return any(getattr(route, name) != value for name, value in before.items())


def _credential(name: str) -> Credential:
    """Locked, so that it is not deleted before the route is saved."""
    try:
        return credential_for(name, lock=True)
    except NotFoundError as error:
        field = "litellm_params.litellm_credential_name"
        raise InputError(f"{field} is {name!r}; allowed is the name of a credential", field=field) from error


_TEXT_COLUMNS = frozenset({"base_url", "api_key_env"})
_COLUMNS = API_NAMES.keys() | {"credential_id", "enabled", "info", "public_id", "sealed_api_key"}


def _check_id(route: Route, fields: RouteFields) -> None:
    given = fields.get("public_id", route.public_id)
    if not route._state.adding and given != route.public_id:
        message = f"model_info.id is {given!r}; allowed is {route.public_id!r}, because the id of a model never changes"
        raise InputError(message, field="model_info.id")


def _taken(fields: RouteFields) -> dict[str, InputError]:
    name, public_id = fields.get("model_name"), fields.get("public_id")
    return {
        "catalog_route_model_name": InputError(
            f"model_name {name!r} has a route already; several routes of one name are not supported yet",
            field="model_name",
        ),
        "catalog_route_public_id": InputError(
            f"model_info.id is {public_id!r}, which another model has; allowed is one of its own", field="model_info.id"
        ),
    }


# --- a model_list ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What became of each entry, by the name of its model."""

    created: tuple[str, ...]
    changed: tuple[str, ...]
    unchanged: tuple[str, ...]
    refused: tuple[RefusedEntry, ...]


def import_model_list(entries: Sequence[object], *, dry_run: bool, now: datetime) -> ImportReport:
    """Makes or changes a route for each entry, in one transaction; a second run changes nothing.

    An entry changes what it names; what an admin added beside it stays. A refused entry keeps no other one back.
    """
    plan = plan_model_list(entries)
    done: dict[str, list[str]] = {"created": [], "changed": [], "unchanged": []}
    refused = list(plan.refused)
    with transaction.atomic():
        for planned in plan.routes:
            try:
                done[_import(planned, now=now)].append(planned.model_name)
            except InputError as error:
                refused.append(RefusedEntry(planned.position, planned.model_name, (str(error),)))
        if dry_run:
            transaction.set_rollback(True)
    refused.sort(key=lambda entry: entry.position)
    names = {outcome: tuple(models) for outcome, models in done.items()}
    return ImportReport(names["created"], names["changed"], names["unchanged"], tuple(refused))


def _import(planned: PlannedRoute, *, now: datetime) -> str:
    """`created`, `changed` or `unchanged`. Raises InputError."""
    fields = RouteFields(**planned.fields, model_name=planned.model_name)
    route = Route.objects.select_for_update().filter(model_name=planned.model_name).first()
    if route is None:
        create_route(fields, now=now)
        return "created"
    if not _apply(route, fields):
        return "unchanged"
    _check(route)
    _save(route, now=now)
    return "changed"
