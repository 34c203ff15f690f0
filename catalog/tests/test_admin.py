"""The admin's pages as an admin uses them: prices typed in dollars, problems named beside their field."""

from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client
from django.urls import reverse

from catalog.models import Credential, Route
from catalog.secrets import make_secret_key, unseal
from catalog.tests.factories import saved_credential, saved_route

pytestmark = pytest.mark.django_db
ADD = "/admin/catalog/route/add/"
LIST = "/admin/catalog/route/"
ADD_CREDENTIAL = "/admin/catalog/credential/add/"


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


# --- keys: typed and removed, never read ----------------------------------------------------------


def change(model: str, pk: int) -> str:
    return reverse(f"admin:catalog_{model}_change", args=[pk])


def test_typed_key_is_sealed_and_on_no_page(admin_client: Client) -> None:
    assert admin_client.post(ADD, typed(new_api_key="sk-typed")).status_code == 302
    route = Route.objects.get()
    assert unseal(route.sealed_api_key).text == "sk-typed"
    for address in (LIST, change("route", route.pk), reverse("admin:catalog_route_history", args=[route.pk])):
        page = admin_client.get(address).content.decode()
        assert "sk-typed" not in page
        assert route.sealed_api_key not in page
    refused = admin_client.post(ADD, typed(new_api_key="sk-typed"))
    assert refused.status_code == 200
    assert b"sk-typed" not in refused.content


def test_empty_key_keeps_what_is_stored_and_a_tick_removes_it(admin_client: Client) -> None:
    route = saved_route(api_key="sk-own")
    admin_client.post(change("route", route.pk), typed(upstream_model="other"))
    kept = Route.objects.get()
    assert (kept.upstream_model, kept.sealed_api_key) == ("other", route.sealed_api_key)
    admin_client.post(change("route", route.pk), typed(forget_api_key="on", api_key_env="HOUSE_API_KEY"))
    changed = Route.objects.get()
    assert (changed.sealed_api_key, changed.api_key_env) == ("", "HOUSE_API_KEY")


@pytest.mark.parametrize("key", ["sk-with space", "sk-ü", "os.environ/HOUSE_API_KEY"])
def test_wrong_key_is_named_and_not_repeated(admin_client: Client, key: str) -> None:
    response = admin_client.post(ADD, typed(new_api_key=key))
    assert list(errors(response)) == ["new_api_key"]
    assert key not in response.content.decode()


def test_key_has_one_place(admin_client: Client) -> None:
    response = admin_client.post(ADD, typed(new_api_key="sk-typed", api_key_env="HOUSE_API_KEY"))
    assert list(errors(response)) == ["api_key_env"]


def test_without_a_key_to_seal_with_the_page_says_so(admin_client: Client, settings: Any) -> None:
    settings.SECRET_KEYS = ()
    response = admin_client.post(ADD, typed(new_api_key="sk-typed"))
    assert "BUDGETGATE_SECRET_KEYS is empty" in str(errors(response))


def test_page_says_why_a_route_is_off(admin_client: Client, settings: Any) -> None:
    route = saved_route(api_key="sk-own")
    settings.SECRET_KEYS = (make_secret_key(),)
    assert "the stored key is lost" in admin_client.get(change("route", route.pk)).content.decode()


@pytest.mark.parametrize("info", ["[1]", "7", "{", '{"a": "\\u0000"}'])
def test_info_is_an_object(admin_client: Client, info: str) -> None:
    assert list(errors(admin_client.post(ADD, typed(info=info)))) == ["info"]


def test_credential_is_made_used_changed_and_deleted(admin_client: Client) -> None:
    typed_in = {"name": "shared", "new_api_key": "sk-shared", "base_url": "https://shared.example/v1"}
    assert admin_client.post(ADD_CREDENTIAL, typed_in).status_code == 302
    credential = Credential.objects.get()
    assert unseal(credential.sealed_api_key).text == "sk-shared"
    assert b"sk-shared" not in admin_client.get(change("credential", credential.pk)).content
    admin_client.post(ADD, typed(base_url="", credential=str(credential.pk)))
    assert Route.objects.get().credential == credential
    refused = admin_client.post(change("credential", credential.pk), {"name": "shared", "base_url": ""})
    assert "because house-model has none of its own" in str(errors(refused)["base_url"])
    delete = reverse("admin:catalog_credential_delete", args=[credential.pk])
    admin_client.post(delete, {"post": "yes"})
    assert Credential.objects.exists()
    Route.objects.all().delete()
    admin_client.post(delete, {"post": "yes"})
    assert not Credential.objects.exists()


def test_credential_problems_are_named_beside_their_fields(admin_client: Client) -> None:
    saved_credential()
    assert list(errors(admin_client.post(ADD_CREDENTIAL, {"name": "by_name/x"}))) == ["name", "new_api_key"]
    response = admin_client.post(ADD_CREDENTIAL, {"name": "house", "base_url": "nowhere"})
    assert "base_url" in errors(response)
    response = admin_client.post(ADD_CREDENTIAL, {"name": "house", "base_url": "https://a.example/v1"})
    assert "allowed is one per name" in str(errors(response))


def test_credentials_are_deleted_together(admin_client: Client) -> None:
    pks = [saved_credential(name=name).pk for name in ("a", "b")]
    chosen = {"action": "delete_selected", "_selected_action": pks, "post": "yes"}
    admin_client.post("/admin/catalog/credential/", chosen)
    assert not Credential.objects.exists()
