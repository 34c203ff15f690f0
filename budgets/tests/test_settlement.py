"""A settlement survives its way through a queue, a stream and a hold's record."""

from dataclasses import replace

import orjson
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from budgets.rules.admission import Posting
from budgets.rules.calls import new_call_id
from budgets.rules.limits import LimitUnit
from budgets.rules.money import AMOUNT_MAX
from budgets.rules.settlement import Entry, HeldGroup, HeldWindow, Settlement, decode, encode, postings_of, release_of

NOW_MS = 1_790_000_000_000
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
amounts = st.integers(0, AMOUNT_MAX)
entries = st.builds(
    Entry,
    id=st.integers(0, 2**48 - 1).map(new_call_id),
    kind=texts,
    finished_ms=amounts,
    key_id=texts,
    team_id=st.none() | texts,
    user_id=st.none() | texts,
    customer_id=st.none() | texts,
    run_id=st.none() | texts,
    tags=st.lists(texts, max_size=3).map(tuple),
    model=texts,
    provider=texts,
    upstream_model=texts,
    input_tokens=amounts,
    output_tokens=amounts,
    cache_read_tokens=amounts,
    cache_write_tokens=amounts,
    reasoning_tokens=amounts,
    cost_nanousd=amounts,
    hold_nanousd=amounts,
    price_source=texts,
    is_estimated=st.booleans(),
    is_unpriced=st.booleans(),
    is_streamed=st.booleans(),
    http_status=st.integers(100, 599),
    first_byte_ms=st.none() | amounts,
)
held_windows = st.builds(HeldWindow, texts, st.sampled_from(list(LimitUnit)), amounts, amounts)
groups = st.builds(HeldGroup, texts, amounts, st.lists(held_windows, max_size=5).map(tuple))
settlements = st.builds(Settlement, entries, st.lists(groups, max_size=3).map(tuple))


def settlement() -> Settlement:
    entry = Entry(
        id=new_call_id(NOW_MS),
        kind="usage",
        finished_ms=NOW_MS + 5,
        key_id="k",
        team_id=None,
        user_id=None,
        customer_id=None,
        run_id=None,
        tags=(),
        model="m",
        provider="p",
        upstream_model="u",
        input_tokens=1,
        output_tokens=2,
        cache_read_tokens=0,
        cache_write_tokens=0,
        reasoning_tokens=0,
        cost_nanousd=7,
        hold_nanousd=9,
        price_source="card",
        is_estimated=False,
        is_unpriced=False,
        is_streamed=True,
        http_status=200,
        first_byte_ms=None,
    )
    return Settlement(entry, (HeldGroup("key:k", NOW_MS, (HeldWindow("c", LimitUnit.USD, 9, NOW_MS + 10),)),))


@given(settlements)
def test_decoding_gives_back_what_was_encoded(original: Settlement) -> None:
    decoded = decode(encode(original))
    assert decoded == original
    assert decoded.entry.admitted_ms == original.entry.admitted_ms
    assert all(type(window.unit) is LimitUnit for group in decoded.groups for window in group.windows)


@given(st.binary(max_size=60) | texts.map(str.encode) | st.integers(0, 400).map(lambda n: b"[" * n))
def test_any_other_bytes_are_refused(payload: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the parsers' words differ
        decode(payload)


json_values: st.SearchStrategy[object] = (
    st.none() | st.booleans() | st.integers(-5, 5) | texts | st.lists(st.integers(-5, 5)) | st.just({})
)


@given(st.sampled_from(["root", "birth_ms", "windows"]), json_values, st.booleans())
def test_a_settlement_with_a_part_missing_or_in_place_of_another_is_refused(
    part: str, value: object, is_missing: bool
) -> None:
    whole = orjson.loads(encode(settlement()))
    [data] = whole["groups"]
    if is_missing:
        del data[part]
    elif part == "windows":
        assume(value not in ([], "", {}))  # no windows are windows
        data[part] = value
    else:
        data[part] = value
    if not is_missing and (part, type(value)) in (("root", str), ("birth_ms", int)):
        assume(part == "birth_ms" and isinstance(value, int) and value < 0)
    with pytest.raises(ValueError):  # noqa: PT011 - the parsers' words differ
        decode(orjson.dumps(whole))


@pytest.mark.parametrize(
    "change",
    [
        {"windows": [{"counter": "c", "unit": "eur", "hold": 1, "expires_ms": 1}]},
        {"windows": [{"counter": "c", "unit": ["usd"], "hold": 1, "expires_ms": 1}]},
        {"windows": [{"counter": "c", "unit": "usd", "hold": "1", "expires_ms": 1}]},
        {"windows": [{"counter": "c", "unit": "usd", "hold": 1.5, "expires_ms": 1}]},
        {"windows": [{"counter": "c", "unit": "usd", "hold": -1, "expires_ms": 1}]},
        {"windows": [{"counter": "c", "unit": "usd", "hold": 1}]},
        {"windows": [{"counter": "c", "unit": "usd", "hold": 1, "expires_ms": 1, "more": 1}]},
        {"windows": ["window"]},
        {"windows": [None]},
        {"windows": 3},
        {"birth_ms": "0"},
        {"birth_ms": True},
        {"root": 5},
        {"more": 1},
    ],
)
def test_malformed_groups_are_refused(change: dict[str, object]) -> None:
    data = orjson.loads(encode(settlement()))
    data["groups"][0] |= change
    with pytest.raises(ValueError, match=r"not a settlement"):
        decode(orjson.dumps(data))


@pytest.mark.parametrize(
    "change", [{"entry": {}}, {"entry": []}, {"groups": 3}, {"groups": [None]}, {"groups": ["group"]}]
)
def test_malformed_parts_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"not a settlement"):
        decode(orjson.dumps(orjson.loads(encode(settlement())) | change))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("cost_nanousd", wrong) for wrong in (1.5, "7", -1, None)),
        *(
            ("id", "x"),
            ("id", 5),
            ("input_tokens", True),
            ("team_id", 3),
            ("is_estimated", 1),
            ("first_byte_ms", "1"),
        ),
        *(("tags", wrong) for wrong in ("a", [1], None, 5)),
        ("more", 1),
    ],
)
def test_malformed_entries_are_refused(field: str, value: object) -> None:
    data = orjson.loads(encode(settlement()))
    data["entry"][field] = value
    with pytest.raises(ValueError, match=r"not a settlement"):
        decode(orjson.dumps(data))


def test_each_window_is_charged_in_its_own_unit() -> None:
    windows = tuple(HeldWindow(unit.value, unit, 100, NOW_MS) for unit in LimitUnit)
    assert postings_of(windows, cost_nanousd=7, tokens=11) == (
        Posting("usd", 100, 7, NOW_MS),
        Posting("tokens", 100, 11, NOW_MS),
        Posting("requests", 100, 1, NOW_MS),
        Posting("parallel", 100, 0, NOW_MS),
    )
    assert [posting.cost for posting in release_of(windows)] == [0] * 4
    assert [posting.hold for posting in release_of(windows)] == [100] * 4


def test_the_admission_is_read_from_the_id() -> None:
    assert settlement().entry.admitted_ms == NOW_MS
    assert replace(settlement().entry, id=new_call_id(5)).admitted_ms == 5
