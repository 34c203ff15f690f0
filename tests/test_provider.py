"""The provider of the tests, seen by the real OpenAI SDK and, where bytes matter, by a bare HTTP client.

What it says it did must be what a client saw: the gateway's ledger is compared with it call by call.
"""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import openai
import pytest
from openai.types.chat import ChatCompletionChunk, ChatCompletionMessageParam, ChatCompletionStreamOptionsParam

from tests.provider.behaviour import Behaviour, Ending
from tests.provider.server import Provider
from tests.provider.wire import count_tokens

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hello there, provider."}]
BODY = {"model": "gpt-4o", "messages": HELLO}
WITH_USAGE = BODY | {"stream": True, "stream_options": {"include_usage": True}}


@pytest.fixture
def sdk(provider: Provider) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=provider.base_url, api_key=provider.api_key, max_retries=0, timeout=5) as client:
        yield client


@pytest.fixture
def http(provider: Provider) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {provider.api_key}"}
    with httpx.Client(base_url=provider.base_url, headers=headers, timeout=5) as client:
        yield client


def streamed(sdk: openai.OpenAI, *, include_usage: bool = False) -> list[ChatCompletionChunk]:
    options: ChatCompletionStreamOptionsParam = {"include_usage": include_usage}
    with sdk.chat.completions.create(model="gpt-4o", messages=HELLO, stream=True, stream_options=options) as stream:
        return list(stream)


# --- whole answers --------------------------------------------------------------------------------


def test_sdk_reads_an_answer_and_the_record_agrees(provider: Provider, sdk: openai.OpenAI) -> None:
    answer = sdk.chat.completions.create(model="gpt-4o", messages=HELLO)
    [call] = provider.wait_for_calls(1)
    assert answer.id == call.id
    assert answer.usage is not None
    assert call.usage == answer.usage.model_dump(exclude_unset=True)
    assert answer.usage.prompt_tokens == 3 + 3 + count_tokens("Hello there, provider.")
    assert answer.usage.completion_tokens == call.output_tokens == 12
    assert (call.model, call.status, call.finished, call.hung_up) == ("gpt-4o", 200, True, False)
    assert call.headers["authorization"] == f"Bearer {provider.api_key}"
    assert json.loads(call.body) == call.payload == BODY


def test_output_bound_cuts_every_choice(provider: Provider, sdk: openai.OpenAI) -> None:
    answer = sdk.chat.completions.create(model="gpt-4o", messages=HELLO, max_completion_tokens=5, n=2)
    assert [choice.finish_reason for choice in answer.choices] == ["length", "length"]
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 10
    assert provider.calls[0].output_tokens == 10


def test_usage_has_the_details_that_were_asked_for(provider: Provider, sdk: openai.OpenAI) -> None:
    provider.behave(Behaviour(prompt_tokens=1000, cached_tokens=600, output_tokens=50, reasoning_tokens=40))
    answer = sdk.chat.completions.create(model="gpt-4o", messages=HELLO)
    assert answer.usage is not None
    assert answer.usage.prompt_tokens_details is not None
    assert answer.usage.completion_tokens_details is not None
    assert (answer.usage.prompt_tokens, answer.usage.prompt_tokens_details.cached_tokens) == (1000, 600)
    assert (answer.usage.completion_tokens, answer.usage.completion_tokens_details.reasoning_tokens) == (50, 40)
    assert answer.choices[0].message.content == "yes " * 10


def test_models_are_listed(sdk: openai.OpenAI) -> None:
    assert "gpt-4o" in [model.id for model in sdk.models.list()]


# --- streams --------------------------------------------------------------------------------------


def test_stream_without_include_usage_has_no_usage(provider: Provider, sdk: openai.OpenAI) -> None:
    chunks = streamed(sdk)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "yes " * 12
    assert all("usage" not in chunk.model_fields_set for chunk in chunks)
    [call] = provider.wait_for_calls(1)
    assert (call.usage, call.output_tokens, call.finished) == (None, 12, True)


def test_stream_with_include_usage_ends_with_it(provider: Provider, sdk: openai.OpenAI) -> None:
    *others, last = streamed(sdk, include_usage=True)
    assert all("usage" in chunk.model_fields_set and chunk.usage is None for chunk in others)
    assert last.choices == []
    assert last.usage is not None
    [call] = provider.wait_for_calls(1)
    assert call.usage == last.usage.model_dump(exclude_unset=True)


def test_stream_is_server_sent_events_to_the_byte(http: httpx.Client) -> None:
    answer = http.post("/chat/completions", json=WITH_USAGE | {"max_tokens": 1})
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    role, word, finish, usage, done, rest = answer.text.split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    assert role.startswith('data: {"id":"chatcmpl-provider')
    assert (
        '"choices":[{"index":0,"delta":{"content":"yes "},"logprobs":null,"finish_reason":null}],"usage":null' in word
    )
    assert '"delta":{},"logprobs":null,"finish_reason":"length"' in finish
    assert '"choices":[],"usage":{"prompt_tokens":' in usage


