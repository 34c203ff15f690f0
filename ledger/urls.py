"""Addresses of the API for spend: corrections, logs and reports."""

from django.urls import path

from ledger.views import Adjustments, AdjustSpend, ResetAllSpend, ResetKeySpend, ResetMemberSpend

urlpatterns = [
    path("key/<str:key>/reset_spend", ResetKeySpend.as_view()),
    path("team/<str:team_id>/member/<str:user_id>/reset_spend", ResetMemberSpend.as_view()),
    path("global/spend/reset", ResetAllSpend.as_view()),
    path("spend/adjust", AdjustSpend.as_view()),
    path("spend/adjustments", Adjustments.as_view()),
]
