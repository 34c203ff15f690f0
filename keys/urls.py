"""Addresses of the API for keys."""

from django.urls import path

from keys.views import DeleteKeys, GenerateKey, KeyInfo, UpdateKey

urlpatterns = [
    path("key/generate", GenerateKey.as_view()),
    path("key/update", UpdateKey.as_view()),
    path("key/info", KeyInfo.as_view()),
    path("key/delete", DeleteKeys.as_view()),
]
