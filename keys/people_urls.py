"""Addresses of the API where a team or a user meets keys."""

from django.urls import path

from keys.people_views import TeamInfo

urlpatterns = [
    path("team/info", TeamInfo.as_view()),
]
