"""The shape of requests about teams."""

from typing import Any, ClassVar

from budgets.queries import IntParameter, QuerySerializer, TextParameter
from budgets.serializers import (
    DURATION_NEEDS_MAXIMUM,
    BudgetLimitsField,
    DurationField,
    FlagField,
    ModelLimitsField,
    MoneyField,
    NamesField,
    RateField,
    RequestSerializer,
    TextField,
)
from teams.fields import REFUSED, MembersField, NameMapField, PersonSerializer, noted_object, noted_text
from teams.parsing import TEAM_ID_PATTERN

NOT_YET: dict[str, Any] = REFUSED | {
    "enforced_batch_output_expires_after": None,
    "enforced_file_expires_after": None,
    "require_trace_id": None,
    "secret_manager_settings": None,
}
"""What clients may send of a team that is not acted on, with the value that means nothing."""
NOTED: dict[str, object] = {"organization_id": None, "router_settings": {}, "prompts": None}
"""What is kept and changes nothing, with what it is where nobody gave it."""

MEMBER_PERMISSIONS_HELP = (
    "The addresses that plain members may use to make and change own keys of the team; without any, all that users may "
    "use for own keys. With /team/daily/activity they see what the others spend."
)
PAGE_MAX = 1_000_000
PAGE_SIZE_MAX = 1000
SORTED_BY = ("team_id", "team_alias", "created_at", "updated_at", "max_budget")
STATUSES = ("active", "blocked", "deleted")


class _TeamSerializer(PersonSerializer):
    not_yet: ClassVar = NOT_YET
    noted: ClassVar = tuple(NOTED)
    team_alias = TextField(help_text="The name that people give it.")
    model_aliases = NameMapField(help_text="Other names of models: what callers may write, and the route it means.")
    tags = NamesField(help_text="Tags that every call of the team's keys has.")
    default_team_member_models = NamesField(
        help_text="The models that members may call who have none of their own; null or an empty list for all."
    )
    team_member_permissions = NamesField(help_text=MEMBER_PERMISSIONS_HELP)
    team_member_key_duration = TextField(max_length=16, help_text="How long keys that members make live at most.")
    team_member_budget = MoneyField(
        source="team_member_budget_nanousd", help_text="`max_budget` of every member that has no limits of its own."
    )
    team_member_budget_duration = DurationField(help_text="The period of `team_member_budget`.")
    team_member_budget_limits = BudgetLimitsField(help_text="`budget_limits` of every such member.")
    team_member_rpm_limit = RateField(help_text="`rpm_limit` of every such member.")
    team_member_tpm_limit = RateField(help_text="`tpm_limit` of every such member.")
    team_member_model_max_budget = ModelLimitsField(help_text="`model_max_budget` of every such member.")
    is_available = FlagField(help_text="Whether every user may join it.")
    organization_id = noted_text()
    router_settings = noted_object()
    prompts = NamesField(help_text="Kept and answered again; changes nothing here.")


class NewTeamSerializer(_TeamSerializer):
    """POST /team/new."""

    rules: ClassVar = DURATION_NEEDS_MAXIMUM
    team_id = TextField(
        max_length=128,
        pattern=TEAM_ID_PATTERN,
        help_text="Its id: up to 128 of the characters A-Z a-z 0-9 . _ : @ + -; without one a random one.",
    )
    members_with_roles = MembersField(help_text="Its members; unknown users are made.")
    admins = NamesField(max_length=500, help_text="The ids of users who are its admins.")
    members = NamesField(max_length=500, help_text="The ids of users who are its members.")


class PatchTeamSerializer(_TeamSerializer):
    """PATCH /team/{team_id}."""

    team_id = TextField(help_text="The team of the address once more.")


class UpdateTeamSerializer(_TeamSerializer):
    """POST /team/update."""

    team_id = TextField(required=True, help_text="Which team.")


class TeamSerializer(RequestSerializer):
    """POST /team/block and /team/unblock."""

    team_id = TextField(required=True, help_text="Which team.")


class TeamModelsSerializer(TeamSerializer):
    """POST /team/model/add and /team/model/delete."""

    models = NamesField(help_text="Which models, by public name.")


class TeamPermissionsSerializer(TeamSerializer):
    """POST /team/permissions_update."""

    team_member_permissions = NamesField(help_text=MEMBER_PERMISSIONS_HELP)


class TeamQuery(QuerySerializer):
    """GET /team/permissions_list."""

    team_id = TextParameter(required=True, help_text="Which team.")


class TeamListQuery(QuerySerializer):
    """GET /team/list."""

    user_id = TextParameter(help_text="Only teams of this user.")
    organization_id = TextParameter(help_text="Only teams that were given this organization_id.")


class TeamPageQuery(TeamListQuery):
    """GET /v2/team/list."""

    team_id = TextParameter(help_text="Only this team.")
    team_alias = TextParameter(help_text="Only teams whose alias has this in it, in any case.")
    search = TextParameter(help_text="Only teams whose alias has this in it, or whose id is it.")
    search_team_id_match = TextParameter(
        choices=("exact", "prefix"), default="exact", help_text="Whether `search` is a whole id or how one begins."
    )
    page = IntParameter(minimum=1, maximum=PAGE_MAX, default=1, help_text="Which page.")
    page_size = IntParameter(minimum=1, maximum=PAGE_SIZE_MAX, default=10, help_text="How many teams a page has.")
    sort_by = TextParameter(choices=SORTED_BY, help_text="What they are sorted by; else by `created_at`.")
    sort_order = TextParameter(choices=("asc", "desc"), default="asc", help_text="In which direction.")
    status = TextParameter(choices=STATUSES, help_text="Only teams of this state; deleted ones are not kept.")
