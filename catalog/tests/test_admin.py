"""The admin's pages as an admin uses them: prices typed in dollars, problems named beside their field."""

from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client
from django.urls import reverse

from catalog.models import Route
from catalog.tests.factories import saved_route

pytestmark = pytest.mark.django_db
ADD = "/admin/catalog/route/add/"
LIST = "/admin/catalog/route/"


@pytest.fixture(autouse=True)
def collected_static_files(settings: Any, tmp_path: Path) -> None:
    """The middleware that serves them warns when nobody has collected any."""
    settings.STATIC_ROOT = tmp_path


def typed(**fields: str) -> dict[str, str]:
    return {
        "model_name": "house-model",
        "provider": "house",
        "upstream_model": "llama-70b",
        "base_url": "http://127.0.0.1:8000/v1",
        "enabled": "on",
    } | fields


def errors(response: Any) -> dict[str, list[str]]:
    return dict(response.context["adminform"].form.errors)


def test_prices_typed_in_dollars_become_exact_nano_dollars(admin_client: Client) -> None:
    prices = {"input_nanousd_per_mtok": "2.5", "output_nanousd_per_mtok": "0.000000001"}
    response = admin_client.post(ADD, typed(**prices))
    assert response.status_code == 302
    route = Route.objects.get()
    assert (route.input_nanousd_per_mtok, route.output_nanousd_per_mtok) == (2_500_000_000, 1)
    assert route.cache_read_nanousd_per_mtok is None


def test_prices_are_shown_in_dollars(admin_client: Client) -> None:
    route = saved_route(input_nanousd_per_mtok=2_500_000_000, output_nanousd_per_mtok=1)
    page = admin_client.get(reverse("admin:catalog_route_change", args=[route.pk])).content.decode()
    assert 'value="2.5"' in page
    assert 'value="0.000000001"' in page
    assert "2.5" in admin_client.get(LIST).content.decode()


def test_route_without_own_prices_says_where_they_come_from(admin_client: Client) -> None:
    saved_route()
    assert "price list" in admin_client.get(LIST).content.decode()


def test_saving_an_unchanged_page_changes_nothing(admin_client: Client) -> None:
    route = saved_route(input_nanousd_per_mtok=123_456_789, output_nanousd_per_mtok=10**15)
    address = reverse("admin:catalog_route_change", args=[route.pk])
    form = admin_client.get(address).context["adminform"].form
    values = {name: form[name].value() for name in form.fields}
    response = admin_client.post(address, {name: value for name, value in values.items() if value is not None})
    assert response.status_code == 302
    route.refresh_from_db()
    assert (route.input_nanousd_per_mtok, route.output_nanousd_per_mtok) == (123_456_789, 10**15)


@pytest.mark.parametrize("price", ["1.0000000001", "-1", "NaN", "much", "1e400"])
def test_wrong_price_is_named_beside_its_field(admin_client: Client, price: str) -> None:
    response = admin_client.post(ADD, typed(input_nanousd_per_mtok=price, output_nanousd_per_mtok="1"))
    assert response.status_code == 200
    [message] = errors(response)["input_nanousd_per_mtok"]
    assert message.startswith(f"Input price (USD per million tokens) is {price!r}: ")
    assert not Route.objects.exists()


def test_problems_are_named_beside_their_fields(admin_client: Client) -> None:
    response = admin_client.post(
        ADD, typed(base_url="nowhere", api_key_env="sk-proj-1", cache_read_nanousd_per_mtok="1")
    )
    assert set(errors(response)) == {
        "base_url",
        "api_key_env",
        "input_nanousd_per_mtok",
        "output_nanousd_per_mtok",
    }


def test_second_route_of_a_name_is_refused(admin_client: Client) -> None:
    saved_route()
    response = admin_client.post(ADD, typed())
    assert "allowed is one per name" in str(errors(response))


def test_routes_can_be_deleted_one_by_one_and_together(admin_client: Client) -> None:
    one, *others = [saved_route(model_name=f"house-{number}") for number in range(3)]
    admin_client.post(reverse("admin:catalog_route_delete", args=[one.pk]), {"post": "yes"})
    assert Route.objects.count() == 2
    chosen = {"action": "delete_selected", "_selected_action": [other.pk for other in others], "post": "yes"}
    admin_client.post(LIST, chosen)
    assert not Route.objects.exists()


def test_strangers_see_no_routes(client: Client) -> None:
    assert client.get(LIST).status_code == 302
    client.force_login(get_user_model().objects.create_user("staff", is_staff=True))
    assert client.get(LIST).status_code == 403
