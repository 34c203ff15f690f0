"""What rows of several kinds have in common: allowed models, metadata, and what does not hold here. Pure."""

from collections.abc import Mapping
from typing import Any

from budgetgate.litellm.values import Notes, Row, names

EVERY_MODEL = "all-proxy-models"

_UNENFORCED = {
    "organization_id": "noted; there are no organizations here, and the limits of this one do not hold",
    "project_id": "noted; there are no projects here, and the limits of this one do not hold",
    "object_permission_id": "not brought: there are no permissions of objects here, and these do not hold",
    "policies": "not brought: there are no policies here, and these do not hold",
    "access_group_ids": "not brought: there are no access groups here; name their models",
    "allowed_model_region": "noted; models have no regions here",
    "permissions": "noted; there are no such permissions here",
    "budget_fallbacks": "not brought: a call without budget is refused, not sent to another model",
    "auto_rotate": "noted; keys are not rotated on their own here",
}
_KEPT = "kept as metadata, and not enforced"
_METADATA = {
    "guardrails": "kept as metadata; there are no guardrails here, and these do not hold",
    "policies": "kept as metadata; there are no policies here, and these do not hold",
    "enforced_params": _KEPT,
    "allowed_vector_store_indexes": _KEPT,
    "mcp_rpm_limit": _KEPT,
    "tag_rpm_limit": _KEPT,
    "model_itpm_limit": _KEPT,
    "model_otpm_limit": _KEPT,
    "allowed_passthrough_routes": _KEPT,
    "denied_passthrough_routes": _KEPT,
    "throttle_on_budget_exceeded": "kept as metadata; a call without budget is refused, not slowed down",
    "end_user_budget_id": "kept as metadata; the budget of unknown customers is a setting here",
    "logging": "kept as metadata; keys and teams have no callbacks of their own here",
}
_BECAME_FIELDS = {"model_rpm_limit", "model_tpm_limit", "tags", "team_member_budget_id", "team_member_key_duration"}


def models_of(row: Row, name: str, *, notes: Notes) -> list[str]:
    """Allowed models; an empty list allows all."""
    listed = names(row, name, notes=notes)
    if EVERY_MODEL in listed:
        return []
    for model in listed:
        if "*" in model:
            notes.add(name, model, "brought, but a pattern allows nothing here: name the models")
    return listed


def kept_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata without what became a field."""
    return {name: value for name, value in metadata.items() if name not in _BECAME_FIELDS}


def noted_fields(row: Row, *names: str) -> dict[str, Any]:
    """The fields that are kept though they do nothing here, where they say something."""
    return {name: row[name] for name in names if row.get(name)}


def note_unenforced(row: Row, metadata: Mapping[str, Any], *, notes: Notes) -> None:
    """Notes what LiteLLM enforces of a row and nothing here does."""
    for name, why in _UNENFORCED.items():
        if row.get(name):
            notes.add(name, row[name], why)
    for name, why in _METADATA.items():
        if metadata.get(name):
            notes.add(f"metadata.{name}", metadata[name], why)
