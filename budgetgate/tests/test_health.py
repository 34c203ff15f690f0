"""The health pages with everything there, with each part away, and with providers that answer and that do not."""

from collections.abc import Iterator
from typing import Any

import pytest
import redis
from celery.signals import worker_ready
from django.conf import LazySettings
from django.db import connection
from django.test import Client

from budgetgate import probes
from budgetgate.tasks import beat
from budgets.gate.store import names
from catalog.tests.factories import saved_route
from tests.api import Api, error_of
from tests.provider.server import Provider

NOBODY = "http://127.0.0.1:1/v1"


@pytest.fixture
def no_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "connection", _Nowhere())


class _Nowhere:
    def get_connection_params(self) -> dict[str, object]:
        return connection.get_connection_params() | {"host": "127.0.0.1", "port": 1}


@pytest.fixture
def no_store(settings: LazySettings) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"


@pytest.fixture
def provider(settings: LazySettings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Provider]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Provider() as started:
        settings.PROVIDERS = {"openai": {"api_key": "", "base_url": started.base_url}}
        yield started


def readiness(client: Client, *, status: int) -> Any:
    answer = client.get("/health/readiness")
    assert answer.status_code == status, answer.content
    return answer.json()


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/health/liveliness", "/health/liveness"])
def test_everybody_may_ask_whether_the_gateway_lives(client: Client, path: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.json()) == (200, "I'm alive!")


@pytest.mark.django_db
def test_a_gateway_with_all_its_parts_is_healthy(client: Client, valkey: redis.Redis) -> None:
    beat()
    answer = readiness(client, status=200)
    assert 0 <= answer.pop("worker") < probes.BEAT_LATE_S
    assert answer == {"status": "healthy", "db": "connected", "store": "connected", "ledger_lag_s": 0.0}


@pytest.mark.django_db
def test_a_worker_that_never_came_is_unknown_and_the_gateway_degraded(client: Client, valkey: redis.Redis) -> None:
    answer = readiness(client, status=200)
    assert (answer["status"], answer["worker"]) == ("degraded", "unknown")


@pytest.mark.django_db
def test_a_worker_is_known_as_soon_as_it_is_ready(client: Client, valkey: redis.Redis) -> None:
    worker_ready.send(sender=None)
    assert readiness(client, status=200)["status"] == "healthy"


@pytest.mark.django_db
def test_a_worker_that_went_away_makes_the_gateway_degraded(client: Client, valkey: redis.Redis) -> None:
    valkey.set(names().beat, probes.clock_ms() - 60_000)
    answer = readiness(client, status=200)
    assert answer["status"] == "degraded"
    assert answer["worker"] >= 60


@pytest.mark.django_db
def test_the_age_of_the_oldest_call_that_waits_for_the_database_is_told(client: Client, valkey: redis.Redis) -> None:
    for age_ms in (30_000, 10_000):
        valkey.xadd(names().spill, {"entry": b"{}"}, id=f"{probes.clock_ms() - age_ms}-0")
    assert 30 <= readiness(client, status=200)["ledger_lag_s"] < 40


@pytest.mark.django_db
@pytest.mark.usefixtures("no_database")
def test_without_the_database_the_gateway_is_unhealthy(client: Client, valkey: redis.Redis) -> None:
    answer = readiness(client, status=503)
    assert (answer["status"], answer["db"], answer["store"]) == ("unhealthy", "Not connected", "connected")


@pytest.mark.django_db
@pytest.mark.usefixtures("no_store")
def test_without_the_store_the_gateway_is_unhealthy(client: Client) -> None:
    answer = readiness(client, status=503)
    assert answer == {
        "status": "unhealthy",
        "db": "connected",
        "store": "Not connected",
        "worker": "unknown",
        "ledger_lag_s": None,
    }


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/health", "/health/readiness/details", "/health/services?service=store"])
def test_details_want_a_key(client: Client, path: str) -> None:
    error_of(client.get(path), status=401)


@pytest.mark.django_db
def test_details_tell_versions_and_numbers(valkey: redis.Redis) -> None:
    valkey.xadd(names().spill, {"entry": b"{}"})
    details = Api().get("/health/readiness/details")
    assert all(details["versions"].values())
    assert (details["entries_waiting"], details["journals_waiting"]) == (1, 0)
    assert (details["db_error"], details["store_error"]) == (None, None)


@pytest.mark.django_db
@pytest.mark.usefixtures("no_database", "no_store")
def test_details_tell_what_is_wrong() -> None:
    answer = Api().send("/health/readiness/details", "", method="GET")
    assert answer.status_code == 503
    assert "refused" in answer.json()["db_error"]
    assert "refused" in answer.json()["store_error"]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("service", "status", "message"),
    [("database", 200, "answers"), ("store", 200, "answers"), ("worker", 503, "no worker has given a sign of life")],
)
def test_one_service_is_asked(valkey: redis.Redis, service: str, status: int, message: str) -> None:
    answer = Api().send(f"/health/services?service={service}", "", method="GET")
    assert (answer.status_code, answer.json()["service"]) == (status, service)
    assert message in answer.json()["message"]


@pytest.mark.django_db
def test_a_service_that_we_do_not_have_is_refused_with_those_that_we_have() -> None:
    error = error_of(Api().send("/health/services?service=langfuse", "", method="GET"), status=400)
    assert error["message"] == "service: 'langfuse' is not allowed; allowed are database, store, worker"


def make_route(name: str, *, base_url: str) -> None:
    saved_route(model_name=name, provider="local", upstream_model="llama", base_url=base_url)


@pytest.mark.django_db
def test_models_are_told_apart_by_whether_their_providers_answer(
    provider: Provider, settings: LazySettings, valkey: redis.Redis
) -> None:
    settings.PROVIDERS["openai"]["api_key"] = provider.api_key
    make_route("broken", base_url=NOBODY)
    answer = Api().get("/health")
    healthy = {endpoint["model"] for endpoint in answer["healthy_endpoints"]}
    assert healthy >= {"demo", "gpt-4o"}
    assert answer["healthy_count"] == len(healthy)
    assert answer["unhealthy_endpoints"] == [
        {"model": "broken", "model_id": "broken", "error": "GET /models failed: ConnectError"}
    ]
    assert answer["unhealthy_count"] == 1


@pytest.mark.django_db
def test_a_key_that_the_provider_refuses_makes_its_models_unhealthy(
    provider: Provider, settings: LazySettings, valkey: redis.Redis
) -> None:
    settings.PROVIDERS["openai"]["api_key"] = "sk-wrong"
    answer = Api().get("/health", model="gpt-4o")
    assert answer["unhealthy_endpoints"] == [
        {"model": "gpt-4o", "model_id": "gpt-4o", "error": "GET /models answered 401"}
    ]


@pytest.mark.django_db
@pytest.mark.parametrize("parameter", ["model", "model_id"])
def test_one_model_is_asked_for(parameter: str) -> None:
    answer = Api().get("/health", **{parameter: "demo"})
    assert answer["healthy_endpoints"] == [{"model": "demo", "model_id": "demo"}]


@pytest.mark.django_db
@pytest.mark.parametrize("parameter", ["model", "model_id"])
def test_a_model_that_does_not_exist_is_named(parameter: str) -> None:
    answer = Api().send(f"/health?{parameter}=nope", "", method="GET")
    assert error_of(answer, status=404)["param"] == parameter
