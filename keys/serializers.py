"""The shape of requests about keys."""

from collections.abc import Mapping
from typing import Any, ClassVar

from rest_framework import serializers

from budgets.fields import InstantField
from budgets.queries import (
    FlagParameter,
    IntParameter,
    NamesParameter,
    QuerySerializer,
    TextParameter,
)
from budgets.serializers import (
    DURATION_NEEDS_MAXIMUM,
    DURATION_PATTERN,
    FlagField,
    LimitedScopeSerializer,
    MetadataField,
    MoneyField,
    NamesField,
    RequestSerializer,
    Schema,
    TextField,
)
from keys.fields import ROUTES_OF_TYPE

KEYS_MAX = 1000
BULK_MAX = 500
KEYS_SHOWN_MAX = 1000
PAGE_MAX = 1_000_000
KEY_LENGTH_MAX = 256
TAGS_MAX = 20
TAG_LENGTH_MAX = 128
ALIASES_MAX = 1000
ROUTES = ("llm_api_routes", "info_routes", "management_routes")
THROUGHPUT = "best_effort_throughput"

REFUSED: dict[str, Any] = {
    "access_group_ids": [],
    "allowed_passthrough_routes": None,
    "allowed_vector_store_indexes": None,
    "auto_rotate": False,
    "budget_fallbacks": {},
    "denied_passthrough_routes": None,
    "disable_global_guardrails": None,
    "enable_prompt_caching": None,
    "end_user_budget_id": None,
    "enforced_params": None,
    "guardrails": None,
    "mcp_rpm_limit": None,
    "object_permission": None,
    "permissions": {},
    "policies": None,
    "tag_rpm_limit": None,
    "throttle_on_budget_exceeded": None,
}
"""What clients may send of a key and rely on, and what is not acted on: with the value that means nothing."""

NOTED: dict[str, Any] = {
    "agent_id": None,
    "allowed_cache_controls": [],
    "config": {},
    "default_estimated_output_tokens": None,
    "default_estimated_output_tokens_per_model": None,
    "organization_id": None,
    "project_id": None,
    "prompts": None,
    "rotation_interval": None,
    "router_settings": None,
    "rpm_limit_type": None,
    "tpm_limit_type": None,
}
"""What is kept and answered and does nothing here, with what is answered where it was not given."""

_KEY_HELP = "Which key: its text or its hash."


LIFE_PATTERN = DURATION_PATTERN.replace("^(", "^(-1|")


def _given(name: str) -> dict[str, Any]:
    return {"required": [name], "properties": {name: {"type": "string", "minLength": 1}}}


# --- fields -----------------------------------------------------------------------------------------


class NotedField(MetadataField):
    """A value of one JSON type that is kept as it is."""

    def __init__(self, kind: str, *, help_text: str = "") -> None:
        super().__init__(help_text=help_text or "Kept and answered; does nothing here.")
        self.kind = kind

    @property
    def schema(self) -> Schema:
        bound = {"minimum": 1, "maximum": 2**53} if self.kind == "integer" else {}
        return {"type": [self.kind, "null"], **bound}

    def to_internal_value(self, data: Any) -> Any:
        kinds: dict[str, type] = {"object": dict, "array": list, "integer": int}
        if not isinstance(data, kinds[self.kind]) or isinstance(data, bool):
            raise serializers.ValidationError(f"allowed is a value of the JSON type {self.kind}")
        if isinstance(data, int) and not 1 <= data <= 2**53:
            raise serializers.ValidationError(f"{data} is not allowed; allowed is a whole number from 1 to {2**53}")
        return super().to_internal_value({"value": data})["value"]


class ThroughputField(TextField):
    """`rpm_limit_type` and `tpm_limit_type`: the one of the three that describes what happens here."""

    @property
    def schema(self) -> Schema:
        return {"enum": [THROUGHPUT, "", None]}

    def run_validation(self, data: Any = serializers.empty) -> Any:
        value = super().run_validation(data)
        if value not in (None, THROUGHPUT):
            raise serializers.ValidationError(f"{value!r} is not supported; allowed is {THROUGHPUT}")
        return value


