"""The `model_list` of a LiteLLM config.yaml, already parsed, to the routes that it asks for.

Pure apart from the installed price list: no file, no database, no environment. Every entry becomes a plan or a list of
reasons; what only the database knows (a credential that is missing, an id that is taken) the service finds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from catalog.litellm_params import RouteFields, route_fields

ENTRY_NAMES = ("model_name", "litellm_params", "model_info")


@dataclass(frozen=True, slots=True)
class PlannedRoute:
    """One entry that can be tried. `position` counts from 1, as people count the entries of a file."""

    position: int
    model_name: str
    fields: RouteFields


@dataclass(frozen=True, slots=True)
class RefusedEntry:
    """One entry that cannot become a route, and why."""

    position: int
    model_name: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ModelListPlan:
    """What a list asks for, in its order."""

    routes: tuple[PlannedRoute, ...]
    refused: tuple[RefusedEntry, ...]


def plan_model_list(entries: Sequence[object]) -> ModelListPlan:
    """One plan or one refusal for each entry."""
    routes: dict[str, PlannedRoute] = {}
    refused = []
    for position, entry in enumerate(entries, start=1):
        planned = _planned(entry, position=position)
        if isinstance(planned, PlannedRoute) and planned.model_name in routes:
            planned = _second(planned, first=routes[planned.model_name])
        if isinstance(planned, PlannedRoute):
            routes[planned.model_name] = planned
        else:
            refused.append(planned)
    return ModelListPlan(tuple(routes.values()), tuple(refused))


def _planned(entry: object, *, position: int) -> PlannedRoute | RefusedEntry:
    if not isinstance(entry, Mapping):
        return RefusedEntry(position, "", ("it is not an object; allowed is one with model_name and litellm_params",))
    name, params, info = (entry.get(field) for field in ENTRY_NAMES)
    problems = {str(field): "unknown field" for field in entry if field not in ENTRY_NAMES}
    if not isinstance(name, str):
        problems["model_name"] = f"{name!r} is not allowed; allowed is a text"
    for field, value in (("litellm_params", params), ("model_info", info or {})):
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            problems[field] = "it is not an object with texts as names"
    fields = RouteFields()
    if isinstance(params, Mapping) and not problems:
        fields, problems = route_fields(params, info or {})
        if "provider" not in fields:
            problems.setdefault("litellm_params.model", "it is missing")
    if problems:
        reasons = tuple(f"{path}: {reason}" for path, reason in problems.items())
        return RefusedEntry(position, name if isinstance(name, str) else "", reasons)
    return PlannedRoute(position, str(name), fields)


def _second(planned: PlannedRoute, *, first: PlannedRoute) -> RefusedEntry:
    reason = f"model_name: entry {first.position} has this name; several routes of one name are not supported yet"
    return RefusedEntry(planned.position, planned.model_name, (reason,))
