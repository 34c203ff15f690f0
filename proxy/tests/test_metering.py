"""Usage is the provider's own word or an estimate that says so, however its stream is cut into pieces."""

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.pricing import Usage
from proxy.metering import EVENT_BYTES_MAX, TOKENS_MAX, Measured, StreamMeter, estimated, measure_json, usage_of
from proxy.tests.factories import make_chunk, make_event, make_stream, make_usage

ASKED_BYTES = 40


def measured_of(stream: bytes, *, drop_usage: bool = False, cuts: list[int] | None = None) -> tuple[bytes, Measured]:
    """What the client gets of a stream that came in pieces cut at these positions, and what was measured."""
    meter = StreamMeter(drop_usage=drop_usage, request_bytes=ASKED_BYTES)
    places = [0, *sorted(cuts or []), len(stream)]
    out = [meter.feed(stream[start:end]) for start, end in itertools.pairwise(places)]
    return b"".join(out) + meter.finish(), meter.measured()


# --- whole answers ------------------------------------------------------------------------------------


def test_openai_usage_is_read_with_all_its_parts() -> None:
    details = {"cached_tokens": 60, "audio_tokens": 7, "cache_write_tokens": 3}
    usage = make_usage(
        100,
        50,
        total_tokens=150,
        prompt_tokens_details=details,
        completion_tokens_details={"reasoning_tokens": 20, "audio_tokens": 4, "rejected_prediction_tokens": 9},
    )
    assert usage_of({"usage": usage}) == Usage(
        input_tokens=100,
        output_tokens=50,
        cache_read_tokens=60,
        cache_write_tokens=3,
        reasoning_tokens=20,
        input_audio_tokens=7,
        output_audio_tokens=4,
    )


@pytest.mark.parametrize("details", [None, [], "many", 7])
def test_details_of_another_shape_are_no_details(details: object) -> None:
    usage = make_usage(prompt_tokens_details=details, completion_tokens_details=details)
    assert usage_of({"usage": usage}) == Usage(input_tokens=10, output_tokens=5)


def test_parts_that_are_null_are_zero() -> None:
    usage = make_usage(prompt_tokens_details={"cached_tokens": None})
    assert usage_of({"usage": usage}) == Usage(input_tokens=10, output_tokens=5)


def test_usage_of_zero_is_an_answer() -> None:
    assert usage_of({"usage": make_usage(0, 0)}) == Usage()


@pytest.mark.parametrize("number", [-1, TOKENS_MAX + 1, True, "12", 1.5, None, [], {}])
@pytest.mark.parametrize("name", ["prompt_tokens", "completion_tokens"])
def test_totals_that_make_no_sense_are_no_usage(name: str, number: object) -> None:
    assert usage_of({"usage": make_usage() | {name: number}}) is None


@pytest.mark.parametrize("number", [-1, TOKENS_MAX + 1, True, "12", 1.5])
def test_parts_that_make_no_sense_spoil_the_usage(number: object) -> None:
    assert usage_of({"usage": make_usage(prompt_tokens_details={"cached_tokens": number})}) is None


@pytest.mark.parametrize(
    "answer", [{}, {"usage": None}, {"usage": {}}, {"usage": []}, {"usage": {"prompt_tokens": 3}}, {"usage": 12}]
)
def test_usage_without_both_totals_is_none(answer: dict[str, Any]) -> None:
    assert usage_of(answer) is None


def test_whole_answer_is_measured_by_its_usage_and_names_its_tier() -> None:
    body = json.dumps({"usage": make_usage(10, 5), "service_tier": "priority"}).encode()
    assert measure_json(body, request_bytes=ASKED_BYTES) == Measured(Usage(10, 5), False, "priority")


@pytest.mark.parametrize("tier", [None, "", 0, False])
def test_empty_tier_is_the_standard_one(tier: object) -> None:
    body = json.dumps({"usage": make_usage(), "service_tier": tier}).encode()
    assert measure_json(body, request_bytes=ASKED_BYTES).service_tier == ""


@pytest.mark.parametrize(
    "body", [b"", b"not json", b"[]", b"12", b"null", b'"usage"', b'{"usage": {"prompt_tokens": -5}}', b"\xff\xfe"]
)
def test_answers_without_usage_are_estimated_from_bytes(body: bytes) -> None:
    measured = measure_json(body, request_bytes=ASKED_BYTES)
    assert measured == Measured(Usage(10, -(-len(body) // 4)), is_estimated=True)


def test_estimate_counts_a_piece_as_a_token_at_least() -> None:
    assert estimated(request_bytes=5, answer_bytes=9).usage == Usage(2, 3)
    assert estimated(request_bytes=5, answer_bytes=9, pieces=8).usage == Usage(2, 8)


# --- streams ------------------------------------------------------------------------------------------

TEXTS = ["yes ", "ünï ", "你好", "👩‍🚀", 'a "quoted" \\ word', "line\nbreak", '"usage": {', "data: [DONE]\n\n"]


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[bytes], bytes]:
    """The events of a stream with usage at its end, and the newline that they are made with."""
    newline = draw(st.sampled_from([b"\n", b"\r\n"]))
    chunks = [make_chunk(text, usage=None) for text in draw(st.lists(st.sampled_from(TEXTS), max_size=6))]
    chunks.append(make_chunk(None, usage=make_usage(11, 7), service_tier="flex"))
    return [*(make_event(chunk, newline=newline) for chunk in chunks), make_event("[DONE]", newline=newline)], newline


@given(streams(), st.data(), st.booleans())
def test_pieces_of_a_stream_do_not_matter(made: tuple[list[bytes], bytes], data: st.DataObject, drop: bool) -> None:
    events, _ = made
    stream = b"".join(events)
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=30))
    seen, measured = measured_of(stream, drop_usage=drop, cuts=cuts)
    assert seen == b"".join(events[:-2] + events[-1:] if drop else events)
    assert measured == Measured(Usage(11, 7), False, "flex")


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
@pytest.mark.parametrize("drop", [True, False])
def test_stream_cut_at_every_byte_is_the_same(newline: bytes, drop: bool) -> None:
    usage_chunk = make_chunk(None, usage=make_usage())
    stream = make_stream(make_chunk("你好👩‍🚀"), usage_chunk, newline=newline)
    whole = measured_of(stream, drop_usage=drop)
    assert (make_event(usage_chunk, newline=newline) in whole[0]) is not drop
    for cut in range(len(stream)):
        assert measured_of(stream, drop_usage=drop, cuts=[cut]) == whole
    assert measured_of(stream, drop_usage=drop, cuts=list(range(len(stream)))) == whole


