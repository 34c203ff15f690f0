"""The shape of requests about users."""

from typing import Any, ClassVar

from rest_framework import serializers

from budgets.queries import FlagParameter, IntParameter, NamesParameter, QuerySerializer, TextParameter
from budgets.rules.limits import LimitUnit, parse_maximum
from budgets.serializers import (
    NAME_LENGTH_MAX,
    TEXT_PATTERN,
    USD,
    USD_TEXT,
    FlagField,
    MoneyField,
    NamesField,
    RequestSerializer,
    Schema,
    TextField,
)
from teams.fields import (
    NOTED_HELP,
    REFUSED,
    ChoiceField,
    ObjectField,
    ObjectsField,
    PersonSerializer,
    noted_object,
    noted_text,
)
from teams.models import Member, User
from teams.serializers import PAGE_MAX, PAGE_SIZE_MAX

ROLES = tuple(User.Role.values)
USERS_MAX = 500
TEAMS_MAX = 500
SORTED_BY = ("user_id", "user_email", "user_alias", "user_role", "created_at", "updated_at", "max_budget")
NOT_YET: dict[str, Any] = REFUSED | {"aliases": {}, "allowed_cache_controls": [], "tags": None}
NOTED: dict[str, object] = {
    "agent_id": None,
    "config": {},
    "organization_id": None,
    "organizations": None,
    "project_id": None,
    "prompts": None,
    "router_settings": {},
    "send_invite_email": None,
}
"""What is kept and changes nothing, with what it is where nobody gave it."""
_TEAM: Schema = {
    "type": "object",
    "required": ["team_id"],
    "properties": {
        "team_id": {"type": "string", "minLength": 1, "maxLength": NAME_LENGTH_MAX, "pattern": TEXT_PATTERN},
        "max_budget_in_team": {"anyOf": [USD, USD_TEXT, {"type": "null"}]},
        "user_role": {"enum": list(Member.Role.values)},
    },
    "additionalProperties": False,
}


class TeamsField(serializers.Field[Any, Any, Any, Any]):
    """Teams by id, or with the role and the budget that the user has there: (id, role, nano-dollars) each."""

    def __init__(self, *, help_text: str) -> None:
        super().__init__(required=False, allow_null=True, help_text=help_text)

    @property
    def schema(self) -> Schema:
        text = {"type": "string", "minLength": 1, "maxLength": NAME_LENGTH_MAX, "pattern": TEXT_PATTERN}
        return {"type": ["array", "null"], "items": {"anyOf": [text, _TEAM]}, "maxItems": TEAMS_MAX}

    def to_representation(self, value: Any) -> Any:
        return value

    def to_internal_value(self, data: Any) -> list[tuple[str, str, int | None]]:
        if not isinstance(data, list) or len(data) > TEAMS_MAX:
            raise serializers.ValidationError(f"not a list of at most {TEAMS_MAX} teams")
        teams = [self._read(item, index=index) for index, item in enumerate(data)]
        if len({team_id for team_id, _, _ in teams}) < len(teams):
            raise serializers.ValidationError("a team is named twice")
        return teams

    def _read(self, item: Any, *, index: int) -> tuple[str, str, int | None]:
        entry = {"team_id": item} if isinstance(item, str) else item
        if not isinstance(entry, dict) or entry.keys() - _TEAM["properties"].keys():
            message = "not a team's id, or an object with team_id, user_role and max_budget_in_team"
            raise serializers.ValidationError(f"[{index}]: {message}")
        team_id, role = entry.get("team_id"), entry.get("user_role") or Member.Role.USER.value
        if not isinstance(team_id, str) or not 0 < len(team_id) <= NAME_LENGTH_MAX:
            raise serializers.ValidationError(f"[{index}]: {team_id!r} is not the id of a team")
        if role not in Member.Role.values:
            raise serializers.ValidationError(f"[{index}]: {role!r} is not allowed; allowed are admin, user")
        budget = entry.get("max_budget_in_team")
        path = f"teams[{index}].max_budget_in_team"
        return team_id, role, None if budget is None else parse_maximum(budget, unit=LimitUnit.USD, field=path)


