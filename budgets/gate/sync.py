"""The counter store for tasks and the management API, over django-redis's connection pool."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from redis.exceptions import NoScriptError

from budgets.gate.protocol import (
    IDLE_LIFE_MS,
    SCRIPTS,
    Command,
    Names,
    admission_of,
    admit_command,
    expire_command,
    extend_command,
    forget_command,
    seed_command,
    settle_command,
)
from budgets.rules.admission import Admission, Claim, Posting

PIPELINE_MAX = 1000


@dataclass(frozen=True, slots=True)
class CounterReading:
    """What the store says of one window; `spent` None is unknown."""

    spent: int | None
    held: int
    since_ms: int


class SyncGate:
    """The same scripts as AsyncGate's, called from a thread. Raises redis-py's errors where the store is down."""

    def __init__(self, client: Any, names: Names) -> None:
        self.names = names
        self._client = client

    def admit(self, root: str, *, call_id: str, record: bytes, claims: Sequence[Claim], now_ms: int) -> Admission:
        """Holds the claims in all windows, or touches none (see admit.lua)."""
        command = admit_command(self.names, root, call_id=call_id, record=record, claims=claims, now_ms=now_ms)
        return admission_of(cast(list[int], self._run(command)))

    def settle(
        self, root: str, *, call_id: str, postings: Sequence[Posting], birth_ms: int, transaction: int, now_ms: int
    ) -> bool:
        """Replaces the hold by the cost; says whether this settlement did (False: it was done before)."""
        command = settle_command(
            self.names,
            root,
            call_id=call_id,
            postings=postings,
            birth_ms=birth_ms,
            transaction=transaction,
            now_ms=now_ms,
        )
        return cast(list[int], self._run(command))[0] != 0

    def extend(self, root: str, *, call_ids: Sequence[str], now_ms: int) -> list[int]:
        """Keeps holds alive; says of each whether it is still open."""
        return cast(list[int], self._run(extend_command(self.names, root, call_ids=call_ids, now_ms=now_ms)))

    def forget(self, counter: str, *, since_ms: int, spent: int | None = None) -> bool:
        """Makes a window unknown if it was counted for an older limit, or still says the wrong `spent`."""
        return self._run(forget_command(counter, since_ms=since_ms, spent=spent)) == 1

    def seed(self, claim: Claim, *, spent: int, snapshot: str) -> int:
        """Makes a window known from the ledger's sum; returns what it says now."""
        return cast(list[int], self._run(seed_command(claim, spent=spent, snapshot=snapshot)))[1]

    def read(self, counters: Sequence[str]) -> list[CounterReading]:
        """Spent and held of windows, in one round trip."""
        pipeline = self._client.pipeline(transaction=False)
        for counter in counters:
            pipeline.hmget(counter, ["spent", "held", "since"])
        return [
            CounterReading(None if spent is None else int(spent), int(held or 0), int(since or -1))
            for spent, held, since in pipeline.execute()
        ]

    def birth_ms(self, root: str) -> int | None:
        """When the store was last empty for this root; None if it is."""
        value = self._client.get(self.names.birth(root))
        return None if value is None else int(value)

    def ensured_birth_ms(self, root: str, *, now_ms: int) -> int:
        """The birth mark of a root that holds something; made now where it has run out, as an admission would."""
        key = self.names.birth(root)
        self._client.set(key, now_ms, nx=True, px=IDLE_LIFE_MS)
        return int(self._client.get(key))

    def noted_roots(self) -> list[str]:
        """Roots that admitted calls lately, or still have open holds."""
        return [root.decode() for root in self._client.zrange(self.names.roots, 0, -1)]

    def roots_with_expired_holds(self, *, now_ms: int) -> list[str]:
        """Roots in which a call was left behind, found with few round trips among any number of roots."""
        roots = self.noted_roots()
        counts = self._of_each(roots, lambda pipeline, root: pipeline.zcount(self.names.holds(root), "-inf", now_ms))
        return [root for root, count in zip(roots, counts, strict=True) if count]

    def drop_idle_roots(self, *, before_ms: int) -> None:
        """Forgets roots that admitted nothing since then and hold nothing.

        Those that hold something are noted anew, then all that is too old goes at once: a gateway that notes a root
        meanwhile keeps it.
        """
        too_old = f"({before_ms}"
        idle = [root.decode() for root in self._client.zrangebyscore(self.names.roots, "-inf", too_old)]
        counts = self._of_each(idle, lambda pipeline, root: pipeline.zcard(self.names.holds(root)))
        if holding := {root: before_ms for root, count in zip(idle, counts, strict=True) if count}:
            self._client.zadd(self.names.roots, holding, gt=True)
        if idle:
            self._client.zremrangebyscore(self.names.roots, "-inf", too_old)

    def _of_each(self, roots: Sequence[str], ask: Callable[[Any, str], object]) -> list[int]:
        answers: list[int] = []
        for start in range(0, len(roots), PIPELINE_MAX):
            pipeline = self._client.pipeline(transaction=False)
            for root in roots[start : start + PIPELINE_MAX]:
                ask(pipeline, root)
            answers += pipeline.execute()
        return answers

    def expired_holds(self, root: str, *, now_ms: int, most: int) -> dict[str, bytes]:
        """Call ids and records of holds whose time is over, oldest first."""
        command = expire_command(self.names, root, now_ms=now_ms, most=most)
        call_ids = [call_id.decode() for call_id in cast(list[bytes], self._run(command))]
        records = self._client.mget([self.names.hold(root, call_id) for call_id in call_ids]) if call_ids else []
        return {call_id: record for call_id, record in zip(call_ids, records, strict=True) if record is not None}

    def spilled(self, *, most: int, after: bytes | None = None) -> list[tuple[bytes, bytes]]:
        """Message ids and payloads of entries that wait for the database, oldest first, those `after` a message."""
        first = b"-" if after is None else b"(" + after
        messages = self._client.xrange(self.names.spill, min=first, count=most)
        return [(message_id, fields[b"entry"]) for message_id, fields in messages]

    def unspill(self, message_ids: Sequence[bytes]) -> None:
        """Removes entries that the database has taken."""
        if message_ids:
            self._client.xdel(self.names.spill, *message_ids)

    def publish(self, subject: str) -> None:
        """Tells every gateway that what it knows of `subject` is out of date."""
        self._client.publish(self.names.changes, subject)

    def _run(self, command: Command) -> object:
        try:
            return self._client.execute_command(*command)
        except NoScriptError:
            return self._client.execute_command("EVAL", SCRIPTS[cast(str, command[1])].source, *command[2:])
