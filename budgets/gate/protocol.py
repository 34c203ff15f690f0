"""The counter store's protocol: key names, scripts, argument order, replies; for the async and the sync client.

Every key of one script carries the root in braces, so that all of them live in one slot of a cluster. Amounts are
integers (nano-dollars, tokens, requests), instants milliseconds since 1970.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from budgets.rules.admission import MARGIN_MS, Admission, Claim, Posting, Reading, Status, Verdict
from budgets.rules.money import AMOUNT_MAX
from budgets.rules.windows import END_OF_TIME_MS, Window

HOLD_LIFE_MS = 90_000
"""A hold that nobody extends for this long belongs to a gateway that died."""

COUNTER_GRACE_MS = 6 * 3600_000
"""How long a counter outlives its window: longer than the longest call, whose cost still belongs to it."""

IDLE_LIFE_MS = 40 * 86400_000
"""How long birth marks and lifetime counters outlive their last use; afterwards the ledger knows."""

RUN_LIFE_MS = 24 * 3600_000
"""How long the counter of a run outlives its last admission; there may be very many of them."""

MARK_LIFE_MS = 3600_000

Command = list[str | int | bytes]

_VERDICTS = tuple(Verdict)
_STATUSES = tuple(Status)


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script and the digest that the store knows it by."""

    source: str
    sha: str


def _script(name: str) -> Script:
    source = (Path(__file__).parent / "lua" / f"{name}.lua").read_text()
    return Script(source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())


ADMIT = _script("admit")
SETTLE = _script("settle")
EXTEND = _script("extend")
SEED = _script("seed")
FORGET = _script("forget")
EXPIRE = _script("expire")
SCRIPTS = {script.sha: script for script in (ADMIT, SETTLE, EXTEND, SEED, FORGET, EXPIRE)}


@dataclass(frozen=True, slots=True)
class Names:
    """Every key of the store, below one prefix. A root is the kind and id of a scope: `team:<id>`, `customer:<id>`."""

    prefix: str

    def hold(self, root: str, call_id: str) -> str:
        return f"{self.prefix}:{{{root}}}:hold:{call_id}"

    def holds(self, root: str) -> str:
        return f"{self.prefix}:{{{root}}}:holds"

    def birth(self, root: str) -> str:
        return f"{self.prefix}:{{{root}}}:birth"

    def mark(self, root: str, call_id: str) -> str:
        return f"{self.prefix}:{{{root}}}:mark:{call_id}"

    def counter(self, root: str, *, kind: str, scope_id: str, identity: str, start_ms: int) -> str:
        return f"{self.prefix}:{{{root}}}:{kind}:{scope_id}:{identity}:{start_ms // 1000}"

    @property
    def roots(self) -> str:
        """Sorted set of the roots that admitted calls, by when; the tasks look for lost holds there."""
        return f"{self.prefix}:roots"

    @property
    def changes(self) -> str:
        """Channel on which the management side says which profiles are out of date."""
        return f"{self.prefix}:changes"

    @property
    def beat(self) -> str:
        """The instant at which a worker last gave a sign of life."""
        return f"{self.prefix}:beat"

    @property
    def spill(self) -> str:
        """Stream of entries that wait for the database."""
        return f"{self.prefix}:spill"


def counter_expires_ms(window: Window, *, now_ms: int) -> int:
    """When the counter of a window may vanish. A lifetime counter lives on with its use."""
    return now_ms + IDLE_LIFE_MS if window.end_ms == END_OF_TIME_MS else window.end_ms + COUNTER_GRACE_MS


def admit_command(
    names: Names, root: str, *, call_id: str, record: bytes, claims: Sequence[Claim], now_ms: int
) -> Command:
    """EVALSHA of admit.lua."""
    command: Command = ["EVALSHA", ADMIT.sha, 3 + len(claims)]
    command += (names.hold(root, call_id), names.holds(root), names.birth(root))
    command += [claim.counter for claim in claims]
    command += (now_ms, now_ms + HOLD_LIFE_MS, call_id, record, MARGIN_MS, IDLE_LIFE_MS)
    for claim in claims:
        assert 0 <= claim.amount < 2**53, "amounts are below 2**53"
        command += (
            -1 if claim.maximum is None else claim.maximum,
            claim.amount,
            1 if claim.strict else 0,
            claim.start_ms,
            claim.since_ms,
            claim.expires_ms,
        )
    return command


def admission_of(reply: list[int]) -> Admission:
    """Decodes admit.lua's reply."""
    readings = tuple(Reading(_VERDICTS[reply[at]], reply[at + 1], reply[at + 2]) for at in range(2, len(reply), 3))
    return Admission(_STATUSES[reply[0]], reply[1], readings)


def settle_command(
    names: Names,
    root: str,
    *,
    call_id: str,
    postings: Sequence[Posting],
    birth_ms: int,
    transaction: int,
    now_ms: int,
) -> Command:
    """EVALSHA of settle.lua. A release is a settlement of cost 0."""
    command: Command = ["EVALSHA", SETTLE.sha, 4 + len(postings)]
    command += (names.hold(root, call_id), names.holds(root), names.birth(root), names.mark(root, call_id))
    command += [posting.counter for posting in postings]
    command += (now_ms, call_id, birth_ms, transaction, MARK_LIFE_MS)
    for posting in postings:
        assert 0 <= posting.hold < 2**53, "amounts are below 2**53"
        assert abs(posting.cost) < 2**53, "amounts are below 2**53; an adjustment's may be negative"
        command += (posting.hold, posting.cost, posting.expires_ms)
    return command


def extend_command(names: Names, root: str, *, call_ids: Sequence[str], now_ms: int) -> Command:
    """EVALSHA of extend.lua."""
    command: Command = ["EVALSHA", EXTEND.sha, 1 + len(call_ids), names.holds(root)]
    command += [names.hold(root, call_id) for call_id in call_ids]
    return [*command, now_ms + HOLD_LIFE_MS, *call_ids]


def seed_command(claim: Claim, *, spent: int, snapshot: str) -> Command:
    """EVALSHA of seed.lua; `snapshot` is the text of pg_current_snapshot(). A counter stops at AMOUNT_MAX: no limit is
    higher, and a key may spend more than that in its whole life."""
    return ["EVALSHA", SEED.sha, 1, claim.counter, min(spent, AMOUNT_MAX), claim.since_ms, snapshot, claim.expires_ms]


def forget_command(counter: str, *, since_ms: int, spent: int | None = None) -> Command:
    """EVALSHA of forget.lua."""
    return ["EVALSHA", FORGET.sha, 1, counter, since_ms, "" if spent is None else spent]


def expire_command(names: Names, root: str, *, now_ms: int, most: int) -> Command:
    """EVALSHA of expire.lua."""
    return ["EVALSHA", EXPIRE.sha, 1, names.holds(root), now_ms, most]
