"""Reading the audit, and how the management API shows it."""

from collections.abc import Mapping
from typing import Any

from budgets.actors import Actor
from budgets.answers import Answer
from budgets.documents import anything, instant, integer, listing, mapping, record, text
from budgets.errors import ForbiddenError
from budgets.models import Change
from budgets.pages import Page, page_of

_FILTERS = {
    "subject_kind": "subject_kind",
    "subject_id": "subject_id",
    "actor": "actor",
    "action": "action",
    "start_date": "at__gte",
    "end_date": "at__lte",
}
CHANGES_ANSWER = record(
    "Changes",
    {
        "changes": listing(
            record(
                "Change",
                {
                    "id": integer("Its number."),
                    "at": instant("When it was."),
                    "actor": text("Who did it."),
                    "address": text("From where."),
                    "action": text("What was done: `create`, `update`, `delete`, `rotate` and so on."),
                    "subject_kind": text("The kind of what changed."),
                    "subject_id": text("What changed: of a key its `id`."),
                    "before": mapping(anything("A value."), "What differs, as it was."),
                    "after": mapping(anything("A value."), "What differs, as it became."),
                    "reason": text("Why, where somebody said it."),
                },
                d="Who changed what.",
            ),
            "The changes of this page, newest first.",
        ),
        "total": integer("How many there are; a million stands for more, too.", minimum=0),
        "page": integer("This page.", minimum=1),
        "page_size": integer("How many a page has.", minimum=1),
        "total_pages": integer("How many pages there are.", minimum=0),
    },
    d="A page of the audit.",
)


def changes_for(actor: Actor, query: Mapping[str, Any]) -> Page[Change]:
    """A page of the audit, newest first. Raises ForbiddenError."""
    if not actor.sees_all:
        raise ForbiddenError(f"{actor.name} may not see the audit; proxy admins and viewers may")
    conditions = {lookup: query[name] for name, lookup in _FILTERS.items() if query[name] is not None}
    found = Change.objects.filter(**conditions)
    return page_of(found, order=["-at", "-id"], number=query["page"], size=query["page_size"])


def change_row(change: Change) -> Answer:
    """One change."""
    return {
        "id": change.id,
        "at": change.at,
        "actor": change.actor,
        "address": change.address,
        "action": change.action,
        "subject_kind": change.subject_kind,
        "subject_id": change.subject_id,
        "before": change.before,
        "after": change.after,
        "reason": change.reason,
    }
