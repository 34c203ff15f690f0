"""Addresses of the API for spend: corrections, logs and reports."""

from django.urls import path

from ledger import report_views as reports
from ledger.log_views import Export, Logs, PagedLogs
from ledger.views import Adjustments, AdjustSpend, ResetAllSpend, ResetKeySpend, ResetMemberSpend

urlpatterns = [
    path("key/<str:key>/reset_spend", ResetKeySpend.as_view()),
    path("team/<str:team_id>/member/<str:user_id>/reset_spend", ResetMemberSpend.as_view()),
    path("global/spend/reset", ResetAllSpend.as_view()),
    path("spend/adjust", AdjustSpend.as_view()),
    path("spend/adjustments", Adjustments.as_view()),
    path("spend/logs", Logs.as_view()),
    path("spend/logs/v2", PagedLogs.as_view()),
    path("spend/export", Export.as_view()),
    path("spend/calculate", reports.Calculate.as_view()),
    path("spend/keys", reports.SpendKeys.as_view()),
    path("spend/users", reports.SpendUsers.as_view()),
    path("spend/tags", reports.SpendTags.as_view()),
    path("global/spend", reports.GlobalSpend.as_view()),
    path("global/spend/keys", reports.SpendKeys.as_view()),
    path("global/spend/teams", reports.SpendTeams.as_view()),
    path("global/spend/models", reports.SpendModels.as_view()),
    path("global/spend/tags", reports.SpendTags.as_view()),
    path("global/spend/report", reports.SpendReport.as_view()),
    path("team/daily/activity", reports.TeamActivity.as_view()),
    path("user/daily/activity", reports.UserActivity.as_view()),
    path("customer/daily/activity", reports.CustomerActivity.as_view()),
    path("end_user/daily/activity", reports.CustomerActivity.as_view()),
    path("tag/daily/activity", reports.TagActivity.as_view()),
]
