"""How the management API shows customers and tags, with the fields that clients of this API read."""

from datetime import datetime

from budgets.answers import LIMITS_FIELDS, SPENDS_FIELDS, USAGE_SCHEMA, Answer, limits_answer, spends_answer
from budgets.documents import (
    anything,
    flag,
    instant,
    integer,
    listing,
    mapping,
    names,
    nothing,
    nullable,
    record,
    text,
)
from teams.models import Customer, Tag
from teams.usage import Shown

CUSTOMER_NOTHING: Answer = {
    "allowed_model_region": None,
    "object_permission_id": None,
    "object_permission": None,
}
"""What clients read that means nothing here."""
_TABLE_FIELDS = (
    "budget_id",
    "max_budget",
    "soft_budget",
    "max_parallel_requests",
    "tpm_limit",
    "rpm_limit",
    "tpd_limit",
    "model_max_budget",
    "budget_duration",
    "budget_reset_at",
    "budget_limits",
)
GUEST_TABLE = nullable(
    record(
        "GuestBudgetTable",
        {name: LIMITS_FIELDS[name] for name in _TABLE_FIELDS},
        d="The limits, where clients look for them; those of the tier where there are none of one's own.",
    )
)
CUSTOMER_ROW = record(
    "CustomerRow",
    {
        "user_id": text("The customer's id, which calls name as `user`."),
        "alias": nullable(text("The name that people gave the customer.")),
        "blocked": flag("Whether every call of the customer is refused."),
        "models": names("The models that the customer's calls may use; empty for all."),
        "default_model": nullable(text("The model of the customer's calls.")),
        "metadata": mapping(anything("Whatever was given."), "Kept as it was given."),
        **LIMITS_FIELDS,
        **SPENDS_FIELDS,
        "litellm_budget_table": GUEST_TABLE,
        "budget_limits_usage": USAGE_SCHEMA,
        "created_at": instant("When the customer was made."),
        "updated_at": instant("When the customer was last changed."),
        **nothing(CUSTOMER_NOTHING),
    },
    d="A customer: an end user, whom calls name.",
)
CUSTOMERS = listing(CUSTOMER_ROW, "Customers.")
BLOCKED_ANSWER = record("BlockedCustomers", {"blocked_users": CUSTOMERS}, d="The customers, as they are now.")
UNBLOCKED_ANSWER = record(
    "UnblockedCustomers", {"blocked_users": names("Those of them that are still blocked: none.")}, d="It was done."
)
DELETED_CUSTOMERS = record(
    "DeletedCustomers",
    {"deleted_customers": integer("How many."), "message": text("That it was done.")},
    d="What is gone.",
)
TAG_ROW = record(
    "TagRow",
    {
        "name": text("The tag, as calls write it."),
        "tag_name": text("The same."),
        "description": nullable(text("What it is for.")),
        "models": names("The models that calls with it may use; empty for all."),
        "model_info": anything("Always {}."),
        **LIMITS_FIELDS,
        **SPENDS_FIELDS,
        "litellm_budget_table": GUEST_TABLE,
        "budget_limits_usage": USAGE_SCHEMA,
        "created_by": nullable(text("Who made it.")),
        "created_at": instant("When it was made."),
        "updated_at": instant("When it was last changed."),
    },
    d="A tag with its limits.",
)
CHANGED_TAG = record("ChangedTag", {"message": text("That it was done."), "tag": TAG_ROW}, d="A tag, as it is now.")
TAGS = mapping(TAG_ROW, "The tags by name.")
TAG_LIST = listing(TAG_ROW, "All tags with limits.")
DELETED_TAG = record("DeletedTag", {"message": text("That it was done.")}, d="It was done.")


def _table(scope: Customer | Tag, *, now: datetime) -> Answer | None:
    own = bool(scope.counted_since)
    limits = scope.budget if scope.budget is not None and scope.max_budget_nanousd is None else scope
    answer = {**limits_answer(limits, now=now), "budget_id": scope.budget_id}
    return {name: answer[name] for name in _TABLE_FIELDS} if own else None


def customer_row(customer: Customer, *, shown: Shown, now: datetime) -> Answer:
    """A customer as of `now`."""
    return {
        "user_id": customer.customer_id,
        "alias": customer.alias,
        "blocked": customer.blocked,
        "models": customer.allowed_models,
        "default_model": customer.default_model,
        "metadata": customer.metadata,
        **limits_answer(customer, now=now),
        **spends_answer(shown.spends),
        "litellm_budget_table": _table(customer, now=now),
        "budget_limits_usage": shown.windows,
        "created_at": customer.created_at,
        "updated_at": customer.updated_at,
        **CUSTOMER_NOTHING,
    }


def tag_row(tag: Tag, *, shown: Shown, now: datetime) -> Answer:
    """A tag as of `now`."""
    return {
        "name": tag.name,
        "tag_name": tag.name,
        "description": tag.description or None,
        "models": tag.allowed_models,
        "model_info": {},
        **limits_answer(tag, now=now),
        **spends_answer(shown.spends),
        "litellm_budget_table": _table(tag, now=now),
        "budget_limits_usage": shown.windows,
        "created_by": tag.created_by or None,
        "created_at": tag.created_at,
        "updated_at": tag.updated_at,
    }
