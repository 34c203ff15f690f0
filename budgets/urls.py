"""Addresses of the API for tiers, grants and the audit."""

from django.urls import path

from budgets.views import (
    DeleteTier,
    ListChanges,
    ListGrants,
    ListTiers,
    MakeGrant,
    NewTier,
    RevokeGrant,
    TierInfo,
    TierSettings,
    UpdateTier,
)

urlpatterns = [
    path("budget/new", NewTier.as_view()),
    path("budget/update", UpdateTier.as_view()),
    path("budget/info", TierInfo.as_view()),
    path("budget/list", ListTiers.as_view()),
    path("budget/settings", TierSettings.as_view()),
    path("budget/delete", DeleteTier.as_view()),
    path("budget/grant", MakeGrant.as_view()),
    path("budget/grants", ListGrants.as_view()),
    path("budget/grant/revoke", RevokeGrant.as_view()),
    path("audit/changes", ListChanges.as_view()),
]
