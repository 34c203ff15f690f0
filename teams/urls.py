"""Addresses of the API for teams, members, users, customers and tags; those that need keys are in keys/people_urls."""

from django.urls import URLPattern, path

from teams.guest_views import (
    BlockCustomers,
    CustomerInfo,
    CustomerList,
    DeleteCustomers,
    DeleteTag,
    NewCustomer,
    NewTag,
    TagInfo,
    TagList,
    UnblockCustomers,
    UpdateCustomer,
    UpdateTag,
)
from teams.member_views import AddMembers, BulkAddMembers, MyMembership, ResetMemberBudget, UpdateMember
from teams.user_views import AvailableRoles, BulkUpdateUsers, ChangePassword, UpdateUser
from teams.views import (
    AddTeamModels,
    AvailableTeams,
    BlockTeam,
    DeleteTeamModels,
    NewTeam,
    PatchTeam,
    TeamPermissions,
    UnblockTeam,
    UpdateTeam,
    UpdateTeamPermissions,
)


def _customers(noun: str) -> list[URLPattern]:
    """Customers have two names."""
    return [
        path(f"{noun}/new", NewCustomer.as_view()),
        path(f"{noun}/update", UpdateCustomer.as_view()),
        path(f"{noun}/info", CustomerInfo.as_view()),
        path(f"{noun}/list", CustomerList.as_view()),
        path(f"{noun}/delete", DeleteCustomers.as_view()),
        path(f"{noun}/block", BlockCustomers.as_view()),
        path(f"{noun}/unblock", UnblockCustomers.as_view()),
    ]


urlpatterns = [
    path("team/new", NewTeam.as_view()),
    path("team/update", UpdateTeam.as_view()),
    path("team/block", BlockTeam.as_view()),
    path("team/unblock", UnblockTeam.as_view()),
    path("team/model/add", AddTeamModels.as_view()),
    path("team/model/delete", DeleteTeamModels.as_view()),
    path("team/available", AvailableTeams.as_view()),
    path("team/permissions_list", TeamPermissions.as_view()),
    path("team/permissions_update", UpdateTeamPermissions.as_view()),
    path("team/member_add", AddMembers.as_view()),
    path("team/bulk_member_add", BulkAddMembers.as_view()),
    path("team/member_update", UpdateMember.as_view()),
    path("team/<str:team_id>/member/<str:user_id>/reset_budget", ResetMemberBudget.as_view()),
    path("team/<str:team_id>/members/me", MyMembership.as_view()),
    path("user/update", UpdateUser.as_view()),
    path("user/bulk_update", BulkUpdateUsers.as_view()),
    path("user/available_roles", AvailableRoles.as_view()),
    path("user/password/change", ChangePassword.as_view()),
    *_customers("customer"),
    *_customers("end_user"),
    path("tag/new", NewTag.as_view()),
    path("tag/update", UpdateTag.as_view()),
    path("tag/info", TagInfo.as_view()),
    path("tag/list", TagList.as_view()),
    path("tag/delete", DeleteTag.as_view()),
]

team_by_path = [path("team/<str:team_id>", PatchTeam.as_view())]
"""Stands after every other address of teams, whose last parts would be ids here."""