class _UserSerializer(PersonSerializer):
    not_yet: ClassVar = NOT_YET
    noted: ClassVar = tuple(NOTED)
    user_id = TextField(max_length=128, help_text="The user's id.")
    user_email = TextField(max_length=254, help_text="The user's address, which nobody else has.")
    user_alias = TextField(help_text="The name that people give the user.")
    user_role = ChoiceField(ROLES, help_text="What the user may do here.")
    sso_user_id = TextField(help_text="The user's id at the identity provider, which nobody else has.")
    password = TextField(max_length=128, help_text="The password for the dashboard. It is never answered.")
    spend = MoneyField(help_text="What the user has spent already, with keys that belong to no team.")
    agent_id = noted_text()
    config = noted_object()
    organization_id = noted_text()
    organizations = NamesField(help_text=NOTED_HELP)
    project_id = noted_text()
    prompts = NamesField(help_text=NOTED_HELP)
    router_settings = noted_object()
    send_invite_email = FlagField(help_text="Kept; nothing is sent.")


class NewUserSerializer(_UserSerializer):
    """POST /user/new."""

    teams = TeamsField(help_text="The teams that the user joins: their ids, or objects with `user_role` and budget.")
    team_id = TextField(max_length=128, help_text="One more team that the user joins.")
    auto_create_key = FlagField(help_text="false makes no key; else the user gets one that belongs to no team.")
    key_alias = TextField(help_text="The name of that key.")
    duration = TextField(max_length=32, help_text="How long that key lives, like `30d`; null for ever.")


class UpdateUserSerializer(_UserSerializer):
    """POST /user/update. `user_id` names the user; without it `user_email` does, else it is the new address."""

    not_yet: ClassVar = NOT_YET | {"key_alias": None, "duration": None, "team_id": None}

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if not attrs.get("user_id") and not attrs.get("user_email"):
            raise serializers.ValidationError({"user_id": "needed, or user_email"})
        return super().validate(attrs)


class BulkUpdateUsersSerializer(RequestSerializer):
    """POST /user/bulk_update."""

    users = ObjectsField(help_text="What to change of whom: the fields of /user/update, each on its own.")
    all_users = FlagField(help_text="true changes every user, as `user_updates` says, instead of `users`.")
    user_updates = ObjectField(help_text="The fields of /user/update that every user shall have.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if bool(attrs.get("users")) == bool(attrs.get("all_users")):
            raise serializers.ValidationError({"users": "exactly one of users and all_users is needed"})
        if attrs.get("all_users") and not attrs.get("user_updates"):
            raise serializers.ValidationError({"user_updates": "needed with all_users"})
        return attrs


class DeleteUsersSerializer(RequestSerializer):
    """POST /user/delete."""

    user_ids = NamesField(max_length=USERS_MAX, help_text="Whom to delete.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if not attrs.get("user_ids"):
            raise serializers.ValidationError({"user_ids": "needed"})
        return attrs


class ChangePasswordSerializer(RequestSerializer):
    """POST /user/password/change."""

    current_password = TextField(max_length=128, help_text="The password so far, where there is one.")
    new_password = TextField(max_length=128, required=True, help_text="The password from now on.")


class UserInfoQuery(QuerySerializer):
    """GET /user/info."""

    user_id = TextParameter(help_text="Which user; else the caller.")
    admin_mcp = FlagParameter(help_text="Means nothing here.")
    mcp_tool = TextParameter(help_text="Means nothing here.")
    mcp_path = TextParameter(help_text="Means nothing here.")


class UserQuery(QuerySerializer):
    """GET /v2/user/info."""

    user_id = TextParameter(help_text="Which user; else the caller.")


class UserListQuery(QuerySerializer):
    """GET /user/list."""

    role = TextParameter(choices=ROLES, help_text="Only users of this role.")
    user_ids = NamesParameter(help_text="Only these users.")
    sso_user_ids = NamesParameter(help_text="Only users with these ids at the identity provider.")
    user_email = TextParameter(help_text="Only users whose address has this in it, in any case.")
    search = TextParameter(help_text="Only users whose id, alias or address has this in it.")
    team = TextParameter(help_text="Only members of this team.")
    organization_ids = NamesParameter(help_text="Only users that were given one of these as organization_id.")
    page = IntParameter(minimum=1, maximum=PAGE_MAX, default=1, help_text="Which page.")
    page_size = IntParameter(minimum=1, maximum=PAGE_SIZE_MAX, default=25, help_text="How many users a page has.")
    sort_by = TextParameter(choices=SORTED_BY, help_text="What they are sorted by; else by `created_at`.")
    sort_order = TextParameter(choices=("asc", "desc"), default="asc", help_text="In which direction.")
