"""Addresses of the API where a team or a user meets keys. They stand after every other address of teams."""

from django.urls import path

from keys.people_views import (
    DeleteTeams,
    DeleteUsers,
    NewUser,
    RemoveMember,
    TeamInfo,
    TeamList,
    TeamPage,
    UserInfo,
    UserInfoV2,
    UserList,
)
from teams.urls import team_by_path

urlpatterns = [
    path("team/info", TeamInfo.as_view()),
    path("team/list", TeamList.as_view()),
    path("v2/team/list", TeamPage.as_view()),
    path("team/delete", DeleteTeams.as_view()),
    path("team/member_delete", RemoveMember.as_view()),
    path("user/new", NewUser.as_view()),
    path("user/info", UserInfo.as_view()),
    path("v2/user/info", UserInfoV2.as_view()),
    path("user/list", UserList.as_view()),
    path("user/delete", DeleteUsers.as_view()),
    *team_by_path,
]
