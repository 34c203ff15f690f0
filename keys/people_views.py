"""The API where a team or a user meets keys: made, shown, listed or deleted together with them."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, cast

from django.db.models import Count, F, Q, QuerySet
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import ValidationError
from rest_framework.views import APIView

from budgets.actors import Actor
from budgets.answers import Answer
from budgets.documents import Links, documented
from budgets.queries import IntParameter, QuerySerializer, TextParameter, parameters_of
from budgets.requests import actor_of
from budgets.serializers import NamesField, RequestSerializer
from keys.answers import key_rows
from keys.fields import KeyFields
from keys.models import Key
from keys.people_answers import (
    DELETED_TEAMS_ANSWER,
    DELETED_USERS_ANSWER,
    NEW_USER_ANSWER,
    NEW_USER_NOTHING,
    REMOVED_MEMBER_ANSWER,
    TEAM_INFO_ANSWER,
    TEAM_LIST_ANSWER,
    TEAM_PAGE_ANSWER,
    USER_INFO_ANSWER,
    USER_PAGE_ANSWER,
)
from keys.people_services import (
    CreatedUser,
    Joining,
    create_user_with_key,
    delete_teams,
    delete_users,
    remove_member,
)
from teams.access import (
    check_manages_all,
    check_manages_team,
    team_seen_by,
    user_seen_by,
    visible_teams,
    visible_users,
)
from teams.answers import membership_row, team_row, team_with_usage
from teams.member_serializers import MemberSerializer
from teams.member_services import members_of, user_id_of
from teams.models import Member, Team, User
from teams.serializers import TeamListQuery, TeamPageQuery
from teams.services import team_for
from teams.usage import shown_of, shown_of_all, spends_of_rows
from teams.user_answers import USER_WITH_USAGE, user_row, user_with_usage
from teams.user_serializers import DeleteUsersSerializer, NewUserSerializer, UserInfoQuery, UserListQuery, UserQuery
from teams.user_services import UserFields
from teams.user_views import teams_of
from teams.views import team_answer, validated

KEYS_SHOWN_MAX = 1000
TEAMS_LISTED_MAX = 1000
TEAMS_MAX = 1000


# --- teams ----------------------------------------------------------------------------------------


class TeamInfoQuery(QuerySerializer):
    """GET /team/info."""

    team_id = TextParameter(required=True, help_text="Which team.")
    key_limit = IntParameter(
        minimum=0, maximum=KEYS_SHOWN_MAX, default=KEYS_SHOWN_MAX, help_text="How many of its keys are shown."
    )


class DeleteTeamsSerializer(RequestSerializer):
    """POST /team/delete."""

    team_ids = NamesField(max_length=TEAMS_MAX, help_text="Which teams.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if not attrs.get("team_ids"):
            raise ValidationError({"team_ids": "needed"})
        return attrs


class TeamInfo(APIView):
    """Shows a team, the usage of its windows, its members, and its newest keys."""

    @documented("Show a team", query=TeamInfoQuery, answer=TEAM_INFO_ANSWER, tag="team")
    def get(self, request: Request) -> Response:
        query, by, now = parameters_of(TeamInfoQuery, request), actor_of(request), timezone.now()
        team = team_seen_by(by, query["team_id"])
        members = members_of(team)
        shown, *of_members = shown_of_all([team, *members], now=now)
        keys = _keys_of(Q(team=team), seen_by=by)[: query["key_limit"]]
        answer = {
            "team_id": team.team_id,
            "team_info": team_with_usage(team, shown=shown, members=members, access=_access(by, team), now=now),
            "keys": _key_rows(keys, now=now),
            "team_memberships": [
                membership_row(member, shown=each, now=now) for member, each in zip(members, of_members, strict=True)
            ],
        }
        return Response(answer)


def _access(by: Actor, team: Team) -> str:
    if by.manages_all:
        return "unrestricted"
    return "team_admin" if by.manages_team(team.team_id) else "none"


def _keys_of(where: Q, *, seen_by: Actor) -> QuerySet[Key]:
    """Keys of teams or users, newest first; a plain member of a team sees only the own ones there."""
    keys = Key.objects.select_related("team", "user", "budget").filter(where).order_by("-created_at", "id")
    if seen_by.sees_all:
        return keys
    own = [] if seen_by.user_id is None else [seen_by.user_id]
    return keys.filter(Q(team__in=seen_by.admin_of) | Q(user__in=own))


def _key_rows(keys: Iterable[Key], *, now: datetime) -> list[Answer]:
    rows = list(keys)
    return [{"token": key.token_hash, **row} for key, row in zip(rows, key_rows(rows, now=now), strict=True)]


def _members_by_team(teams: Sequence[Team]) -> dict[str, list[Member]]:
    """The members of each team with their users and tiers, first come first; one query."""
    found: dict[str, list[Member]] = {team.team_id: [] for team in teams}
    by_id = {team.team_id: team for team in teams}
    members = Member.objects.filter(team_id__in=by_id).select_related("user", "budget").order_by("created_at", "id")
    for member in members:
        member.team = by_id[member.team_id]
        found[member.team_id].append(member)
    return found


class TeamList(APIView):
    """Shows teams with their members and keys."""

    @documented(
        "List teams with members and keys",
        query=TeamListQuery,
        answer=TEAM_LIST_ANSWER,
        tag="team",
        description=f"At most {TEAMS_LISTED_MAX} teams and {KEYS_SHOWN_MAX} keys, the newest ones; "
        "`/v2/team/list` has pages.",
    )
    def get(self, request: Request) -> Response:
        query, by, now = parameters_of(TeamListQuery, request), actor_of(request), timezone.now()
        teams = list(_filtered(visible_teams(by), query).order_by("-created_at", "team_id")[:TEAMS_LISTED_MAX])
        members = _members_by_team(teams)
        keys: dict[str, list[Answer]] = {team.team_id: [] for team in teams}
        for row in _key_rows(_keys_of(Q(team__in=teams), seen_by=by)[:KEYS_SHOWN_MAX], now=now):
            keys[row["team_id"]].append(row)
        everybody = [member for team in teams for member in members[team.team_id]]
        shown = dict(zip([member.pk for member in everybody], shown_of_all(everybody, now=now), strict=True))
        answer = [
            {
                **team_row(team, spends=spends, members=members[team.team_id], now=now),
                "keys": keys[team.team_id],
                "team_memberships": [
                    membership_row(member, shown=shown[member.pk], now=now) for member in members[team.team_id]
                ],
            }
            for team, spends in zip(teams, spends_of_rows(teams, now=now), strict=True)
        ]
        return Response(answer)


def _filtered(teams: QuerySet[Team], query: dict[str, Any]) -> QuerySet[Team]:
    if user_id := query["user_id"]:
        teams = teams.filter(team_id__in=Member.objects.filter(user_id=user_id).values("team_id"))
    if organization_id := query["organization_id"]:
        teams = teams.filter(noted__organization_id=organization_id)
    return teams


class TeamPage(APIView):
    """Shows teams page by page."""

    @documented("List teams by page", query=TeamPageQuery, answer=TEAM_PAGE_ANSWER, tag="team")
    def get(self, request: Request) -> Response:
        query, by, now = parameters_of(TeamPageQuery, request), actor_of(request), timezone.now()
        teams = _searched(_filtered(visible_teams(by), query), query)
        total, page = teams.count(), _page(teams, query, by={"max_budget": "max_budget_nanousd"}, last="team_id")
        members = _members_by_team(page)
        key_counts = _counts(Key.objects.filter(team__in=page), by="team_id")
        rows = [
            {
                **team_row(team, spends=spends, members=members[team.team_id], now=now),
                "members_count": len(members[team.team_id]),
                "keys_count": key_counts.get(team.team_id, 0),
                "caller_membership": _own(members[team.team_id], by=by),
            }
            for team, spends in zip(page, spends_of_rows(page, now=now), strict=True)
        ]
        return Response({"teams": rows, **_paged(total, query)})


def _searched(teams: QuerySet[Team], query: dict[str, Any]) -> QuerySet[Team]:
    if team_id := query["team_id"]:
        teams = teams.filter(team_id=team_id)
    if alias := query["team_alias"]:
        teams = teams.filter(team_alias__icontains=alias)
    if text := query["search"]:
        named = Q(team_id__startswith=text) if query["search_team_id_match"] == "prefix" else Q(team_id=text)
        teams = teams.filter(named | Q(team_alias__icontains=text))
    if query["status"] == "deleted":
        return teams.none()
    return teams if query["status"] is None else teams.filter(blocked=query["status"] == "blocked")


def _page(rows: QuerySet[Any], query: dict[str, Any], *, by: dict[str, str], last: str) -> list[Any]:
    """One page, sorted as the query says; nothing that is missing comes first."""
    name = query["sort_by"] or "created_at"
    column = F(by.get(name, name))
    order = column.desc(nulls_last=True) if query["sort_order"] == "desc" else column.asc(nulls_last=True)
    first = (query["page"] - 1) * query["page_size"]
    return list(rows.order_by(order, last)[first : first + query["page_size"]])


def _paged(total: int, query: dict[str, Any]) -> Answer:
    size = query["page_size"]
    return {"total": total, "page": query["page"], "page_size": size, "total_pages": -(-total // size)}


def _counts(rows: QuerySet[Key], *, by: str) -> dict[str, int]:
    return dict(rows.order_by().values_list(by).annotate(Count("pk")))


def _own(members: Sequence[Member], *, by: Actor) -> Answer | None:
    for member in members:
        if member.user_id == by.user_id:
            user = member.user
            names = {"user_email": user.email or None, "user_alias": user.user_alias}
            return {"user_id": user.username, **names, "role": str(member.role)}
    return None


class DeleteTeams(APIView):
    """Deletes all of the named teams, or none."""

    @documented(
        "Delete teams",
        request=DeleteTeamsSerializer,
        answer=DELETED_TEAMS_ANSWER,
        tag="team",
        description="The keys of the teams are deleted with them.",
    )
    def post(self, request: Request) -> Response:
        team_ids, by = validated(DeleteTeamsSerializer, request)["team_ids"], actor_of(request)
        for team_id in team_ids:
            check_manages_team(by, team_id)
        hashes = delete_teams(team_ids, by=by, now=timezone.now())
        return Response({"deleted_teams": team_ids, "deleted_keys": hashes})


class RemoveMember(APIView):
    """Takes a member out of a team."""

    @documented(
        "Take a member out of a team",
        request=MemberSerializer,
        answer=REMOVED_MEMBER_ANSWER,
        tag="team",
        description="The keys that the user has in the team are deleted; the user stays.",
    )
    def post(self, request: Request) -> Response:
        fields, by = validated(MemberSerializer, request), actor_of(request)
        check_manages_team(by, fields["team_id"])
        user_id = user_id_of(fields.get("user_id"), user_email=fields.get("user_email"))
        hashes = remove_member(fields["team_id"], user_id, by=by, now=timezone.now())
        return Response({**team_answer(team_for(fields["team_id"])), "deleted_keys": hashes})


# --- users ----------------------------------------------------------------------------------------


_USER_NAMED = {"user_id": "$response.body#/user_id"}
_LINKS_OF_USER: Links = {
    "get /user/info": _USER_NAMED,
    "get /v2/user/info": _USER_NAMED,
    "post /user/update": _USER_NAMED,
    "post /key/generate": _USER_NAMED,
    "post /user/delete": {"user_ids": [_USER_NAMED["user_id"]]},
}


class NewUser(APIView):
    """Makes a user; the answer is the only place where the key ever appears."""

    @documented(
        "Make a user",
        request=NewUserSerializer,
        answer=NEW_USER_ANSWER,
        tag="user",
        description="The key has no limits of its own: those of the user hold for all personal keys together.",
        links=_LINKS_OF_USER,
    )
    def post(self, request: Request) -> Response:
        fields, by, now = validated(NewUserSerializer, request), actor_of(request), timezone.now()
        check_manages_all(by)
        key = {name: fields.pop(name) for name in ("key_alias", "duration") if name in fields}
        wants_key = fields.pop("auto_create_key", None) is not False
        created = create_user_with_key(
            cast(UserFields, fields),
            user_id=fields.pop("user_id", None),
            teams=_joining(fields),
            spend_nanousd=fields.pop("spend", None),
            key=cast(KeyFields, key) if wants_key else None,
            by=by,
            now=now,
        )
        return Response(_new_user(created, now=now))


def _joining(fields: dict[str, Any]) -> list[Joining]:
    teams = [Joining(*team) for team in fields.pop("teams", None) or []]
    one = fields.pop("team_id", None)
    return teams if one is None or any(team.team_id == one for team in teams) else [*teams, Joining(one)]


def _new_user(created: CreatedUser, *, now: datetime) -> Answer:
    [spends] = spends_of_rows([created.user], now=now)
    made = created.key
    key = None if made is None else made.key
    return {
        **NEW_USER_NOTHING,
        **user_row(created.user, spends=spends, teams=created.teams, now=now),
        "key": "" if made is None else made.text,
        "key_alias": None if key is None else key.key_alias,
        "key_name": None if key is None else key.key_name,
        "key_type": None if key is None else key.key_type,
        "token": None if key is None else key.token_hash,
        "token_id": None if key is None else key.token_hash,
        "expires": None if key is None else key.expires_at,
        "updated_by": created.user.created_by or None,
    }


class UserInfo(APIView):
    """Shows a user with keys and teams."""

    @documented("Show a user", query=UserInfoQuery, answer=USER_INFO_ANSWER, tag="user")
    def get(self, request: Request) -> Response:
        query, by, now = parameters_of(UserInfoQuery, request), actor_of(request), timezone.now()
        user_id = query["user_id"] or by.user_id
        if user_id is None:
            nobody: Answer = {"user_id": None, "user_info": None, "keys": [], "teams": []}
            return Response({**nobody, "admin_mcp_permissions": None})
        user = user_seen_by(by, user_id)
        ids = teams_of([user_id])[user_id]
        teams = list(visible_teams(by).filter(team_id__in=ids).order_by("team_id"))
        members = _members_by_team(teams)
        answer = {
            "user_id": user_id,
            "user_info": user_with_usage(user, shown=shown_of(user, now=now), teams=ids, now=now),
            "keys": _key_rows(_keys_of(Q(user=user), seen_by=by)[:KEYS_SHOWN_MAX], now=now),
            "teams": [
                team_row(team, spends=spends, members=members[team.team_id], now=now)
                for team, spends in zip(teams, spends_of_rows(teams, now=now), strict=True)
            ],
            "admin_mcp_permissions": None,
        }
        return Response(answer)


class UserInfoV2(APIView):
    """Shows a user without keys."""

    @documented("Show a user without keys", query=UserQuery, answer=USER_WITH_USAGE, tag="user")
    def get(self, request: Request) -> Response:
        query, by, now = parameters_of(UserQuery, request), actor_of(request), timezone.now()
        user = user_seen_by(by, query["user_id"] or by.user_id or by.name)
        teams = teams_of([user.username])[user.username]
        return Response(user_with_usage(user, shown=shown_of(user, now=now), teams=teams, now=now))


class UserList(APIView):
    """Shows users page by page."""

    @documented("List users", query=UserListQuery, answer=USER_PAGE_ANSWER, tag="user")
    def get(self, request: Request) -> Response:
        query, by, now = parameters_of(UserListQuery, request), actor_of(request), timezone.now()
        users = _found(visible_users(by), query)
        columns = {
            "user_id": "username",
            "user_email": "email",
            "user_role": "role",
            "created_at": "date_joined",
            "max_budget": "max_budget_nanousd",
        }
        total, page = users.count(), _page(users, query, by=columns, last="username")
        teams = teams_of([user.username for user in page])
        counts = _counts(Key.objects.filter(user__in=page), by="user_id")
        rows = [
            {
                **user_row(user, spends=spends, teams=teams[user.username], now=now),
                "key_count": counts.get(user.username, 0),
            }
            for user, spends in zip(page, spends_of_rows(page, now=now), strict=True)
        ]
        return Response({"users": rows, **_paged(total, query)})


def _found(users: QuerySet[User], query: dict[str, Any]) -> QuerySet[User]:
    given = {
        "role": query["role"],
        "username__in": query["user_ids"],
        "sso_user_id__in": query["sso_user_ids"],
        "email__icontains": query["user_email"],
        "noted__organization_id__in": query["organization_ids"],
    }
    users = users.filter(**{name: value for name, value in given.items() if value})
    if team := query["team"]:
        users = users.filter(memberships__team_id=team)
    if text := query["search"]:
        users = users.filter(Q(username__icontains=text) | Q(email__icontains=text) | Q(user_alias__icontains=text))
    return users


class DeleteUsers(APIView):
    """Deletes all of the named users, or none."""

    @documented(
        "Delete users",
        request=DeleteUsersSerializer,
        answer=DELETED_USERS_ANSWER,
        tag="user",
        description="All keys of the users are deleted with them, in teams too. The last proxy admin stays.",
    )
    def post(self, request: Request) -> Response:
        user_ids, by = validated(DeleteUsersSerializer, request)["user_ids"], actor_of(request)
        check_manages_all(by)
        hashes = delete_users(user_ids, by=by, now=timezone.now())
        return Response({"deleted_users": len(set(user_ids)), "deleted_user_ids": user_ids, "deleted_keys": hashes})
