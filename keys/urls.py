"""Addresses of the API for keys, and of the team that is shown with its keys."""

from django.urls import path

from keys.views import DeleteKeys, GenerateKey, KeyInfo, TeamInfo, UpdateKey

urlpatterns = [
    path("key/generate", GenerateKey.as_view()),
    path("key/update", UpdateKey.as_view()),
    path("key/info", KeyInfo.as_view()),
    path("key/delete", DeleteKeys.as_view()),
    path("team/info", TeamInfo.as_view()),
]
