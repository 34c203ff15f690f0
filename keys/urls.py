"""Addresses of the API for keys."""

from django.urls import path

from keys.info_views import KeyAliases, KeyHealth, KeyInfo, KeysInfo, ListKeys
from keys.views import (
    BlockKey,
    BulkUpdateKeys,
    BulkUpdateTeamKeys,
    DeleteKeys,
    GenerateKey,
    GenerateServiceAccountKey,
    RegenerateKey,
    RegenerateNamedKey,
    UnblockKey,
    UpdateKey,
)

urlpatterns = [
    path("key/generate", GenerateKey.as_view()),
    path("key/service-account/generate", GenerateServiceAccountKey.as_view()),
    path("key/update", UpdateKey.as_view()),
    path("key/bulk_update", BulkUpdateKeys.as_view()),
    path("team/key/bulk_update", BulkUpdateTeamKeys.as_view()),
    path("key/info", KeyInfo.as_view()),
    path("v2/key/info", KeysInfo.as_view()),
    path("key/list", ListKeys.as_view()),
    path("key/aliases", KeyAliases.as_view()),
    path("key/delete", DeleteKeys.as_view()),
    path("key/block", BlockKey.as_view()),
    path("key/unblock", UnblockKey.as_view()),
    path("key/regenerate", RegenerateNamedKey.as_view()),
    path("key/<path:key>/regenerate", RegenerateKey.as_view()),
    path("key/health", KeyHealth.as_view()),
]
