"""Addresses of the API for teams."""

from django.urls import path

from teams.views import NewTeam, UpdateTeam

urlpatterns = [
    path("team/new", NewTeam.as_view()),
    path("team/update", UpdateTeam.as_view()),
]