def test_events_leave_as_soon_as_they_are_whole() -> None:
    meter = StreamMeter(drop_usage=True, request_bytes=0)
    first, second = make_event(make_chunk("one ")), make_event(make_chunk("two "))
    assert meter.feed(first + second[:10]) == first
    assert meter.feed(second[10:-1]) == b""
    assert meter.feed(second[-1:]) == second
    assert meter.finish() == b""


def test_usage_that_comes_with_choices_is_kept_and_counted() -> None:
    stream = make_stream(make_chunk("yes ", usage=make_usage(3, 1)), make_chunk("no ", usage=make_usage(3, 2)))
    assert measured_of(stream, drop_usage=True) == (stream, Measured(Usage(3, 2), is_estimated=False))


def test_chunks_without_choices_that_say_something_else_are_kept() -> None:
    stream = make_stream(make_chunk(None, prompt_filter_results=[{"usage": {}}]), make_chunk(None, usage=None))
    assert measured_of(stream, drop_usage=True)[0] == stream


def test_usage_chunk_that_makes_no_sense_is_dropped_too_and_the_call_estimated() -> None:
    stream = make_stream(make_chunk("yes "), make_chunk(None, usage=make_usage(-1, 5)))
    seen, measured = measured_of(stream, drop_usage=True)
    assert seen == make_stream(make_chunk("yes "))
    assert measured == Measured(Usage(10, 1), is_estimated=True)


def test_the_word_usage_in_a_text_is_no_usage() -> None:
    stream = make_stream(make_chunk('say "usage": {"prompt_tokens": 0, "completion_tokens": 0}'))
    assert measured_of(stream, drop_usage=True)[0] == stream
    assert measured_of(stream)[1].is_estimated


def test_stream_without_usage_is_estimated_by_the_larger_of_pieces_and_text() -> None:
    many = make_stream(*[make_chunk("a")] * 12, done=False)
    long = make_stream(make_chunk("a" * 400), done=False)
    assert measured_of(many)[1] == Measured(Usage(10, 12), is_estimated=True)
    assert measured_of(long)[1] == Measured(Usage(10, 100), is_estimated=True)


@pytest.mark.parametrize(
    "delta",
    [{"reasoning_content": "hm"}, {"refusal": "no"}, {"tool_calls": [{"function": {"arguments": '{"a": 1}'}}]}],
)
def test_all_that_was_written_counts_in_the_estimate(delta: dict[str, Any]) -> None:
    stream = make_stream(make_chunk(None, choices=[{"index": 0, "delta": delta}]), done=False)
    assert measured_of(stream)[1].usage.output_tokens >= 1


def test_empty_stream_is_estimated_by_its_request() -> None:
    assert measured_of(b"") == (b"", Measured(Usage(10, 0), is_estimated=True))


def test_error_event_passes() -> None:
    stream = make_event({"error": {"message": "overloaded", "type": "server_error"}})
    assert measured_of(stream, drop_usage=True)[0] == stream


def test_broken_json_passes_as_it_came() -> None:
    stream = b'data: {"usage": {"prompt_tokens": \n\ndata: [1, {"usage": {}}]\n\n: a comment\n\nevent: ping\n\n'
    seen, measured = measured_of(stream, drop_usage=True)
    assert seen == stream
    assert measured.is_estimated


def test_data_in_several_lines_is_one_event() -> None:
    stream = b'event: x\ndata: {"choices": [],\ndata: "usage": {"prompt_tokens": 2, "completion_tokens": 3}}\n\n'
    assert measured_of(stream, drop_usage=True) == (b"", Measured(Usage(2, 3), is_estimated=False))


def test_last_event_without_its_blank_line_still_counts() -> None:
    stream = make_stream(make_chunk("yes "), make_chunk(None, usage=make_usage(2, 3)), done=False).rstrip(b"\n")
    seen, measured = measured_of(stream)
    assert seen == stream
    assert measured == Measured(Usage(2, 3), is_estimated=False)


def test_event_without_an_end_is_passed_on_and_not_kept() -> None:
    meter = StreamMeter(drop_usage=True, request_bytes=0)
    piece = b"x" * (1024 * 1024)
    out = [meter.feed(piece) for _ in range(EVENT_BYTES_MAX // len(piece) + 1)]
    assert b"".join(out) == piece * len(out)
    assert meter.finish() == b""


def test_stream_goes_on_after_an_event_without_an_end() -> None:
    junk = b"data: " + b"x" * EVENT_BYTES_MAX
    stream = junk + b"\n\n" + make_stream(make_chunk(None, usage=make_usage(2, 3)))
    seen, measured = measured_of(stream, drop_usage=False, cuts=[len(junk)])
    assert seen == stream
    assert measured == Measured(Usage(2, 3), is_estimated=False)
