"""Fields of requests about people that no other request has, and what many of those requests have in common."""

from collections.abc import Mapping
from typing import Any, ClassVar

from rest_framework import serializers

from budgets.errors import InputError
from budgets.queries import INSTANT_PATTERN, InstantParameter
from budgets.serializers import (
    NAME_LENGTH_MAX,
    TEXT_PATTERN,
    LimitedScopeSerializer,
    MetadataField,
    RequestSerializer,
    Schema,
    TextField,
)
from teams.member_services import MEMBERS_MAX, NewMember
from teams.models import Member

ITEMS_MAX = 500
ALIASES_MAX = 1000
_READER = InstantParameter(help_text="")

REFUSED: dict[str, Any] = {
    "access_group_ids": [],
    "allowed_passthrough_routes": None,
    "allowed_vector_store_indexes": None,
    "budget_fallbacks": {},
    "default_estimated_output_tokens": None,
    "default_estimated_output_tokens_per_model": None,
    "denied_passthrough_routes": None,
    "disable_global_guardrails": None,
    "enable_prompt_caching": None,
    "enforced_params": None,
    "guardrails": None,
    "mcp_rpm_limit": None,
    "object_permission": None,
    "permissions": {},
    "policies": None,
    "rpm_limit_type": "best_effort_throughput",
    "tag_rpm_limit": None,
    "throttle_on_budget_exceeded": None,
    "tpm_limit_type": "best_effort_throughput",
}
"""What a caller would rely on and what nothing here keeps, with the value that means nothing."""


class _Optional(serializers.Field[Any, Any, Any, Any]):
    """A field that may be missing or null."""

    def __init__(self, *, help_text: str, required: bool = False) -> None:
        super().__init__(required=required, allow_null=not required, help_text=help_text)

    def to_representation(self, value: Any) -> Any:
        return value


class InstantField(_Optional):
    """An instant, as aware UTC."""

    @property
    def schema(self) -> Schema:
        return {"type": ["string", "null"], "pattern": INSTANT_PATTERN}

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, str):
            raise serializers.ValidationError(f"{data!r} is not an instant")
        return _READER.to_internal_value(data)


class ChoiceField(_Optional):
    """One of some texts."""

    def __init__(self, choices: tuple[str, ...], *, help_text: str) -> None:
        super().__init__(help_text=help_text)
        self.choices = choices

    @property
    def schema(self) -> Schema:
        return {"enum": [*self.choices, None]}

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str) or data not in self.choices:
            raise serializers.ValidationError(f"{data!r} is not allowed; allowed are {', '.join(self.choices)}")
        return data


class NameMapField(_Optional):
    """An object of texts, such as other names of models."""

    @property
    def schema(self) -> Schema:
        text = {"type": "string", "minLength": 1, "maxLength": NAME_LENGTH_MAX, "pattern": TEXT_PATTERN}
        return {"type": ["object", "null"], "maxProperties": ALIASES_MAX, "additionalProperties": text}

    def to_internal_value(self, data: Any) -> dict[str, str]:
        if not isinstance(data, dict) or len(data) > ALIASES_MAX:
            raise serializers.ValidationError(f"not an object of at most {ALIASES_MAX} texts")
        for name, value in data.items():
            if not name or not isinstance(value, str) or not 0 < len(value) <= NAME_LENGTH_MAX:
                raise serializers.ValidationError(
                    f"{name!r}: {value!r} is not allowed; allowed is a text for each name"
                )
        return dict(data)


_NAME: Schema = {"type": ["string", "null"], "maxLength": NAME_LENGTH_MAX, "pattern": TEXT_PATTERN}
_MEMBER: Schema = {
    "type": "object",
    "properties": {
        "user_id": _NAME | {"description": "The id of the user; an unknown one is made."},
        "user_email": _NAME | {"description": "The address of the user, instead of the id."},
        "role": {"enum": list(Member.Role.values), "description": "What the user is in the team."},
    },
    "additionalProperties": False,
    "description": "One user, by id or by address.",
}


