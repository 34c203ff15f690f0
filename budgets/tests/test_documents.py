"""The builders of documents: what they make, and what they do not let pass."""

import pytest
from rest_framework.views import APIView

from budgets import documents
from budgets.documents import (
    documented,
    extend,
    flag,
    instant,
    integer,
    listing,
    mapping,
    nullable,
    one_of,
    record,
    text,
)
from budgets.queries import IntParameter, QuerySerializer


@pytest.fixture(autouse=True)
def own_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "RECORDS", {})


def test_a_record_is_a_component_that_is_referred_to() -> None:
    reference = record("Window", {"spent": integer("Tokens."), "reset_at": nullable(instant("When it ends."))})
    assert reference == {"$ref": "#/components/schemas/Window"}
    assert documents.RECORDS["Window"] == {
        "type": "object",
        "description": "Window",
        "properties": {
            "spent": {"type": "integer", "description": "Tokens."},
            "reset_at": {"type": ["string", "null"], "format": "date-time", "description": "When it ends."},
        },
        "required": ["spent", "reset_at"],
    }


def test_an_extended_record_has_the_fields_of_both() -> None:
    base = record("Base", {"id": text("Which."), "note": text("What.")}, required=["id"])
    extend(base, "More", {"note": flag("Another."), "last": flag("Whether.")}, required=["last"])
    more = documents.RECORDS["More"]
    assert list(more["properties"]) == ["id", "note", "last"]
    assert more["properties"]["note"]["type"] == "boolean"
    assert more["required"] == ["id", "last"]


def test_a_field_without_a_description_is_refused() -> None:
    with pytest.raises(ValueError, match="id of Nameless has no description"):
        record("Nameless", {"id": {"type": "string"}})


def test_the_same_name_for_two_different_records_is_refused() -> None:
    record("One", {"id": text("Which.")})
    record("One", {"id": text("Which.")})
    with pytest.raises(ValueError, match="two different records named One"):
        record("One", {"id": integer("Which.")})


def test_lists_and_nullable_records_are_described_by_what_they_hold() -> None:
    one = record("Item", {"id": text("Which.")}, d="An item.")
    record("Items", {"all": listing(one), "first": nullable(one), "by_name": mapping(one, "By name.")})
    assert documents.described(nullable(one)) == "An item."
    assert one_of(one, flag("Whether."))["description"] == "An item. Or: Whether."
    assert nullable(text("A colour.", choices=("red",))) == {
        "type": ["string", "null"],
        "description": "A colour.",
        "enum": ["red", None],
    }


class PageQuery(QuerySerializer):
    page = IntParameter(help_text="Which page.", minimum=1, maximum=9, default=1)


def test_a_documented_method_stays_a_method_of_its_view() -> None:
    class View(APIView):
        @documented("Shows a page", query=PageQuery, path={"page_id": "Which."}, answer=flag("Whether."))
        def get(self, request: object) -> str:
            return "answered"

    assert View().get(None) == "answered"
    assert View.get.kwargs["schema"] is not None  # type: ignore[attr-defined]
