"""Call ids: UUIDs of version 7 (RFC 9562), whose first 48 bits are the millisecond of the admission.

An entry's `admitted_at` is read from its id, so a table partitioned by time can still hold each id only once.
"""

import os
from uuid import UUID

_TIME = (1 << 48) - 1
_RANDOM = ~(0xF << 76 | 0x3 << 62)
_VERSION_AND_VARIANT = 0x7 << 76 | 0x2 << 62


def new_call_id(now_ms: int) -> str:
    """A fresh id for a call admitted at `now_ms`: 48 bits of time, the version, the variant, 74 random bits."""
    random = int.from_bytes(os.urandom(10))
    value = (now_ms & _TIME) << 80 | random & _RANDOM | _VERSION_AND_VARIANT
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def admitted_ms_of(call_id: str) -> int:
    """The millisecond that the id was made in. Raises ValueError where it is no UUID of version 7."""
    parsed = UUID(call_id)
    if parsed.version != 7:
        raise ValueError(f"{call_id!r} is not a call id; allowed is a UUID of version 7")
    return parsed.int >> 80
