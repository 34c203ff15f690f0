"""The demo model against OpenAI's wire format, field by field, read with the SDK's own models."""

import json
import time
from typing import Any

import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from proxy.adapters.demo import ANSWER_TOKENS_MAX, DemoAnswer, count_tokens, demo_answer


def asked(text: str = "Is anybody there?", **fields: object) -> dict[str, object]:
    return {"model": "demo", "messages": [{"role": "user", "content": text}]} | fields


async def answer_to(payload: dict[str, object]) -> DemoAnswer:
    return await demo_answer(payload, chunk_delay_s=0)


async def completion(payload: dict[str, object]) -> ChatCompletion:
    answer = await answer_to(payload)
    assert answer.status == 200
    assert answer.headers == [("content-type", "application/json")]
    return ChatCompletion.model_validate_json(await answer.read(), strict=True)


async def events(payload: dict[str, object]) -> list[dict[str, Any]]:
    answer = await answer_to(payload | {"stream": True})
    assert answer.headers[0] == ("content-type", "text/event-stream; charset=utf-8")
    *chunks, done = [piece async for piece in answer.chunks()]
    assert done == b"data: [DONE]\n\n"
    assert all(
        chunk.startswith(b"data: {") and chunk.endswith(b"}\n\n") and chunk.count(b"\n") == 2 for chunk in chunks
    )
    return [json.loads(chunk[6:]) for chunk in chunks]


async def test_answer_is_friendly_and_echoes_the_last_user_message() -> None:
    messages = [
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "hm"},
        {
            "role": "user",
            "content": [{"type": "text", "text": "second  thing"}, {"type": "image_url", "image_url": {}}],
        },
    ]
    answer = await completion({"model": "demo", "messages": messages})
    text = answer.choices[0].message.content
    assert text is not None
    assert text.startswith('Hello! You said: "second thing". ')
    assert "first" not in text
    assert answer.choices[0].finish_reason == "stop"


async def test_long_messages_are_echoed_in_part() -> None:
    text = (await completion(asked("x" * 5000))).choices[0].message.content
    assert text is not None
    assert '"' + "x" * 200 + '..."' in text


async def test_usage_adds_up_and_counts_the_text() -> None:
    answer = await completion(asked("Is anybody there?"))
    assert answer.usage is not None
    text = answer.choices[0].message.content
    assert text is not None
    assert answer.usage.prompt_tokens == 3 + 4 + count_tokens("Is anybody there?")
    assert answer.usage.completion_tokens == count_tokens(text)
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


@pytest.mark.parametrize("bound", ["max_tokens", "max_completion_tokens"])
async def test_output_bound_cuts_the_answer(bound: str) -> None:
    answer = await completion(asked() | {bound: 5})
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 5
    assert answer.choices[0].finish_reason == "length"


async def test_n_choices_are_counted_n_times() -> None:
    answer = await completion(asked(n=3, max_tokens=4))
    assert answer.usage is not None
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert answer.usage.completion_tokens == 12


async def test_stream_says_what_the_json_says() -> None:
    whole = (await completion(asked())).choices[0].message.content
    chunks = [ChatCompletionChunk.model_validate(chunk) for chunk in await events(asked())]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert {chunk.id for chunk in chunks} == {chunks[0].id}


async def test_stream_without_include_usage_never_mentions_usage() -> None:
    assert all("usage" not in chunk for chunk in await events(asked()))


async def test_stream_with_include_usage_ends_with_usage_and_no_choices() -> None:
    *others, last = await events(asked(stream_options={"include_usage": True}))
    assert all(chunk["usage"] is None and chunk["choices"] for chunk in others)
    assert last["choices"] == []
    whole = (await completion(asked())).usage
    assert whole is not None
    assert last["usage"]["completion_tokens"] == whole.completion_tokens
    assert last["usage"]["prompt_tokens"] == whole.prompt_tokens


async def test_stream_of_several_choices_finishes_each() -> None:
    chunks = await events(asked(n=2, max_tokens=3))
    finished = [
        choice["index"] for chunk in chunks for choice in chunk["choices"] if choice["finish_reason"] == "length"
    ]
    assert finished == [0, 1]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": ["hello"]}, "messages"),
        ({"n": 0}, "n"),
        ({"n": 17}, "n"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"max_completion_tokens": -1}, "max_completion_tokens"),
    ],
)
async def test_wrong_request_is_refused_in_openais_shape(fields: dict[str, object], param: str) -> None:
    answer = await answer_to(asked(stream=True) | fields)
    assert answer.status == 400
    error = json.loads(await answer.read())["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["param"] == param
    assert error["type"] == "invalid_request_error"


async def test_odd_but_legal_requests_are_answered() -> None:
    await completion({"messages": [{"role": "system"}]})
    await completion(asked(max_tokens=10**12, n=None, stream_options="nonsense"))
    await completion(asked("half a pair: \ud800"))


async def test_answer_never_exceeds_its_own_maximum() -> None:
    answer = await completion(asked("- " * 10_000))
    assert answer.usage is not None
    assert answer.usage.completion_tokens <= ANSWER_TOKENS_MAX


async def test_closed_stream_says_nothing_more() -> None:
    answer = await answer_to(asked(stream=True))
    heard = []
    async for piece in answer.chunks():
        heard.append(piece)
        await answer.close()
    assert len(heard) == 1


async def test_stream_keeps_its_pace() -> None:
    answer = await demo_answer(asked(stream=True, max_tokens=3), chunk_delay_s=0.01)
    started = time.monotonic()
    pieces = [piece async for piece in answer.chunks()]
    assert time.monotonic() - started >= 0.01 * (len(pieces) - 1)