class KeyTypeField(TextField):
    """`key_type`."""

    @property
    def schema(self) -> Schema:
        return {"enum": [*ROUTES_OF_TYPE, "", None]}

    def run_validation(self, data: Any = serializers.empty) -> Any:
        value = super().run_validation(data)
        if value is not None and value not in ROUTES_OF_TYPE:
            raise serializers.ValidationError(f"{value!r} is not allowed; allowed are {', '.join(ROUTES_OF_TYPE)}")
        return value


class RoutesField(NamesField):
    """`allowed_routes`: names of groups, and paths, which may end in a star."""

    @property
    def schema(self) -> Schema:
        path = {"type": "string", "pattern": r"^/[^\x00]*$", "maxLength": 255}
        return {"type": ["array", "null"], "items": {"anyOf": [{"enum": list(ROUTES)}, path]}, "maxItems": 1000}

    def to_internal_value(self, data: Any) -> Any:
        routes = super().to_internal_value(data)
        for index, route in enumerate(routes):
            if route not in ROUTES and not route.startswith("/"):
                allowed = f"allowed are {', '.join(ROUTES)} and paths like /v1/chat/completions or /v1/*"
                raise serializers.ValidationError({index: f"{route!r} is not allowed; {allowed}"})  # type: ignore[dict-item]
        return routes


class TagsField(NamesField):
    """`tags`: at most 20 of 1 to 128 characters. They go into names of counters, where braces mean something."""

    def __init__(self, *, help_text: str) -> None:
        super().__init__(max_length=TAGS_MAX, help_text=help_text)

    @property
    def schema(self) -> Schema:
        tag = {"type": "string", "minLength": 1, "maxLength": TAG_LENGTH_MAX, "pattern": r"^[^\x00-\x1f\x7f{}]*$"}
        return {"type": ["array", "null"], "items": tag, "maxItems": TAGS_MAX}

    def to_internal_value(self, data: Any) -> Any:
        tags = super().to_internal_value(data)
        for index, tag in enumerate(tags):
            if len(tag) > TAG_LENGTH_MAX or "{" in tag or "}" in tag or not tag.isprintable():
                message = (
                    f"{tag[:32]!r} is not allowed; allowed are 1 to {TAG_LENGTH_MAX} printable characters but {{ }}"
                )
                raise serializers.ValidationError({index: message})  # type: ignore[dict-item]
        return tags


class ModelAliasesField(MetadataField):
    """`aliases`: names of models that the key's callers use, with the models that are meant."""

    @property
    def schema(self) -> Schema:
        name = {"type": "string", "minLength": 1, "maxLength": 255}
        return {"type": ["object", "null"], "additionalProperties": name, "maxProperties": ALIASES_MAX}

    def to_internal_value(self, data: Any) -> dict[str, str]:
        aliases = super().to_internal_value(data)
        if len(aliases) > ALIASES_MAX:
            raise serializers.ValidationError(f"{len(aliases)} names; allowed are at most {ALIASES_MAX}")
        for name, model in aliases.items():
            if not name or not isinstance(model, str) or not 1 <= len(model) <= 255:
                message = "allowed is the name of a model, 1 to 255 characters"
                raise serializers.ValidationError({f"{self.field_name}.{name}": message})
        return aliases


# --- requests ---------------------------------------------------------------------------------------


