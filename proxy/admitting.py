"""Admission of a call: its key's root first, then all of its guests' roots in one round trip; all of them, or none.

A guest is a customer or a tag: it comes with calls of any key, so its counters live apart from theirs and one script
cannot see both. Holds make that safe: whatever was admitted before somebody refuses is taken back before the caller
hears of it, and what a dying process leaves behind is found by its record.
"""

import asyncio
import logging
from collections.abc import Sequence

from budgets.gate.aio import Asking, AsyncGate, Settling
from budgets.gate.wire import StoreDown, StoreError
from budgets.rules.admission import Status
from budgets.rules.scopes import CUSTOMER, TAG
from budgets.rules.settlement import Entry, release_of
from proxy import errors
from proxy.access import guest_denied, names_of, target_of
from proxy.cache import DatabaseDown
from proxy.calls import Call, Group, group_of, record_of, unsettled
from proxy.errors import ApiError
from proxy.profiles import CachedGuest, GuestCache
from proxy.refusals import refusal_of
from proxy.seeding import ReadSpends, Seeder
from proxy.settler import Settler

logger = logging.getLogger(__name__)

NOTE_ROOT_MS = 60_000
ROOTS_NOTED_MAX = 100_000
SEED_TRIES = 3


class Admitter:
    """Holds the estimate of a call in all of its windows. `admits_unchecked`: also while the store is down."""

    def __init__(
        self,
        *,
        gate: AsyncGate,
        guests: GuestCache,
        read_spends: ReadSpends,
        settler: Settler,
        admits_unchecked: bool,
        budget_status: int,
    ) -> None:
        self._gate = gate
        self._guests = guests
        self._settler = settler
        self._seeder = Seeder(gate, read_spends=read_spends)
        self._admits_unchecked = admits_unchecked
        self._budget_status = budget_status
        self._roots_noted: dict[str, int] = {}

    # --- guests ---------------------------------------------------------------------------------------

    async def invite(self, call: Call) -> ApiError | None:
        """Adds the windows of the call's customer and tags, or says which of them makes no such call."""
        named = [] if call.labels.customer_id is None else [(CUSTOMER, call.labels.customer_id)]
        named += [(TAG, tag) for tag in call.tags]
        try:
            guests = await self._guests.all([f"{kind}:{name}" for kind, name in named], now_ms=call.admitted_ms)
        except DatabaseDown:
            return errors.database_down()
        for (kind, name), guest in zip(named, guests, strict=True):
            is_hidden = kind == TAG and name not in call.labels.tags
            denied = self._add(call, guest, is_hidden=is_hidden) if guest.profile is not None else None
            if denied is not None:
                return denied
        return None

    def _add(self, call: Call, guest: CachedGuest, *, is_hidden: bool) -> ApiError | None:
        assert guest.profile is not None, "only guests with a profile are asked"
        target = target_of(call.key.profile, asked=call.asked)
        denied = guest_denied(guest.profile, asked=call.asked, names={target, call.route.model})
        if denied is not None:
            return denied
        spellings = names_of(call.asked, target=target, route=call.route)
        windows = guest.windows_for(call.admitted_ms, spellings=spellings, model=call.route.model)
        if windows:
            call.groups.append(group_of(guest.root, windows, call.amounts, is_hidden=is_hidden))
        return None

    # --- admission ------------------------------------------------------------------------------------

    async def admit(self, call: Call) -> ApiError | None:
        """Holds the estimate in every window of the call, or says which window refuses it."""
        entry = unsettled(call)
        try:
            refusal = await self._admit_home(call, entry=entry)
            if refusal is None and len(call.groups) > 1:
                refusal = await self._admit_guests(call, entry=entry)
                if refusal is not None:
                    await self._take_back(call)
        except StoreDown:
            return self._without_store(call)
        except StoreError:
            logger.exception("call %s: the counter store refuses to admit", call.id)
            self.release(call)
            return errors.store_down()
        except DatabaseDown:
            self.release(call)
            return errors.database_down()
        except asyncio.CancelledError:
            self.release(call)
            raise
        return refusal

    def _without_store(self, call: Call) -> ApiError | None:
        if not self._admits_unchecked:
            self.release(call)
            return errors.store_down()
        for group in call.groups:
            if group.is_held:
                self._settler.opened(call.id, root=group.root)
        return None

    async def _admit_home(self, call: Call, *, entry: Entry) -> ApiError | None:
        home = call.groups[0]
        if call.admitted_ms - self._roots_noted.get(home.root, 0) > NOTE_ROOT_MS:
            await self._note([home.root], at_ms=call.admitted_ms)
        claims, record = home.claims(call.amounts), record_of(entry, home)
        for _ in range(SEED_TRIES):
            home.is_held = True
            try:
                home.take(
                    await self._gate.admit(
                        home.root, call_id=call.id, record=record, claims=claims, now_ms=call.admitted_ms
                    )
                )
            except StoreDown as error:
                home.is_held = error.perhaps_done
                raise
            if home.status is not Status.UNKNOWN:
                break
            await self._seeder.seed(home.windows, readings=home.readings)
        return await self._admitted(call, [home])

    async def _admit_guests(self, call: Call, *, entry: Entry) -> ApiError | None:
        waiting = call.groups[1:]
        for _ in range(SEED_TRIES):
            await self._ask(call, waiting, entry=entry)
            refusal = await self._admitted(call, [group for group in waiting if group.status is not Status.UNKNOWN])
            if refusal is not None:
                return refusal
            waiting = [group for group in waiting if group.status is Status.UNKNOWN]
            if not waiting:
                return None
            windows = tuple(active for group in waiting for active in group.windows)
            await self._seeder.seed(windows, readings=tuple(each for group in waiting for each in group.readings))
        return errors.store_down()

    async def _ask(self, call: Call, groups: Sequence[Group], *, entry: Entry) -> None:
        """Every group in one round trip. Raises the first error once all answers are taken."""
        at_ms = call.admitted_ms
        note = [group.root for group in groups if at_ms - self._roots_noted.get(group.root, 0) > NOTE_ROOT_MS]
        askings = [Asking(group.root, record_of(entry, group), group.claims(call.amounts)) for group in groups]
        try:
            for group in groups:
                group.is_held = True
            answers = await self._gate.admit_each(askings, call_id=call.id, now_ms=at_ms, note=note)
        except StoreDown:
            for group in groups:
                group.is_held = False
            raise
        failures: list[StoreDown | StoreError] = []
        for group, answer in zip(groups, answers, strict=True):
            if isinstance(answer, StoreDown | StoreError):
                group.is_held = isinstance(answer, StoreError) or answer.perhaps_done
                failures.append(answer)
            else:
                group.take(answer)
        if not failures:
            self._remember_noted(note, at_ms=at_ms)
        elif not any(group.status is Status.REFUSED for group in groups):
            raise failures[0]

    async def _admitted(self, call: Call, groups: Sequence[Group]) -> ApiError | None:
        """Keeps the holds of groups that admitted alive; answers for one that did not."""
        is_refused = False
        for group in groups:
            if group.is_held:
                self._settler.opened(call.id, root=group.root)
                if group.birth_ms > self._roots_noted.get(group.root, 0):
                    await self._note_again(group.root, at_ms=group.birth_ms)
            elif group.status is Status.UNKNOWN:
                return errors.store_down()
            is_refused = is_refused or group.status is Status.REFUSED
        if is_refused:
            return errors.budget_error(refusal_of(call), now_ms=call.admitted_ms, status=self._budget_status)
        return None

    # --- roots that the tasks must know -----------------------------------------------------------------

    async def _note(self, roots: Sequence[str], *, at_ms: int) -> None:
        """Tells the tasks where to look for lost holds; before the hold is there."""
        for root in roots:
            await self._gate.note_root(root, now_ms=at_ms)
        self._remember_noted(roots, at_ms=at_ms)

    def _remember_noted(self, roots: Sequence[str], *, at_ms: int) -> None:
        if len(self._roots_noted) > ROOTS_NOTED_MAX:
            self._roots_noted.clear()
        for root in roots:
            self._roots_noted[root] = at_ms

    async def _note_again(self, root: str, *, at_ms: int) -> None:
        """The store was emptied since: it has the hold, and must know where to look for it. The call is admitted
        whether or not that works; the next one tries again."""
        try:
            await self._note([root], at_ms=at_ms)
        except (StoreDown, StoreError):
            self._roots_noted.pop(root, None)

    # --- release --------------------------------------------------------------------------------------

    async def _take_back(self, call: Call) -> None:
        """Before the caller is answered: a call that was refused stands in nobody's way."""
        held = [group for group in call.groups if group.is_held]
        settlings = [Settling(group.root, call.id, group.birth_ms, 0, release_of(group.held)) for group in held]
        try:
            outcomes = await self._gate.settle(settlings, now_ms=call.admitted_ms)
        except StoreDown:
            self.release(call)
            return
        for group, error in zip(held, outcomes, strict=True):
            if error is None:
                group.is_held = False
                self._settler.closed(call.id, root=group.root)
        self.release(call)

    def release(self, call: Call) -> None:
        """Takes the holds out of a call that the provider did nothing for, in the background."""
        if call.is_settled:
            return
        call.is_settled = True
        for group in call.groups:
            if group.is_held:
                self._settler.release(call.id, root=group.root, birth_ms=group.birth_ms, windows=group.held)
