"""Call ids: UUIDs of version 7 (RFC 9562), whose first 48 bits are the millisecond of the admission.

An entry's `admitted_at` is read from its id, so a table partitioned by time can still hold each id only once.
"""

import os
from uuid import UUID


def new_call_id(now_ms: int) -> str:
    """A fresh id for a call admitted at `now_ms`."""
    random = int.from_bytes(os.urandom(10))
    value = (now_ms & (1 << 48) - 1) << 80 | random
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return str(UUID(int=value))


def admitted_ms_of(call_id: str) -> int:
    """The millisecond that the id was made in. Raises ValueError where it is no UUID of version 7."""
    parsed = UUID(call_id)
    if parsed.version != 7:
        raise ValueError(f"{call_id!r} is not a call id; allowed is a UUID of version 7")
    return parsed.int >> 80
