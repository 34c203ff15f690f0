"""Credentials, what they may do to the routes that use them, and the rotation of all secrets."""

from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from django.conf import LazySettings
from django.core.management import call_command

from budgets.errors import InputError, NotFoundError
from catalog.credential_services import (
    CredentialFields,
    Rotation,
    create_credential,
    credential_for,
    delete_credential,
    rotate_secrets,
    update_credential,
)
from catalog.models import Credential, Route
from catalog.secrets import Secret, make_secret_key, unseal
from catalog.tests.factories import saved_credential, saved_route
from tests.services import SECRET_KEY

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 1, tzinfo=UTC)
NEW_KEY = make_secret_key()


def test_credential_is_made_sealed_and_changed_by_what_is_named() -> None:
    fields = CredentialFields(name="house", api_key=Secret("sk-1"), base_url="https://house.example/v1", info={"a": 1})
    sealed = create_credential(fields, now=NOW).sealed_api_key
    assert "sk-1" not in sealed
    update_credential("house", {"info": {}}, now=NOW + timedelta(hours=1))
    credential = Credential.objects.get()
    assert (credential.sealed_api_key, credential.info) == (sealed, {})
    assert (credential.created_at, credential.updated_at) == (NOW, NOW + timedelta(hours=1))
    update_credential("house", {"name": "home", "api_key": Secret("sk-2")}, now=NOW)
    assert unseal(credential_for("home").sealed_api_key) == Secret("sk-2")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": "", "base_url": "http://a/v1"}, "credential_name"),
        ({"name": "by_name/x", "base_url": "http://a/v1"}, "credential_name"),
        ({"name": "x" * 256, "base_url": "http://a/v1"}, "credential_name"),
        ({"name": "a\nb", "base_url": "http://a/v1"}, "credential_name"),
        ({"name": "a", "base_url": "nowhere"}, "credential_values.api_base"),
        ({"name": "a"}, "credential_values.api_key"),
    ],
)
def test_credential_that_cannot_be_is_refused(fields: CredentialFields, field: str) -> None:
    with pytest.raises(InputError) as refused:
        create_credential(fields, now=NOW)
    assert refused.value.field == field
    assert not Credential.objects.exists()


def test_second_credential_of_a_name_is_refused() -> None:
    saved_credential()
    saved_credential(name="other")
    for write in (
        lambda: create_credential({"name": "house", "base_url": "http://a/v1"}, now=NOW),
        lambda: update_credential("other", {"name": "house"}, now=NOW),
    ):
        with pytest.raises(InputError, match="credential_name 'house' exists already"):
            write()


def test_address_that_a_route_needs_cannot_be_taken_away() -> None:
    credential = saved_credential(api_key="sk-1")
    saved_route(base_url="", credential=credential)
    with pytest.raises(InputError, match="because house-model has none of its own"):
        update_credential("house", {"base_url": None}, now=NOW)
    with pytest.raises(InputError, match="credential_name 'house' is used by house-model"):
        delete_credential("house", now=NOW)
    Route.objects.all().delete()
    update_credential("house", {"base_url": None}, now=NOW)
    delete_credential("house", now=NOW)
    assert not Credential.objects.exists()


@pytest.mark.parametrize("name", ["nobody", "", "a\0b", "x" * 256])
def test_unknown_credential_is_not_found(name: str) -> None:
    with pytest.raises(NotFoundError):
        credential_for(name)


def test_without_a_key_of_the_settings_nothing_is_kept(settings: LazySettings) -> None:
    settings.SECRET_KEYS = ()
    with pytest.raises(InputError, match="BUDGETGATE_SECRET_KEYS is empty") as refused:
        create_credential({"name": "house", "api_key": Secret("sk-1")}, now=NOW)
    assert "sk-1" not in str(refused.value)


# --- rotation -------------------------------------------------------------------------------------


def test_rotation_seals_all_with_the_first_key_and_a_second_run_changes_nothing(settings: LazySettings) -> None:
    saved_credential(api_key="sk-shared")
    saved_credential(name="address only")
    saved_route(api_key="sk-own")
    saved_route(model_name="open")
    settings.SECRET_KEYS = (NEW_KEY, SECRET_KEY)
    assert rotate_secrets() == Rotation(resealed=2, current=0, lost=())
    assert rotate_secrets() == Rotation(resealed=0, current=2, lost=())
    settings.SECRET_KEYS = (NEW_KEY,)
    assert unseal(Credential.objects.get(name="house").sealed_api_key) == Secret("sk-shared")
    assert unseal(Route.objects.get(model_name="house-model").sealed_api_key) == Secret("sk-own")


def test_rotation_leaves_what_it_cannot_open_and_names_it(settings: LazySettings) -> None:
    sealed = saved_credential(api_key="sk-shared").sealed_api_key
    settings.SECRET_KEYS = (NEW_KEY,)
    saved_route(api_key="sk-own")
    assert rotate_secrets() == Rotation(resealed=0, current=1, lost=("credential house",))
    assert Credential.objects.get().sealed_api_key == sealed


def test_command_says_how_many_and_fails_where_one_is_lost(
    settings: LazySettings, capsys: pytest.CaptureFixture[str]
) -> None:
    saved_route(api_key="sk-own")
    settings.SECRET_KEYS = (NEW_KEY, SECRET_KEY)
    out = StringIO()
    call_command("rotate_secrets", stdout=out)
    assert out.getvalue() == "1 sealed anew, 0 had the first key already\n"
    settings.SECRET_KEYS = (make_secret_key(),)
    with pytest.raises(SystemExit) as ended:
        call_command("rotate_secrets", stdout=out)
    assert str(ended.value) == (
        "budgetgate: no key of BUDGETGATE_SECRET_KEYS opens these, which stay as they are: route house-model"
    )