class KeyFieldsSerializer(LimitedScopeSerializer):
    """What all requests say of a key. What it validated is keys.fields.KeyFields."""

    not_yet: ClassVar[Mapping[str, object]] = REFUSED
    key_alias = TextField(help_text="The name that people give it, once in each team.")
    team_id = TextField(help_text="The team that it belongs to; null for none.")
    user_id = TextField(help_text="The user whom it belongs to and acts for; null for none.")
    duration = TextField(
        max_length=32,
        pattern=LIFE_PATTERN,
        help_text='How long it lives from now, like `30d` or `1mo`; `"-1"` or null for ever.',
    )
    spend = MoneyField(
        source="spend_nanousd", help_text="What it has spent in its life, from now on; null says nothing."
    )
    aliases = ModelAliasesField(help_text="Names of models that its callers use, with the models that are meant.")
    allowed_routes = RoutesField(
        help_text="What it may call: `llm_api_routes`, `info_routes`, `management_routes`, paths; none for everything."
    )
    key_type = KeyTypeField(
        help_text="Short for some `allowed_routes`: `llm_api`, `management`, `read_only`, or `default` for everything."
    )
    tags = TagsField(help_text="Tags of all its calls, whose limits hold for them.")
    agent_id = TextField(help_text="Kept and answered; does nothing here.")
    allowed_cache_controls = NotedField("array")
    config = NotedField("object")
    default_estimated_output_tokens = NotedField("integer")
    default_estimated_output_tokens_per_model = NotedField("object")
    organization_id = TextField(help_text="Kept and answered; does nothing here.")
    project_id = TextField(help_text="Kept and answered; does nothing here.")
    prompts = NotedField("array")
    rotation_interval = TextField(help_text="Kept and answered: keys do not rotate on their own.")
    router_settings = NotedField("object")
    rpm_limit_type = ThroughputField(help_text="Kept and answered; nothing but `best_effort_throughput` is supported.")
    tpm_limit_type = ThroughputField(help_text="Kept and answered; nothing but `best_effort_throughput` is supported.")

    def to_internal_value(self, data: Any) -> Any:
        fields = super().to_internal_value(data)
        if noted := {name: fields.pop(name) for name in NOTED if name in fields}:
            fields["noted"] = noted
        return fields


class GenerateKeySerializer(KeyFieldsSerializer):
    """POST /key/generate."""

    not_yet: ClassVar = REFUSED
    rules: ClassVar = DURATION_NEEDS_MAXIMUM
    key = TextField(
        max_length=KEY_LENGTH_MAX,
        pattern="^sk-[!-~]{13,253}$",
        help_text="A key of one's own: sk- and 13 to 253 printable characters; else random.",
    )
    send_invite_email = FlagField(help_text="Taken and not acted on: no mail is sent.")


class ServiceAccountSerializer(GenerateKeySerializer):
    """POST /key/service-account/generate: a key of a team and of no user."""

    team_id = TextField(required=True, help_text="The team that it belongs to.")
    user_id = TextField(help_text="Taken and not acted on: the key of a service belongs to no user.")


