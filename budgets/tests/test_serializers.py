"""What becomes of names in a body that nobody knows, and of those that are known and not acted on."""

from decimal import Decimal
from typing import ClassVar

import pytest
from django.conf import LazySettings
from rest_framework.exceptions import ValidationError

from budgets.serializers import MetadataField, RequestSerializer, TextField


class Body(RequestSerializer):
    not_yet: ClassVar = {"tags": [], "kind": "default"}
    alias = TextField(help_text="Which.")


def errors(body: dict[str, object]) -> dict[str, str]:
    serializer = Body(data=body)
    serializer.is_valid()
    return {name: str(texts[0] if isinstance(texts, list) else texts) for name, texts in serializer.errors.items()}


def test_an_unknown_name_is_refused_with_the_nearest_one() -> None:
    assert errors({"alais": "a"}) == {"alais": "unknown field; did you mean alias?"}


def test_an_unknown_name_is_dropped_where_the_settings_say_so(settings: LazySettings) -> None:
    settings.UNKNOWN_FIELDS = "ignore"
    body = Body(data={"alais": "a", "alias": "b"})
    body.is_valid(raise_exception=True)
    assert body.validated_data == {"alias": "b"}


@pytest.mark.parametrize("setting", ["refuse", "ignore"])
def test_what_is_known_and_not_acted_on_is_refused_either_way_unless_it_means_nothing(
    settings: LazySettings, setting: str
) -> None:
    settings.UNKNOWN_FIELDS = setting
    assert errors({"tags": ["a"]}) == {"tags": "not supported yet; leave it out or send null"}
    assert errors({"tags": [], "kind": "default"}) == {}


def test_a_number_is_no_flag_and_a_flag_no_number() -> None:
    class Defaults(RequestSerializer):
        not_yet: ClassVar = {"rotate": False, "spend": 0}

    for body in ({"rotate": 0}, {"spend": True}):
        assert not Defaults(data=body).is_valid()
    assert Defaults(data={"rotate": False, "spend": 0}).is_valid()


@pytest.mark.parametrize("number", [Decimal("1e300"), Decimal("-9223372036854775808.0"), 2**64])
def test_metadata_with_a_number_that_could_not_be_answered_again_is_refused(number: object) -> None:
    with pytest.raises(ValidationError, match=r"it cannot be kept: .*(too large|64-bit)"):
        MetadataField().run_validation({"a": [number]})
