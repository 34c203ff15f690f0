"""The health pages. Open to everybody: whether this process lives, and whether it can work. With a key: details.

A worker that is away makes the gateway degraded, not unhealthy: budgets hold without it.
"""

import platform
from typing import Any

import django
from django.conf import settings
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from budgetgate import __version__
from budgetgate.probes import Database, Store, clock_ms, probe, probe_database, probe_store, provider_errors
from budgets.documents import (
    ERROR,
    Schema,
    documented,
    extend,
    integer,
    listing,
    nullable,
    number,
    one_of,
    record,
    text,
)
from budgets.errors import InputError, NotFoundError
from budgets.queries import QuerySerializer, TextParameter, parameters_of
from catalog.routing import ResolvedRoute
from catalog.table import RouteTable

SERVICES = ("database", "store", "worker")
TAG = "health"

_CONNECTED = ("connected", "Not connected")
_READINESS_FIELDS: dict[str, Schema] = {
    "status": text(
        "`degraded`: calls are admitted and budgets hold, background work waits for a worker.",
        choices=("healthy", "degraded", "unhealthy"),
    ),
    "db": text("The database.", choices=_CONNECTED),
    "store": text("The counter store.", choices=_CONNECTED),
    "worker": one_of(
        number("Seconds since a worker last gave a sign of life."), text("None has.", choices=("unknown",))
    ),
    "ledger_lag_s": nullable(number("Age of the oldest finished call that the database has not taken, in seconds.")),
}
READINESS = record("Readiness", _READINESS_FIELDS, d="Whether this gateway can work.")
_VERSION = text("Its version; empty where it does not answer.")
DETAILS = extend(
    READINESS,
    "ReadinessDetails",
    {
        "versions": record(
            "Versions",
            dict.fromkeys(("budgetgate", "python", "django", "postgresql", "valkey"), _VERSION),
            d="What runs.",
        ),
        "db_error": nullable(text("What the database said.")),
        "store_error": nullable(text("What the counter store said.")),
        "entries_waiting": nullable(integer("Finished calls that the database has not taken.")),
        "journals_waiting": integer("Journal files of this machine that wait to be posted."),
    },
    d="Whether this gateway can work, and with what.",
)
_ENDPOINT = {"model": text("The public name of a model."), "model_id": text("What names its route.")}
ENDPOINTS = record(
    "Endpoints",
    {
        "healthy_endpoints": listing(record("HealthyEndpoint", _ENDPOINT, d="Its provider answers.")),
        "unhealthy_endpoints": listing(
            record("UnhealthyEndpoint", {**_ENDPOINT, "error": text("Why not.")}, d="Its provider does not answer.")
        ),
        "healthy_count": integer("How many answer."),
        "unhealthy_count": integer("How many do not."),
    },
    d="The models, by whether their providers answer.",
)
SERVICE = record(
    "Service",
    {
        "service": text("Which.", choices=SERVICES),
        "status": text("Whether it answers.", choices=("healthy", "unhealthy")),
        "message": text("What it said."),
    },
    d="One part of the gateway.",
)


class OpenView(APIView):
    """Open to everybody."""

    authentication_classes = []
    permission_classes = []


class Liveliness(OpenView):
    """Whether this process answers at all; asks nothing of database or store."""

    @documented("Say that this process lives", answer=text("Always the same."), tag=TAG)
    def get(self, request: Request) -> Response:
        return Response("I'm alive!")


class Readiness(OpenView):
    """Whether this gateway can work."""

    @documented("Say whether this gateway can work", answer=READINESS, also={503: READINESS}, tag=TAG)
    def get(self, request: Request) -> Response:
        database, store = probe()
        return _ready(readiness(database, store))