class KeyChangesSerializer(KeyFieldsSerializer):
    """What an update may change."""

    temp_budget_increase = MoneyField(
        source="temp_budget_increase_nanousd",
        help_text="Added to all its USD limits until `temp_budget_expiry`; replaces the one before, null ends it.",
    )
    temp_budget_expiry = InstantField(help_text="Until when `temp_budget_increase` holds; both are needed.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        amount, until = attrs.get("temp_budget_increase_nanousd"), attrs.get("temp_budget_expiry")
        if (amount is None) != (until is None):
            missing = "temp_budget_increase" if amount is None else "temp_budget_expiry"
            given = "temp_budget_expiry" if amount is None else "temp_budget_increase"
            raise serializers.ValidationError({given: f"needs {missing}; give both, or null for both"})
        return attrs


class UpdateKeySerializer(KeyChangesSerializer):
    """POST /key/update. `key` names the key by its text or hash; without it, `key_alias` does."""

    rules: ClassVar = {"anyOf": [_given("key"), _given("key_alias")]}
    key = TextField(max_length=KEY_LENGTH_MAX, help_text=_KEY_HELP)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if not attrs.get("key") and not attrs.get("key_alias"):
            raise serializers.ValidationError({"key": "needed, or key_alias"})
        return super().validate(attrs)


class BulkItemSerializer(KeyChangesSerializer):
    """One key of POST /key/bulk_update, and what changes of it."""

    key = TextField(required=True, max_length=KEY_LENGTH_MAX, help_text=_KEY_HELP)


class RegenerateKeySerializer(KeyFieldsSerializer):
    """POST /key/{key}/regenerate: fields that change at the same time, and how the rotation goes."""

    not_yet: ClassVar = {**REFUSED, "new_master_key": None}
    key = TextField(max_length=KEY_LENGTH_MAX, help_text="Which key, where the address does not say it.")
    new_key = TextField(max_length=KEY_LENGTH_MAX, help_text="The new text, if it shall not be random.")
    grace_period = TextField(
        max_length=32, help_text="How long the old text works beside the new one, like `24h`; not at all without."
    )
    send_invite_email = FlagField(help_text="Taken and not acted on: no mail is sent.")


class NamedKeySerializer(RequestSerializer):
    """POST /key/block and /key/unblock."""

    key = TextField(required=True, max_length=KEY_LENGTH_MAX, help_text=_KEY_HELP)


class NamedKeysSerializer(RequestSerializer):
    """POST /v2/key/info."""

    keys = NamesField(max_length=KEYS_MAX, help_text="Which keys: their texts or hashes.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if not attrs.get("keys"):
            raise serializers.ValidationError({"keys": "needed: at least one key"})
        return attrs


class DeleteKeysSerializer(RequestSerializer):
    """POST /key/delete."""

    rules: ClassVar = {
        "oneOf": [
            {"required": [one], "properties": {one: {"type": "array", "minItems": 1}, other: {"enum": [None, []]}}}
            for one, other in (("keys", "key_aliases"), ("key_aliases", "keys"))
        ]
    }
    keys = NamesField(
        max_length=KEYS_MAX, text_length_max=KEY_LENGTH_MAX, help_text="Which keys: their texts or hashes."
    )
    key_aliases = NamesField(max_length=KEYS_MAX, help_text="Which keys: their aliases, instead of `keys`.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if bool(attrs.get("keys")) == bool(attrs.get("key_aliases")):
            raise serializers.ValidationError({"keys": "exactly one of keys and key_aliases is needed"})
        return attrs


class ItemsField(serializers.Field[Any, Any, Any, Any]):
    """A list of objects, each of which is checked on its own when its turn comes."""

    def __init__(self, *, most: int, item: Schema, help_text: str) -> None:
        super().__init__(help_text=help_text)
        self.most, self.item = most, item

    @property
    def schema(self) -> Schema:
        return {"type": "array", "items": self.item, "minItems": 1, "maxItems": self.most}

    def to_internal_value(self, data: Any) -> list[dict[str, Any]]:
        if not isinstance(data, list) or not all(isinstance(item, dict) for item in data):
            raise serializers.ValidationError("allowed is a list of objects")
        if not 1 <= len(data) <= self.most:
            raise serializers.ValidationError(f"{len(data)} entries; allowed are 1 to {self.most}")
        return data

    def to_representation(self, value: Any) -> Any:
        return value


class BulkUpdateSerializer(RequestSerializer):
    """POST /key/bulk_update."""

    keys = ItemsField(
        most=BULK_MAX,
        item={"type": "object", "properties": {"key": {"description": "Which key, as a text."}}},
        help_text="For each key `key` and the fields that change, as in /key/update; each has a result of its own, "
        "an object that makes no sense too.",
    )


class ChangesField(serializers.Field[Any, Any, Any, Any]):
    """The fields of an update, as an object."""

    @property
    def schema(self) -> Schema:
        return {"type": "object"}

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if not isinstance(data, dict):
            raise serializers.ValidationError("allowed is an object of fields, as in /key/update")
        changes = KeyChangesSerializer(data=data)
        changes.is_valid(raise_exception=True)
        validated: dict[str, Any] = changes.validated_data
        return validated

    def to_representation(self, value: Any) -> Any:
        return value


class TeamBulkUpdateSerializer(RequestSerializer):
    """POST /team/key/bulk_update."""

    team_id = TextField(required=True, help_text="The team whose keys change.")
    key_ids = NamesField(max_length=BULK_MAX, help_text="Which of its keys: their texts or hashes.")
    all_keys_in_team = FlagField(help_text="true for all of its keys, instead of `key_ids`.")
    update_fields = ChangesField(help_text="What changes of each, as in /key/update.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if bool(attrs.get("key_ids")) == bool(attrs.get("all_keys_in_team")):
            raise serializers.ValidationError({"key_ids": "exactly one of key_ids and all_keys_in_team is needed"})
        return attrs


# --- queries ----------------------------------------------------------------------------------------

SORTS = {
    "created_at": "created_at",
    "updated_at": "updated_at",
    "expires": "expires_at",
    "max_budget": "max_budget_nanousd",
    "key_alias": "key_alias",
}
STATUSES = ("active", "blocked", "revoked", "expired", "deleted")


class KeyInfoQuery(QuerySerializer):
    """GET /key/info."""

    key = TextParameter(
        max_length=KEY_LENGTH_MAX, secret=True, help_text="Which key: its text or its hash; without it the calling key."
    )


class RegenerateQuery(QuerySerializer):
    """POST /key/regenerate."""

    key = TextParameter(max_length=KEY_LENGTH_MAX, secret=True, help_text=_KEY_HELP)


class KeyListQuery(QuerySerializer):
    """GET /key/list."""

    page = IntParameter(minimum=1, maximum=PAGE_MAX, default=1, help_text="Which page.")
    size = IntParameter(minimum=1, maximum=100, default=10, help_text="How many keys a page has.")
    user_id = TextParameter(help_text="Keys of this user.")
    team_id = TextParameter(help_text="Keys of this team.")
    organization_id = TextParameter(help_text="Keys that were given this `organization_id`.")
    project_id = TextParameter(help_text="Keys that were given this `project_id`.")
    agent_id = TextParameter(help_text="Keys that were given this `agent_id`.")
    access_group_id = TextParameter(help_text="Keys of this access group: there are none.")
    key_hash = TextParameter(max_length=KEY_LENGTH_MAX, secret=True, help_text="The key with this hash or text.")
    key_alias = TextParameter(help_text="Keys of this alias.")
    search = TextParameter(help_text="Keys whose alias contains this text, or whose hash or name it is.")
    substring_matching = FlagParameter(
        help_text="Whether `key_alias` and `user_id` may be parts of what is looked for."
    )
    status = TextParameter(choices=STATUSES, help_text="Keys in this state; `blocked` and `revoked` are the same.")
    expires = TextParameter(max_length=64, help_text="`never`, or an instant: keys that expire then or earlier.")
    return_full_object = FlagParameter(help_text="Whether keys are objects; else their hashes.")
    include_team_keys = FlagParameter(help_text="Also the keys of teams that the user administers.")
    include_created_by_keys = FlagParameter(help_text="Also the keys that the user has made.")
    expand = NamesParameter(choices=["user"], help_text="`user` adds the user to each object.")
    sort_by = TextParameter(choices=tuple(SORTS), default="created_at", help_text="What the keys are sorted by.")
    sort_order = TextParameter(choices=("asc", "desc"), default="desc", help_text="Up or down.")


class KeyAliasesQuery(QuerySerializer):
    """GET /key/aliases."""

    page = IntParameter(minimum=1, maximum=PAGE_MAX, default=1, help_text="Which page.")
    size = IntParameter(minimum=1, maximum=100, default=50, help_text="How many aliases a page has.")
    search = TextParameter(help_text="Aliases that contain this text.")
    team_id = TextParameter(help_text="Aliases of keys of this team.")
