"""The database is the last line: it refuses what the services would have refused."""

from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.db.models import ProtectedError

from catalog.tests.factories import make_route, saved_credential, saved_route

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("constraint", "fields"),
    [
        ("catalog_route_price_range", {"input_nanousd_per_mtok": -1, "output_nanousd_per_mtok": 1}),
        ("catalog_route_price_pair", {"input_nanousd_per_mtok": 1}),
        ("catalog_route_price_pair", {"cache_read_nanousd_per_mtok": 1}),
        ("catalog_route_output_tokens_max", {"output_tokens_max": 0}),
        ("catalog_route_timeouts", {"read_timeout_s": 0}),
        ("catalog_route_one_key", {"api_key": "sk-own", "api_key_env": "HOUSE_API_KEY"}),
    ],
)
def test_database_refuses(constraint: str, fields: dict[str, Any]) -> None:
    with transaction.atomic(), pytest.raises(IntegrityError, match=constraint):
        make_route(**fields).save()


def test_a_name_is_given_once() -> None:
    saved_route()
    with transaction.atomic(), pytest.raises(IntegrityError, match="catalog_route_model_name"):
        make_route(provider="other").save()


def test_a_public_id_is_given_once() -> None:
    route = saved_route()
    with transaction.atomic(), pytest.raises(IntegrityError, match="catalog_route_public_id"):
        make_route(model_name="other", public_id=route.public_id).save()


def test_a_credential_in_use_cannot_be_deleted() -> None:
    credential = saved_credential()
    saved_route(credential=credential)
    with pytest.raises(ProtectedError):
        credential.delete()


def test_full_card_and_no_card_are_accepted() -> None:
    saved_route(model_name="listed")
    saved_route(model_name="own", input_nanousd_per_mtok=0, output_nanousd_per_mtok=0, cache_write_nanousd_per_mtok=5)
