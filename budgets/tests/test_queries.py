"""The query of a GET: what is read, what is refused, and with which words."""

from datetime import UTC, datetime
from typing import Any

import pytest
from django.conf import LazySettings
from django.test import RequestFactory
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

from budgets.queries import (
    FlagParameter,
    InstantParameter,
    IntParameter,
    NamesParameter,
    QuerySerializer,
    TextParameter,
    parameters_of,
)


class ReportQuery(QuerySerializer):
    name = TextParameter(help_text="Whose.", max_length=8, required=True)
    order = TextParameter(help_text="In which order.", choices=("asc", "desc"), default="asc")
    page = IntParameter(help_text="Which page.", minimum=1, maximum=100, default=1)
    details = FlagParameter(help_text="Whether with details.")
    since = InstantParameter(help_text="From when.")
    until = InstantParameter(help_text="Until when.", end_of_day=True)
    models = NamesParameter(help_text="Which models.", max_length=8)


class SecretQuery(QuerySerializer):
    key = TextParameter(help_text="Which.", max_length=8, secret=True)


def parameters(query: str) -> dict[str, Any]:
    return parameters_of(ReportQuery, Request(RequestFactory().get(f"/?{query}")))


def refusal(query: str) -> dict[str, str]:
    with pytest.raises(ValidationError) as caught:
        parameters(query)
    detail: Any = caught.value.detail
    return {name: str(texts[0] if isinstance(texts, list) else texts) for name, texts in detail.items()}


def test_what_is_not_given_or_empty_has_its_default() -> None:
    assert parameters("name=a&order=&page=&details=&since=&models=") == {
        "name": "a",
        "order": "asc",
        "page": 1,
        "details": False,
        "since": None,
        "until": None,
        "models": None,
    }


def test_every_kind_is_read() -> None:
    assert parameters("name=a&order=desc&page=7&details=YES&models=a,b&models=c") == parameters("name=a") | {
        "order": "desc",
        "page": 7,
        "details": True,
        "models": ["a", "b", "c"],
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-23", datetime(2026, 11, 23, tzinfo=UTC)),
        ("2026-11-23 14:05:06", datetime(2026, 11, 23, 14, 5, 6, tzinfo=UTC)),
        ("2026-11-23T14:05:06Z", datetime(2026, 11, 23, 14, 5, 6, tzinfo=UTC)),
        ("2026-11-23T14:05:06.125%2B02:00", datetime(2026, 11, 23, 12, 5, 6, 125000, tzinfo=UTC)),
        ("2026-11-23T14:05:06+02:00", datetime(2026, 11, 23, 12, 5, 6, tzinfo=UTC)),
    ],
)
def test_an_instant_is_read_in_every_form_that_clients_send(text: str, expected: datetime) -> None:
    assert parameters(f"name=a&since={text}")["since"] == expected


def test_a_bare_date_at_the_end_is_the_end_of_that_day_and_an_instant_is_itself() -> None:
    assert parameters("name=a&until=2026-11-23")["until"] == datetime(2026, 11, 23, 23, 59, 59, 999999, tzinfo=UTC)
    assert parameters("name=a&until=2026-11-23T00:00:00Z")["until"] == datetime(2026, 11, 23, tzinfo=UTC)


@pytest.mark.parametrize(
    "text", ["tomorrow", "2026-02-30", "1969-12-31", "2026-W01-1", "20261123", "9999-12-31T23:00-05"]
)
def test_what_is_no_instant_is_refused_with_the_forms_that_are_allowed(text: str) -> None:
    message = refusal(f"name=a&since={text}")["since"]
    assert repr(text) in message
    assert "YYYY-MM-DD HH:MM:SS" in message


def test_an_unknown_name_is_refused_with_the_nearest_known_one() -> None:
    assert refusal("name=a&pgae=2") == {"pgae": "unknown field; did you mean page?"}


@pytest.mark.parametrize(
    ("query", "field", "message"),
    [
        ("", "name", "needed in the query"),
        ("name=", "name", "needed in the query"),
        ("name=123456789", "name", "'123456789'... has 9 characters; allowed are at most 8"),
        ("name=a%00", "name", "'a\\x00' has a NUL; allowed is any text without"),
        ("name=a&name=b", "name", "given 2 times: 'a, b'; allowed is one value"),
        ("name=a&order=up", "order", "'up' is not allowed; allowed are asc, desc"),
        ("name=a&page=0", "page", "'0' is not allowed; allowed is a whole number from 1 to 100"),
        ("name=a&page=\u0661", "page", "'\u0661' is not allowed; allowed is a whole number from 1 to 100"),
        ("name=a&page=" + "9" * 5000, "page", f"'{'9' * 32}' is not allowed; allowed is a whole number from 1 to 100"),
        ("name=a&details=2", "details", "'2' is not allowed; allowed are true, 1, yes, false, 0, no"),
        ("name=a&models=a,123456789", "models", "'123456789'... has 9 characters; allowed are at most 8"),
        ("name=a&models=%00", "models", "'\\x00' has a NUL; allowed is any text without"),
    ],
)
def test_a_refusal_names_field_and_value_and_what_is_allowed(query: str, field: str, message: str) -> None:
    assert refusal(query) == {field: message}


@pytest.mark.parametrize("query", ["key=sk-a%00", "key=sk-a-long-one", "key=sk-a&key=sk-b"])
def test_a_secret_is_not_repeated(query: str) -> None:
    with pytest.raises(ValidationError) as caught:
        parameters_of(SecretQuery, Request(RequestFactory().get(f"/?{query}")))
    assert "sk-" not in str(caught.value.detail)


def test_unknown_names_are_dropped_where_the_settings_say_so(settings: LazySettings) -> None:
    settings.UNKNOWN_FIELDS = "ignore"
    assert parameters("name=a&pgae=2") == parameters("name=a")


def test_a_list_of_as_many_names_as_are_allowed_may_be_given_one_by_one() -> None:
    assert len(parameters("name=a&" + "&".join(f"models=m{number}" for number in range(1000)))["models"]) == 1000
