"""Writes planned objects: each batch is one transaction; where it fails, each of its objects is one.

What is there already and differs stays as it is, unless the import shall update. Spends and temporary
increases are brought with an object that is made, and never again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from django.db import Error, transaction

from budgetgate.litellm.kinds import Kind, Object, natural_key_of, record_of, subject_of
from budgetgate.litellm.planned import Planned, Spent
from budgetgate.litellm.report import Outcome, Report, difference
from budgetgate.litellm.spends import bring_spends
from budgets.actors import Actor, Role
from budgets.audit import limits_record, record_change
from budgets.gate.changes import publish
from budgets.grants import replace_grant
from budgets.models import Budget, Change
from budgets.rules.limits import LimitError
from budgets.rules.money import exact_usd
from budgets.rules.scopes import Scope
from budgets.services import calendar_of, set_limits

BY = Actor("import from LiteLLM", Role.PROXY_ADMIN)


@dataclass(frozen=True, slots=True)
class Written:
    """What became of one planned object; reported when its transaction is done."""

    planned: Planned
    outcome: Outcome
    why: str = ""


@dataclass(frozen=True, slots=True)
class Writer:
    """Writes at the instant `now`."""

    report: Report
    update: bool
    now: datetime

    def write(self, kind: Kind, batch: Sequence[Planned]) -> None:
        """Writes some objects of one kind and reports each."""
        for written in self._written(kind, batch):
            self.report.object(kind.name, written.planned, written.outcome, why=written.why)
            if written.outcome is Outcome.CREATED and written.planned.spent:
                self.report.spends += 1

    def _written(self, kind: Kind, batch: Sequence[Planned]) -> list[Written]:
        try:
            with transaction.atomic():
                return self._write(kind, batch)
        except (Error, ValueError, LookupError) as error:
            if len(batch) == 1:
                return [Written(batch[0], Outcome.REFUSED, " ".join(str(error).split()))]
        return [written for planned in batch for written in self._written(kind, [planned])]

    def _write(self, kind: Kind, batch: Sequence[Planned]) -> list[Written]:
        tiers = Budget.objects.in_bulk({planned.budget_id for planned in batch if planned.budget_id})
        found = self._found(kind, {planned.key for planned in batch if not planned.why_not})
        written: list[Written] = []
        made: list[tuple[Planned, Object]] = []
        for planned in batch:
            if planned.why_not:
                written.append(Written(planned, Outcome.REFUSED, planned.why_not))
            elif planned.key in found:
                written.append(self._compare(kind, planned, found[planned.key], tiers=tiers))
            else:
                scope = kind.make(planned, self.now)
                made.append((planned, scope))
                written.append(self._apply(planned, scope, tiers=tiers, outcome=Outcome.CREATED))
        refused = {each.planned.key for each in written if each.outcome is Outcome.REFUSED}
        self._insert(kind, [(planned, scope) for planned, scope in made if planned.key not in refused])
        return written

    def _found(self, kind: Kind, keys: set[str]) -> dict[str, Object]:
        rows = kind.rows(keys)
        if self.update:
            rows = rows.select_for_update(of=("self",))
        return {natural_key_of(found): found for found in rows}

    def _apply(self, planned: Planned, scope: Object, *, tiers: Mapping[str, Budget], outcome: Outcome) -> Written:
        """Gives an object what is planned of it, in memory."""
        for name, value in planned.columns.items():
            setattr(scope, name, value)
        tier = None if planned.budget_id is None else tiers.get(planned.budget_id)
        if planned.budget_id is not None and tier is None:
            return Written(planned, Outcome.REFUSED, f"budget_id: budget {planned.budget_id} was not brought")
        try:
            set_limits(scope, replace(planned.limits, calendar=calendar_of(scope), tier=tier), now=self.now)
        except LimitError as error:
            return Written(planned, Outcome.REFUSED, f"{error.field}: {error}")
        return Written(planned, outcome)

    def _compare(self, kind: Kind, planned: Planned, scope: Object, *, tiers: Mapping[str, Budget]) -> Written:
        before = record_of(scope, planned.columns)
        applied = self._apply(planned, scope, tiers=tiers, outcome=Outcome.UPDATED)
        if applied.outcome is Outcome.REFUSED:
            return applied
        after = record_of(scope, planned.columns)
        if before == after:
            return Written(planned, Outcome.UNCHANGED)
        why = difference(before, after)
        if not self.update:
            return Written(planned, Outcome.DIFFERS, why)
        if hasattr(scope, "updated_at"):
            scope.updated_at = self.now
        scope.save(force_update=True)
        subject = subject_of(scope)
        shown_before, shown_after = (_audited(record) for record in (before, after))
        record_change(
            BY,
            action="import",
            kind=kind.name,
            subject_id=subject,
            before=shown_before,
            after=shown_after,
            now=self.now,
        )
        transaction.on_commit(partial(publish, kind.news(planned.key)))
        return Written(planned, Outcome.UPDATED, why)

    def _insert(self, kind: Kind, made: Sequence[tuple[Planned, Object]]) -> None:
        scopes = [scope for _, scope in made]
        kind.rows(()).bulk_create(scopes)
        Change.objects.bulk_create([_creation(kind, planned, scope, now=self.now) for planned, scope in made])
        spends: dict[str, Spent] = {subject_of(scope): planned.spent for planned, scope in made if planned.spent}
        if kind.has_spend and spends:
            bring_spends(kind.name, spends, by=BY, now=self.now)
        for planned, scope in made:
            if planned.increase:
                until, raised = planned.increase.until, Scope(kind.name, subject_of(scope))
                replace_grant(raised, amount=planned.increase.nanousd, until=until, now=self.now, by=BY)
        transaction.on_commit(partial(publish, *dict.fromkeys(kind.news(planned.key) for planned, _ in made)))


def _creation(kind: Kind, planned: Planned, scope: Object, *, now: datetime) -> Change:
    """The audit of an object that is made, as budgets.audit.record_change writes it one at a time."""
    record = _audited({**{name: getattr(scope, name) for name in planned.columns}, **limits_record(scope)})
    if planned.increase:
        record["temp_budget_increase"] = exact_usd(planned.increase.nanousd)
        record["temp_budget_expiry"] = planned.increase.until.isoformat()
    return Change(
        at=now,
        actor=BY.name,
        action="import",
        subject_kind=kind.name,
        subject_id=subject_of(scope),
        after={name: value for name, value in record.items() if value is not None},
    )


def _audited(record: Mapping[str, object]) -> dict[str, object]:
    """Instants as texts."""
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in record.items()}