def test_reasoning_is_generated_before_the_first_word(provider: Provider, sdk: openai.OpenAI) -> None:
    provider.behave(Behaviour(output_tokens=10, reasoning_tokens=8, ending=Ending.CUT, pieces=2))
    with pytest.raises(openai.APIConnectionError):
        streamed(sdk)
    [call] = provider.wait_for_calls(1)
    assert call.output_tokens == 9


@pytest.mark.parametrize("size", [1, 7, 100, 10_000])
def test_body_in_pieces_of_any_size_is_the_same_body(provider: Provider, http: httpx.Client, size: int) -> None:
    provider.behave(Behaviour(split_bytes=size))
    answer = http.post("/chat/completions", json=WITH_USAGE)
    assert answer.text.count("data: ") == 1 + 12 + 1 + 1 + 1
    assert answer.text.endswith("data: [DONE]\n\n")
    [call] = provider.wait_for_calls(1)
    assert (call.output_tokens, call.finished) == (12, True)
    assert call.usage is not None


def test_pieces_arrive_one_by_one(provider: Provider, http: httpx.Client) -> None:
    provider.behave(Behaviour(split_bytes=50, piece_delay_s=0.002))
    with http.stream("POST", "/chat/completions", json=WITH_USAGE) as answer:
        pieces = list(answer.iter_raw())
    assert len(pieces) > 10
    assert {len(piece) for piece in pieces[:3]} == {50}


def test_events_may_end_in_carriage_returns(provider: Provider, sdk: openai.OpenAI) -> None:
    provider.behave(Behaviour(newline=b"\r\n"))
    assert len(streamed(sdk, include_usage=True)) == 15


def test_answers_can_be_big(provider: Provider, http: httpx.Client) -> None:
    provider.behave(Behaviour(padding_bytes=3_000_000))
    assert len(http.post("/chat/completions", json=BODY).content) > 3_000_000
    assert len(http.post("/chat/completions", json=WITH_USAGE).content) > 3_000_000


# --- refusals and errors --------------------------------------------------------------------------


def test_wrong_and_missing_keys_are_refused(provider: Provider, sdk: openai.OpenAI) -> None:
    with pytest.raises(openai.AuthenticationError, match="Incorrect API key provided"):
        sdk.with_options(api_key="sk-other").models.list()
    assert httpx.get(f"{provider.base_url}/models").json()["error"]["type"] == "invalid_request_error"
    assert [call.status for call in provider.calls] == [401, 401]


def test_rate_limit_says_when_to_come_back(provider: Provider, sdk: openai.OpenAI) -> None:
    provider.behave(Behaviour(status=429, retry_after_s=20), times=1)
    with pytest.raises(openai.RateLimitError) as refused:
        sdk.chat.completions.create(model="gpt-4o", messages=HELLO)
    assert refused.value.code == "rate_limit_exceeded"
    assert refused.value.response.headers["retry-after"] == "20"
    assert sdk.chat.completions.create(model="gpt-4o", messages=HELLO).id == provider.calls[1].id


def test_server_error_has_openais_shape(provider: Provider, sdk: openai.OpenAI) -> None:
    provider.behave(Behaviour(status=500))
    with pytest.raises(openai.InternalServerError) as failed:
        streamed(sdk)
    assert failed.value.type == "server_error"
    assert provider.calls[0].usage is None


@pytest.mark.parametrize("body", [b"{", b"[]", b"{}", b'{"model": "gpt-4o"}'])
def test_wrong_requests_are_refused(http: httpx.Client, body: bytes) -> None:
    answer = http.post("/chat/completions", content=body)
    assert answer.status_code == 400
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


def test_unknown_address_and_compressed_request_are_refused(http: httpx.Client) -> None:
    assert http.post("/nothing", json={}).status_code == 404
    assert http.post("/chat/completions", json=BODY, headers={"content-encoding": "gzip"}).status_code == 415


def test_answer_is_compressed_only_for_who_accepts_it(provider: Provider, http: httpx.Client) -> None:
    provider.behave(Behaviour(gzip=True))
    plain = http.post("/chat/completions", json=BODY, headers={"accept-encoding": "identity"})
    packed = http.post("/chat/completions", json=BODY, headers={"accept-encoding": "gzip"})
    assert ("content-encoding" in plain.headers, packed.headers["content-encoding"]) == (False, "gzip")
    assert plain.json()["usage"] == packed.json()["usage"]


# --- answers that break ---------------------------------------------------------------------------


def test_invalid_json_goes_out_as_given(provider: Provider, http: httpx.Client) -> None:
    provider.behave(Behaviour(body=b'{"id": "chat'))
    assert http.post("/chat/completions", json=BODY).content == b'{"id": "chat'
    assert provider.wait_for_calls(1)[0].usage is None


