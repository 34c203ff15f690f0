"""Call ids are UUIDs of version 7 that know the millisecond of their admission."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgets.rules.calls import admitted_ms_of, new_call_id


@given(st.integers(0, 2**48 - 1))
def test_ids_are_uuids_of_version_7_with_their_millisecond(now_ms: int) -> None:
    call_id = new_call_id(now_ms)
    parsed = UUID(call_id)
    assert parsed.version == 7
    assert parsed.variant == "specified in RFC 4122"
    assert str(parsed) == call_id
    assert admitted_ms_of(call_id) == now_ms


def test_ids_of_one_millisecond_differ_in_all_their_random_bits() -> None:
    ids = [UUID(new_call_id(1_790_000_000_000)).int for _ in range(20_000)]
    assert len(set(ids)) == len(ids)
    varying = 0
    for value in ids:
        varying |= value ^ ids[0]
    assert varying == (1 << 80) - 1 & ~(0xF << 76) & ~(0x3 << 62)


@given(st.integers(0, 2**48 - 2), st.integers(1, 1000))
def test_later_ids_sort_after_earlier_ones(now_ms: int, later_ms: int) -> None:
    assert new_call_id(now_ms) < new_call_id(min(now_ms + later_ms, 2**48 - 1))


@pytest.mark.parametrize(
    "text", ["", "x", "0" * 32, "53d86c6a-bfe7-424e-9e26-77fdf4a026e3", str(UUID(int=0)), "not-a-uuid-at-all", "g" * 36]
)
def test_what_is_no_call_id_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"UUID"):
        admitted_ms_of(text)