def read_member(data: Any, *, path: str) -> NewMember:
    """One entry of a list of members. Raises InputError, which names the field in `path`."""
    if not isinstance(data, dict):
        raise _wrong(path, "not an object with user_id or user_email, and role")
    for name in sorted(data.keys() - {"user_id", "user_email", "role"}):
        raise _wrong(f"{path}.{name}", "unknown field; allowed are role, user_email, user_id")
    for name in ("user_id", "user_email"):
        value = data.get(name)
        if value is not None and (not isinstance(value, str) or len(value) > NAME_LENGTH_MAX):
            raise _wrong(f"{path}.{name}", f"not a text of at most {NAME_LENGTH_MAX} characters")
    role = data.get("role") or Member.Role.USER.value
    if role not in Member.Role.values:
        raise _wrong(f"{path}.role", f"{role!r} is not allowed; allowed are admin, user")
    if not data.get("user_id") and not data.get("user_email"):
        raise _wrong(f"{path}.user_id", "needed, or user_email")
    return NewMember(data.get("user_id") or None, data.get("user_email") or None, role)


def _wrong(path: str, message: str) -> InputError:
    return InputError(f"{path}: {message}", field=path)


class MembersField(_Optional):
    """A list of members; with `takes_one` a single one too."""

    def __init__(self, *, help_text: str, required: bool = False, takes_one: bool = False) -> None:
        super().__init__(help_text=help_text, required=required)
        self.takes_one = takes_one

    @property
    def schema(self) -> Schema:
        forms: list[Schema] = [{"type": "array", "items": _MEMBER, "maxItems": MEMBERS_MAX}]
        if self.takes_one:
            forms = [{**forms[0], "minItems": 1}, _MEMBER]
        return {"anyOf": [*forms, *([] if self.required else [{"type": "null"}])]}

    def to_internal_value(self, data: Any) -> list[NewMember]:
        if self.takes_one and isinstance(data, dict):
            return [read_member(data, path=str(self.field_name))]
        if not isinstance(data, list):
            raise serializers.ValidationError("not a list of members")
        if len(data) > MEMBERS_MAX:
            raise serializers.ValidationError(f"{len(data)} members; allowed are at most {MEMBERS_MAX}")
        if self.takes_one and not data:
            raise serializers.ValidationError("an empty list adds nobody")
        return [read_member(item, path=f"{self.field_name}[{index}]") for index, item in enumerate(data)]


class ObjectsField(_Optional):
    """A list of objects that are read one by one."""

    @property
    def schema(self) -> Schema:
        return {"type": ["array", "null"], "items": {"type": "object"}, "maxItems": ITEMS_MAX}

    def to_internal_value(self, data: Any) -> list[dict[str, Any]]:
        if not isinstance(data, list) or not all(isinstance(item, dict) for item in data):
            raise serializers.ValidationError("not a list of objects")
        if len(data) > ITEMS_MAX:
            raise serializers.ValidationError(f"{len(data)} entries; allowed are at most {ITEMS_MAX}")
        return data


class ObjectField(_Optional):
    """An object that is read later."""

    @property
    def schema(self) -> Schema:
        return {"type": ["object", "null"]}

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if not isinstance(data, dict):
            raise serializers.ValidationError(f"{data!r} is not an object")
        return data


class PersonSerializer(LimitedScopeSerializer):
    """A scope with limits of which some fields are kept as they are and change nothing: those of `noted`."""

    not_yet: ClassVar[Mapping[str, object]] = REFUSED
    noted: ClassVar[tuple[str, ...]] = ()

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        noted = {name: attrs.pop(name) for name in self.noted if name in attrs}
        return {**attrs, "noted": noted} if noted else attrs


class NamedUserSerializer(RequestSerializer):
    """A user by id or by address."""

    user_id = TextField(help_text="Which user.")
    user_email = TextField(help_text="Which user, by address, instead of `user_id`.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if not attrs.get("user_id") and not attrs.get("user_email"):
            raise serializers.ValidationError({"user_id": "needed, or user_email"})
        return attrs


NOTED_HELP = "Kept and answered again; changes nothing here."


def noted_text() -> TextField:
    """A text that changes nothing."""
    return TextField(help_text=NOTED_HELP)


def noted_object() -> MetadataField:
    """An object that changes nothing."""
    return MetadataField(help_text=NOTED_HELP)
