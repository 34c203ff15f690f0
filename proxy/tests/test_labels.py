"""Customer, tags and run are read from every place that clients put them in, and from one of them only."""

from collections.abc import Mapping

import pytest

from budgets.rules.labels import LabelError, Run
from proxy.labels import CUSTOMER_HEADERS, NO_LABELS, TAG_HEADERS, labels_of, without_our_tags
from proxy.tests.factories import make_payload

NONE: Mapping[str, str] = {}


def test_call_without_labels_has_none() -> None:
    assert labels_of(make_payload(), headers=NONE) is NO_LABELS
    assert labels_of(make_payload(user=None, metadata=None), headers=NONE) == NO_LABELS
    assert labels_of(make_payload(user="", metadata={"tags": None}), headers=NONE) == NO_LABELS


@pytest.mark.parametrize("name", CUSTOMER_HEADERS)
def test_customer_may_stand_in_a_header(name: str) -> None:
    assert labels_of(make_payload(), headers={name: "anna"}).customer_id == "anna"
    assert labels_of(make_payload(user="anna"), headers={name: "anna"}).customer_id == "anna"


@pytest.mark.parametrize("name", CUSTOMER_HEADERS)
def test_two_customers_of_one_call_are_refused(name: str) -> None:
    with pytest.raises(LabelError, match=f"user and {name} name different customers") as refused:
        labels_of(make_payload(user="anna"), headers={name: "berta"})
    assert refused.value.field == name


@pytest.mark.parametrize("user", [5, True, ["anna"], {"id": "anna"}])
def test_customer_that_is_no_text_is_refused(user: object) -> None:
    with pytest.raises(LabelError, match="user is no text"):
        labels_of(make_payload(user=user), headers=NONE)


@pytest.mark.parametrize("name", TAG_HEADERS)
def test_tags_of_body_and_headers_come_together(name: str) -> None:
    payload = make_payload(metadata={"tags": ["a", "b"], "other": 1})
    assert labels_of(payload, headers={name: "c, a ,,d"}).tags == ("a", "b", "c", "d")


def test_tags_of_all_places_are_bounded_together() -> None:
    payload = make_payload(metadata={"tags": [f"b{number}" for number in range(15)]})
    with pytest.raises(LabelError, match="21 tags") as refused:
        labels_of(payload, headers={"x-litellm-tags": "h1,h2,h3,h4,h5,h6"})
    assert refused.value.field == "x-litellm-tags"


@pytest.mark.parametrize("tags", ["a", {"a": 1}, 5, True, [5], [""], ["a\n"]])
def test_tags_that_are_no_list_of_texts_are_refused(tags: object) -> None:
    with pytest.raises(LabelError) as refused:
        labels_of(make_payload(metadata={"tags": tags}), headers=NONE)
    assert refused.value.field == "metadata.tags"


@pytest.mark.parametrize("metadata", ["text", ["tags"], 5])
def test_metadata_that_is_no_object_is_the_provider_s_business(metadata: object) -> None:
    payload = make_payload(metadata=metadata)
    assert labels_of(payload, headers=NONE) == NO_LABELS
    assert without_our_tags(payload) is None


def test_run_stands_in_its_header() -> None:
    assert labels_of(make_payload(), headers={"x-budgetgate-run": "r1; max=1"}).run == Run("r1", 10**9)


def test_tags_are_taken_out_of_what_the_provider_gets() -> None:
    assert without_our_tags(make_payload(metadata={"tags": ["a"]})) == make_payload()
    assert without_our_tags(make_payload(metadata={"tags": ["a"], "b": "c"})) == make_payload(metadata={"b": "c"})
    assert without_our_tags(make_payload(metadata={"b": "c"})) is None
    assert without_our_tags(make_payload()) is None
