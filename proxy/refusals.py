"""Which window of a refused call names the refusal, and what would have fitted there."""

from budgets.rules.admission import Verdict
from budgets.rules.limits import Enforcement, LimitUnit
from budgets.rules.scopes import KEY
from proxy.calls import Call
from proxy.errors import Refused, refusing
from proxy.estimate import output_bound_within


def refusal_of(call: Call) -> Refused:
    """Over all groups that were asked; those that admitted the call have room."""
    asked = [
        (group, active, reading, held)
        for group in call.groups
        for active, reading, held in zip(group.windows, group.readings, group.held, strict=False)
    ]
    index = refusing(tuple(each[1] for each in asked), readings=tuple(each[2] for each in asked))
    group, active, reading, held = asked[index]
    fits = None
    if active.limit.unit is LimitUnit.USD and reading.verdict is Verdict.TOO_LARGE:
        fits = output_bound_within(
            call.estimate, payload=call.payload, card=call.route.card, room_nanousd=active.limit.maximum or 0
        )
    alias = call.key.profile.alias if active.scope.kind == KEY else None
    return Refused(call.id, active, reading, held.hold, fits, alias=alias, is_hidden=group.is_hidden)


def needed_output_bound(call: Call) -> int | None:
    """A strict limit holds only if the answer cannot outgrow the estimate: where the client set no bound, we do."""
    if call.estimate.bound_given:
        return None
    for group in call.groups:
        for active in group.windows:
            if active.limit.enforcement is Enforcement.STRICT:
                return call.estimate.output_tokens // call.estimate.choices
    return None