def test_usage_can_be_missing_or_nonsense(provider: Provider, http: httpx.Client) -> None:
    provider.behave(Behaviour(usage={"prompt_tokens": "many"}))
    assert http.post("/chat/completions", json=BODY).json()["usage"] == {"prompt_tokens": "many"}
    provider.behave(Behaviour(with_usage=False))
    assert "usage" not in http.post("/chat/completions", json=BODY).json()
    assert '"usage":{' not in http.post("/chat/completions", json=WITH_USAGE).text


def test_unfinished_stream_ends_without_usage(provider: Provider, http: httpx.Client) -> None:
    provider.behave(Behaviour(ending=Ending.UNFINISHED))
    text = http.post("/chat/completions", json=WITH_USAGE).text
    assert text.count("data: ") == 1 + 12
    assert "[DONE]" not in text
    assert provider.wait_for_calls(1)[0].usage is None


@pytest.mark.parametrize("body", [BODY, WITH_USAGE], ids=["json", "stream"])
@pytest.mark.parametrize(
    ("ending", "error"), [(Ending.CUT, httpx.RemoteProtocolError), (Ending.RESET, httpx.ReadError)]
)
def test_connection_breaks_in_the_middle(
    provider: Provider, http: httpx.Client, body: dict[str, object], ending: Ending, error: type[Exception]
) -> None:
    provider.behave(Behaviour(ending=ending, piece_delay_s=0.01))
    with http.stream("POST", "/chat/completions", json=body) as answer, pytest.raises(error):
        answer.read()
    [call] = provider.wait_for_calls(1)
    assert (call.finished, call.hung_up, call.usage) == (False, False, None)
    assert call.output_tokens == (2 if body is WITH_USAGE else 0)


def test_connection_is_reset_before_the_headers(provider: Provider, http: httpx.Client) -> None:
    provider.behave(Behaviour(ending=Ending.RESET_BEFORE_HEADERS))
    with pytest.raises(httpx.ReadError):
        http.post("/chat/completions", json=BODY)
    assert provider.wait_for_calls(1)[0].status == 0


@pytest.mark.parametrize("ending", [Ending.HANG_BEFORE_HEADERS, Ending.HANG])
def test_hanging_call_ends_when_its_client_leaves(provider: Provider, http: httpx.Client, ending: Ending) -> None:
    provider.behave(Behaviour(ending=ending))
    with pytest.raises(httpx.ReadTimeout):
        http.post("/chat/completions", json=WITH_USAGE, timeout=0.2)
    [call] = provider.wait_for_calls(1)
    assert (call.finished, call.hung_up, call.usage) == (False, True, None)


def test_slow_answer_comes_and_can_be_left(provider: Provider, http: httpx.Client) -> None:
    provider.behave(Behaviour(delay_s=0.3))
    with pytest.raises(httpx.ReadTimeout):
        http.post("/chat/completions", json=BODY, timeout=0.05)
    assert http.post("/chat/completions", json=BODY).status_code == 200
    assert [call.hung_up for call in provider.wait_for_calls(2)] == [True, False]


def test_generation_stops_when_the_client_leaves(provider: Provider, http: httpx.Client) -> None:
    provider.behave(Behaviour(output_tokens=10_000, piece_delay_s=0.01))
    with http.stream("POST", "/chat/completions", json=WITH_USAGE) as answer:
        next(answer.iter_raw())
    [call] = provider.wait_for_calls(1)
    assert (call.finished, call.hung_up, call.usage) == (False, True, None)
    assert call.output_tokens < 1000


# --- many calls, chosen behaviours ----------------------------------------------------------------


def test_behaviour_is_chosen_by_model_text_and_times(provider: Provider, sdk: openai.OpenAI) -> None:
    provider.behave(Behaviour(output_tokens=2), model="o3")
    provider.behave(Behaviour(output_tokens=3), containing="long story", times=1)
    story: list[ChatCompletionMessageParam] = [{"role": "user", "content": "a long story"}]
    asked = [("gpt-4o", HELLO), ("o3", HELLO), ("gpt-4o", story), ("gpt-4o", story)]
    for model, messages in asked:
        sdk.chat.completions.create(model=model, messages=messages)
    assert [call.output_tokens for call in provider.calls] == [12, 2, 3, 12]


def test_every_one_of_many_calls_is_recorded_once(provider: Provider, sdk: openai.OpenAI) -> None:
    def ask(number: int) -> str:
        if number % 2:
            return streamed(sdk, include_usage=True)[0].id
        return sdk.chat.completions.create(model="gpt-4o", messages=HELLO).id

    with ThreadPoolExecutor(16) as pool:
        seen = list(pool.map(ask, range(60)))
    calls = provider.wait_for_calls(60)
    assert sorted(call.id for call in calls) == sorted(seen)
    assert all(call.finished and call.usage for call in calls)
