"""The client's body goes through; only what route and meter need is changed, and nothing else in it."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.routing import ResolvedRoute
from proxy.adapters.openai import Outgoing, outgoing, passed_on, request_headers
from proxy.tests.factories import MODEL, make_body, make_payload, make_route


def sent(body: bytes, *, route: ResolvedRoute | None = None, output_bound: int | None = None) -> Outgoing:
    return outgoing(orjson.loads(body), body=body, route=route or make_route(), output_bound=output_bound)


def test_body_is_untouched_where_nothing_must_change() -> None:
    body = b'\n {"model": "gpt-4o-mini" ,\t"temperature":1.0, "seed":\r\n 1e2}  '
    assert sent(body) == Outgoing(body, usage_added=False)
    assert sent(body).body is body


@pytest.mark.parametrize("stream", [False, None])
def test_json_calls_get_no_stream_options(stream: bool | None) -> None:
    body = make_body(stream=stream)
    assert sent(body).body is body


def test_model_is_named_as_the_route_says() -> None:
    payload = make_payload(temperature=0.1)
    changed = sent(json.dumps(payload).encode(), route=make_route(upstream_model="gpt-4o-2024"))
    assert json.loads(changed.body) == payload | {"model": "gpt-4o-2024"}


def test_usage_is_asked_for_in_front_and_the_rest_stays_as_it_came() -> None:
    body = b' {  "model" : "gpt-4o-mini", "stream" : true }\n'
    changed = sent(body)
    assert changed == Outgoing(
        b'{"stream_options":{"include_usage":true},  "model" : "gpt-4o-mini", "stream" : true }\n', usage_added=True
    )


def test_usage_that_the_client_asked_for_is_not_ours() -> None:
    body = make_body(stream=True, stream_options={"include_usage": True})
    assert sent(body) == Outgoing(body, usage_added=False)


@pytest.mark.parametrize("options", [None, {}, "yes", [], 1, {"include_usage": False}, {"include_usage": 1}])
def test_stream_options_of_any_shape_end_with_usage(options: object) -> None:
    changed = sent(make_body(stream=True, stream_options=options))
    assert json.loads(changed.body) == make_payload(stream=True, stream_options={"include_usage": True})
    assert changed.usage_added


def test_other_stream_options_are_kept() -> None:
    changed = sent(make_body(stream=True, stream_options={"include_obfuscation": False}))
    assert json.loads(changed.body)["stream_options"] == {"include_obfuscation": False, "include_usage": True}


@pytest.mark.parametrize(
    ("provider", "name"), [("openai", "max_completion_tokens"), ("mistral", "max_tokens"), ("anthropic", "max_tokens")]
)
def test_bound_has_the_name_that_the_provider_knows(provider: str, name: str) -> None:
    changed = sent(make_body(), route=make_route(provider=provider), output_bound=77)
    assert json.loads(changed.body) == make_payload(**{name: 77})


def test_bound_takes_the_place_of_a_null() -> None:
    changed = sent(make_body(max_completion_tokens=None), output_bound=77)
    assert json.loads(changed.body) == make_payload(max_completion_tokens=77)


fields = st.fixed_dictionaries(
    {"model": st.just(MODEL), "messages": st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=2)},
    optional={
        "stream": st.booleans() | st.none(),
        "stream_options": st.none()
        | st.dictionaries(st.sampled_from(["include_usage", "x"]), st.booleans() | st.none()),
        "temperature": st.floats(0, 2),
        "max_tokens": st.none(),
    },
)


@given(fields, st.sampled_from([MODEL, "other"]), st.none() | st.integers(1, 9), st.sampled_from(["", " ", "\r\n\t"]))
def test_nothing_changes_but_what_must(payload: dict[str, Any], upstream: str, bound: int | None, space: str) -> None:
    body = (space + json.dumps(payload, indent=1) + space).encode()
    changed = sent(body, route=make_route(upstream_model=upstream), output_bound=bound)
    wanted = payload | {"model": upstream}
    if payload.get("stream"):
        wanted["stream_options"] = {**(payload.get("stream_options") or {}), "include_usage": True}
    if bound is not None:
        wanted["max_completion_tokens"] = bound
    pairs = json.loads(changed.body, object_pairs_hook=list)
    assert len({name for name, _ in pairs}) == len(pairs)
    assert json.loads(changed.body) == wanted
    assert (changed.body == body) is (wanted == payload)


def test_provider_gets_our_key_and_nothing_of_the_client() -> None:
    headers = request_headers(make_route(api_key="sk-upstream"), call_id="0198", stream=True)
    assert headers["authorization"] == "Bearer sk-upstream"
    assert headers["accept"] == "text/event-stream"
    assert headers["x-client-request-id"] == "0198"
    assert request_headers(make_route(), call_id="0198", stream=False)["accept"] == "application/json"


def test_headers_that_mean_something_to_the_client_pass_and_no_others() -> None:
    given_headers = [
        ("content-type", "application/json"),
        ("content-encoding", "gzip"),
        ("retry-after", "7"),
        ("x-ratelimit-remaining-requests", "0"),
        ("openai-version", "2020-10-01"),
        ("anthropic-ratelimit-tokens-limit", "1"),
        ("set-cookie", "a=b"),
        ("content-length", "12"),
        ("transfer-encoding", "chunked"),
        ("connection", "close"),
        ("x-request-id", "req_1"),
        ("location", "http://elsewhere"),
        ("server", "x"),
    ]
    assert [name for name, _ in passed_on(given_headers)] == [name for name, _ in given_headers[:6]]
