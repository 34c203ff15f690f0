"""How the management API shows a tier."""

from datetime import datetime

from budgets.answers import LIMITS_FIELDS, Answer, limits_answer
from budgets.documents import anything, instant, listing, names, nothing, nullable, record, text
from budgets.models import Budget

NOTHING: Answer = {"allowed_models": [], "temp_budget_increase": None, "temp_budget_expiry": None}
_LIMITS = {
    name: schema for name, schema in LIMITS_FIELDS.items() if name not in ("budget_id", "timezone", "week_start")
}

TIER_ROW = record(
    "Budget",
    {
        "budget_id": text("Its id."),
        **_LIMITS,
        "model_max_budget": nullable(_LIMITS["model_max_budget"]),
        "created_at": instant("When it was made."),
        "created_by": text("Who made it."),
        "updated_at": instant("When it was last changed."),
        "updated_by": text("Who last changed it."),
        **nothing(NOTHING),
    },
    d="A tier: limits that scopes refer to; each of them is counted on its own.",
)
TIER_ROWS = listing(TIER_ROW, "Tiers.")
SETTINGS_ANSWER = listing(
    record(
        "BudgetSetting",
        {
            "field_name": text("The name of the field."),
            "field_type": text("What kind of value it has."),
            "field_description": text("What it means."),
            "field_value": anything("What the tier has."),
            "stored_in_db": nullable({"type": "boolean", "description": "Whether the tier says it."}),
            "field_default_value": anything("What holds where the tier says nothing."),
            "premium_field": {"type": "boolean", "description": "Always false."},
            "nested_fields": nullable(names("Always null.")),
        },
        d="One field of a tier.",
    ),
    "The fields of a tier.",
)


def tier_row(tier: Budget, *, now: datetime) -> Answer:
    """A tier as it is at `now`."""
    limits = {name: value for name, value in limits_answer(tier, now=now).items() if name in _LIMITS}
    return {
        **limits,
        "budget_id": tier.budget_id,
        "model_max_budget": limits["model_max_budget"] or None,
        "created_at": tier.created_at,
        "created_by": tier.created_by,
        "updated_at": tier.updated_at,
        "updated_by": tier.updated_by,
        **NOTHING,
    }


SETTINGS = {
    "max_parallel_requests": "Integer",
    "tpm_limit": "Integer",
    "rpm_limit": "Integer",
    "tpd_limit": "Integer",
    "budget_duration": "String",
    "max_budget": "Float",
    "soft_budget": "Float",
    "budget_limits": "List",
    "model_max_budget": "Object",
}


def settings_answer(tier: Budget, *, now: datetime) -> list[Answer]:
    """Each field of a tier with its meaning and value."""
    row = tier_row(tier, now=now)
    return [
        {
            "field_name": name,
            "field_type": kind,
            "field_description": LIMITS_FIELDS[name]["description"],
            "field_value": row[name],
            "stored_in_db": bool(row[name]) or row[name] == 0,
            "field_default_value": None,
            "premium_field": False,
            "nested_fields": None,
        }
        for name, kind in SETTINGS.items()
    ]