class ReadinessDetails(APIView):
    """The same, with versions and numbers."""

    @documented(
        "Say whether this gateway can work, and with what", answer=DETAILS, also={503: one_of(DETAILS, ERROR)}, tag=TAG
    )
    def get(self, request: Request) -> Response:
        database, store = probe()
        versions = {
            "budgetgate": __version__,
            "python": platform.python_version(),
            "django": django.get_version(),
            "postgresql": database.version,
            "valkey": store.version,
        }
        details = {
            "versions": versions,
            "db_error": database.error,
            "store_error": store.error,
            "entries_waiting": store.entries_waiting,
            "journals_waiting": len(list((settings.DATA_DIR / "journal").glob("*.closed"))),
        }
        return _ready(readiness(database, store) | details)


def readiness(database: Database, store: Store) -> dict[str, Any]:
    """What everybody may know."""
    works = database.error is None and store.error is None
    return {
        "status": ("degraded" if store.worker_is_late else "healthy") if works else "unhealthy",
        "db": _CONNECTED[database.error is not None],
        "store": _CONNECTED[store.error is not None],
        "worker": "unknown" if store.beat_age_s is None else store.beat_age_s,
        "ledger_lag_s": store.ledger_lag_s,
    }


def _ready(answer: dict[str, Any]) -> Response:
    return Response(answer, status=503 if answer["status"] == "unhealthy" else 200)


class HealthQuery(QuerySerializer):
    """GET /health."""

    model = TextParameter(help_text="Only the model of this public name.")
    model_id = TextParameter(help_text="Only the model whose route has this id.")


class Health(APIView):
    """Asks the providers."""

    @documented(
        "Ask the providers of all models",
        query=HealthQuery,
        answer=ENDPOINTS,
        tag=TAG,
        description="One GET of its listing of models for each provider and credential, which costs nothing.",
    )
    def get(self, request: Request) -> Response:
        query = parameters_of(HealthQuery, request)
        table = RouteTable.from_settings()
        table.reload()
        routes = _routes(table, model=query["model"], model_id=query["model_id"])
        endpoints: dict[bool, list[dict[str, str]]] = {True: [], False: []}
        for (name, _), error in zip(routes, provider_errors([route for _, route in routes]), strict=True):
            shown = {"model": name, "model_id": name}
            endpoints[error is None].append(shown if error is None else {**shown, "error": error})
        return Response(
            {
                "healthy_endpoints": endpoints[True],
                "unhealthy_endpoints": endpoints[False],
                "healthy_count": len(endpoints[True]),
                "unhealthy_count": len(endpoints[False]),
            }
        )


def _routes(table: RouteTable, *, model: str | None, model_id: str | None) -> list[tuple[str, ResolvedRoute]]:
    """The routes by their public names: all, or the one that is asked for."""
    if model is not None and model_id is not None and model != model_id:
        raise InputError(f"model_id: {model_id!r} is not the id of {model!r}; give one of them", field="model_id")
    asked = model or model_id
    names = table.names() if asked is None else [asked]
    routes = [(name, route) for name in names if (route := table.resolve(name)) is not None]
    if asked is not None and not routes:
        field = "model" if model else "model_id"
        raise NotFoundError(f"{field}: {asked!r} is no model; GET /health lists those that are", field=field)
    return routes


class ServicesQuery(QuerySerializer):
    """GET /health/services."""

    service = TextParameter(required=True, choices=SERVICES, help_text="Which part of the gateway.")


class Services(APIView):
    """Asks one part of the gateway."""

    @documented(
        "Ask one part of the gateway", query=ServicesQuery, answer=SERVICE, also={503: one_of(SERVICE, ERROR)}, tag=TAG
    )
    def get(self, request: Request) -> Response:
        service = parameters_of(ServicesQuery, request)["service"]
        error = _error_of(service)
        status = "healthy" if error is None else "unhealthy"
        answer = {"service": service, "status": status, "message": error or f"the {service} answers"}
        return Response(answer, status=200 if error is None else 503)


def _error_of(service: str) -> str | None:
    if service == "database":
        return probe_database().error
    store = probe_store(now_ms=clock_ms())
    if service == "store" or store.error is not None:
        return store.error
    return "no worker has given a sign of life lately" if store.worker_is_late else None
