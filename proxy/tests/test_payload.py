"""What is checked is what the provider reads: no second value, no hidden spelling, no other capitals."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import ApiError
from proxy.payload import payload_of
from proxy.tests.factories import make_body, make_payload


def parsed(body: bytes) -> tuple[dict[str, Any], bytes]:
    result = payload_of(body)
    assert not isinstance(result, ApiError), result
    return result


def refused(body: bytes) -> ApiError:
    result = payload_of(body)
    assert isinstance(result, ApiError), result
    assert (result.status, result.type) == (400, "invalid_request_error")
    return result


def as_first_wins(body: bytes) -> dict[str, Any]:
    """A parser that takes the first of two values."""
    data: dict[str, Any] = json.loads(body, object_pairs_hook=lambda pairs: dict(reversed(pairs)))
    return data


def test_ordinary_body_stays_as_it_came() -> None:
    body = b' {"model" : "gpt-4o-mini",\n "messages": [{"role": "user", "content": "\\u00e9 \\n \\"model\\""}]}\n'
    assert parsed(body)[1] is body


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"dear","model":"cheap","messages":[]}',
        b'{"model":"dear","messages":[],"mod\\u0065l":"cheap"}',
        b'{"\\u006dodel":"dear","messages":[],"model":"cheap"}',
        b'{"model":"dear","\\u006D\\u006fdel":"cheap"}',
        b'{"model":"x","max_tokens":1000000,"max_tokens":1}',
        b'{"model":"x","max\\u005ftokens":1000000,"max_tokens":1}',
        b'{"model":"x","n":100,"n":1}',
        b'{"model":"x","stream":true,"stream":false}',
        b'{"model":"x","service_tier":"priority","service_tier":"flex"}',
        b'{"model":"x","stream":true,"stream_options":{"include_usage":false,"include_usage":true}}',
    ],
)
def test_name_that_is_given_twice_leaves_once_with_the_value_that_was_checked(body: bytes) -> None:
    payload, sent = parsed(body)
    assert as_first_wins(sent) == json.loads(sent) == payload == json.loads(body)
    assert b"\\u00" not in sent


def test_nested_names_of_the_same_spelling_change_no_meaning() -> None:
    body = make_body(tools=[{"function": {"parameters": {"properties": {"model": {}, "n": {}}}}}], n=1)
    payload, sent = parsed(body)
    assert payload == json.loads(sent) == json.loads(body)


@pytest.mark.parametrize("name", ["Model", "MODEL", "Max_Tokens", "\u017ftream", "N", "Stream_Options", "SERVICE_TIER"])
def test_field_that_differs_in_capitals_alone_is_refused(name: str) -> None:
    error = refused(make_body(**{name: 1}))
    assert error.param == name
    assert name.casefold() in error.message


@pytest.mark.parametrize("name", ["Modell", "topK", "größe", "X-Model"])
def test_fields_that_decide_nothing_may_be_spelled_as_they_like(name: str) -> None:
    assert parsed(make_body(**{name: 1}))[0][name] == 1


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b'\xef\xbb\xbf{"model":"x"}', "not JSON"),
        (b'{"model":"\xff"}', "not JSON"),
        (b'{"model":"\\ud800"}', "not JSON"),
        (b'{"model":"x","temperature":NaN}', "not JSON"),
        (b'{"model":"x","temperature":1e999}', "not JSON"),
        (b'{"model":"x"}{"model":"y"}', "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"model":"x","a":' + b"[" * 5000 + b"]" * 5000 + b"}", "not JSON"),
        (b"[]", "not a JSON object"),
        (b'"model"', "not a JSON object"),
        (b"null", "not a JSON object"),
        (b"12", "not a JSON object"),
    ],
)
def test_what_is_no_json_object_is_refused(body: bytes, said: str) -> None:
    error = refused(body)
    assert said in error.message
    assert error.param is None
    assert len(error.body()) < 500


@pytest.mark.parametrize("model", [None, 1, True, ["x"], {"x": 1}])
def test_model_must_be_a_text(model: object) -> None:
    assert refused(make_body(model=model)).param == "model"
    assert refused(b"{}").param == "model"


@pytest.mark.parametrize("stream", ["true", 1, 0, [], {}])
def test_stream_must_be_true_or_false(stream: object) -> None:
    assert refused(make_body(stream=stream)).param == "stream"


@pytest.mark.parametrize("stream", [True, False, None])
def test_stream_may_be_null(stream: bool | None) -> None:
    assert parsed(make_body(stream=stream))[0]["stream"] is stream


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["messages", "tools", "metadata", "stop", "user"]), values), st.booleans())
def test_bytes_and_object_always_say_the_same(fields: dict[str, Any], escaped: bool) -> None:
    body = json.dumps(make_payload(**fields), ensure_ascii=escaped).encode()
    payload, sent = parsed(body)
    assert orjson.loads(sent) == payload == json.loads(body)
