"""Every address that Django itself answers; the LLM routes are in proxy/entry.py."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from budgetgate.explain import Explain
from budgetgate.health import Health, Liveliness, Readiness, ReadinessDetails, Services
from budgetgate.openapi import docs, openapi_json

admin.site.site_header = admin.site.site_title = "BudgetGate"
admin.site.index_title = "Administration"

urlpatterns = [
    path("", RedirectView.as_view(url="/admin/")),
    path("admin/", admin.site.urls),
    path("openapi.json", openapi_json),
    path("docs", docs),
    path("health", Health.as_view()),
    path("health/liveliness", Liveliness.as_view()),
    path("health/liveness", Liveliness.as_view()),
    path("health/readiness", Readiness.as_view()),
    path("health/readiness/details", ReadinessDetails.as_view()),
    path("health/services", Services.as_view()),
    path("budget/explain", Explain.as_view()),
    path("", include("ledger.urls")),
    path("", include("budgets.urls")),
    path("", include("keys.urls")),
    path("", include("teams.urls")),
    path("", include("catalog.urls")),
    path("", include("keys.people_urls")),
]

handler400 = "budgetgate.api.bad_request"
handler404 = "budgetgate.api.not_found"
handler500 = "budgetgate.api.server_error"
