"""Every address that Django itself answers; the LLM routes are in proxy/entry.py."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from budgetgate.health import liveliness

admin.site.site_header = admin.site.site_title = "BudgetGate"
admin.site.index_title = "Administration"

urlpatterns = [
    path("", RedirectView.as_view(url="/admin/")),
    path("admin/", admin.site.urls),
    path("health/liveliness", liveliness),
    path("health/liveness", liveliness),
    path("", include("keys.urls")),
    path("", include("teams.urls")),
    path("", include("catalog.urls")),
]

handler400 = "budgetgate.api.bad_request"
handler404 = "budgetgate.api.not_found"
handler500 = "budgetgate.api.server_error"
