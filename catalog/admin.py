"""Routes in the admin: a window, services.py does the writing.

Prices are shown and typed in USD per million tokens, exactly, and are whole nano-USD behind the form.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from budgets.rules.money import MoneyError, nanousd_from_usd, usd_from_nanousd
from catalog.models import PRICE_FIELDS, Route
from catalog.route_rules import route_problems
from catalog.services import delete_routes, save_route

if TYPE_CHECKING:
    _Form = forms.ModelForm[Route]
    _Admin = admin.ModelAdmin[Route]
else:  # at run time Django's classes take no type parameter
    _Form, _Admin = forms.ModelForm, admin.ModelAdmin


class UsdField(forms.CharField):
    """Nano-USD in Python, exact decimal USD in the page. Text, because a browser's number input works with floats."""

    def prepare_value(self, value: object) -> object:
        return f"{usd_from_nanousd(value):f}" if isinstance(value, int) else value

    def to_python(self, value: object) -> int | None:  # type: ignore[override]  # CharField speaks of text only
        text = super().to_python(value)
        if not text:
            return None
        try:
            return nanousd_from_usd(text)
        except MoneyError as error:
            raise forms.ValidationError(f"{self.label} is {text!r}: {error}") from error


class RouteForm(_Form):
    """Django checks the shape, `route_problems` the meaning."""

    input_nanousd_per_mtok = UsdField(label="Input price (USD per million tokens)", required=False)
    output_nanousd_per_mtok = UsdField(label="Output price (USD per million tokens)", required=False)
    cache_read_nanousd_per_mtok = UsdField(label="Cached input price (USD per million tokens)", required=False)
    cache_write_nanousd_per_mtok = UsdField(label="Cache write price (USD per million tokens)", required=False)

    class Meta:
        model = Route
        exclude = ()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        help_texts = {field.name: field.help_text for field in Route._meta.fields}
        for name in PRICE_FIELDS:
            self.fields[name].help_text = help_texts[name]

    def clean(self) -> dict[str, Any]:
        """Before Django asks the constraints: a field with a message of ours is left out of those."""
        cleaned = super().clean() or {}
        for field, message in route_problems(Route(**cleaned)).items():
            if field not in self.errors:
                self.add_error(field, message)
        return cleaned


@admin.register(Route)
class RouteAdmin(_Admin):
    form = RouteForm
    list_display = ["model_name", "provider", "upstream_model", "input_price", "output_price", "enabled", "updated_at"]
    list_filter = ["provider", "enabled"]
    search_fields = ["model_name", "upstream_model"]
    ordering = ["model_name"]
    readonly_fields = ["created_at", "updated_at"]
    fieldsets = [
        (None, {"fields": ["model_name", "enabled"]}),
        ("Where its calls go", {"fields": ["provider", "upstream_model", "base_url", "api_key_env"]}),
        ("What they cost", {"fields": [*PRICE_FIELDS]}),
        ("Bounds", {"fields": ["output_tokens_max", "connect_timeout_s", "read_timeout_s"]}),
        ("History", {"fields": ["created_at", "updated_at"]}),
    ]

    @admin.display(description="Input, USD per million", ordering="input_nanousd_per_mtok", empty_value="price list")
    def input_price(self, route: Route) -> Decimal | None:
        return _usd(route.input_nanousd_per_mtok)

    @admin.display(description="Output, USD per million", ordering="output_nanousd_per_mtok", empty_value="price list")
    def output_price(self, route: Route) -> Decimal | None:
        return _usd(route.output_nanousd_per_mtok)

    def save_model(self, request: HttpRequest, obj: Route, form: forms.ModelForm[Route], change: bool) -> None:
        save_route(obj, now=timezone.now())

    def delete_model(self, request: HttpRequest, obj: Route) -> None:
        delete_routes([obj])

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Route]) -> None:
        delete_routes(queryset)


def _usd(nanousd: int | None) -> Decimal | None:
    return None if nanousd is None else usd_from_nanousd(nanousd)
