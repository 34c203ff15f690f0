"""Routes and credentials in the admin: a window, the services do the writing.

Prices are shown and typed in USD per million tokens, exactly, and are whole nano-USD behind the form. A key can be
typed and removed, never read.
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from django import forms
from django.conf import settings
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from budgets.requests import actor_of_page
from budgets.rules.money import MoneyError, nanousd_from_usd, usd_from_nanousd
from catalog.accounts import NoAccount, account_of, key_source
from catalog.credential_services import delete_credential, routes_of, save_credential
from catalog.litellm_params import ENVIRONMENT, api_key_problem
from catalog.models import PRICE_FIELDS, Credential, Route
from catalog.route_rules import credential_problems, route_problems
from catalog.secrets import NoSecretKeyError, Secret, seal
from catalog.services import delete_routes, save_route

if TYPE_CHECKING:
    _Form = forms.ModelForm[Route]
    _Admin = admin.ModelAdmin[Route]
    _CredentialForm = forms.ModelForm[Credential]
    _CredentialAdmin = admin.ModelAdmin[Credential]
else:  # at run time Django's classes take no type parameter
    _Form, _Admin = forms.ModelForm, admin.ModelAdmin
    _CredentialForm, _CredentialAdmin = _Form, _Admin


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


class NewKeyField(forms.CharField):
    """A key to be sealed; the page never has one. Django keeps it out of its log, which names fields only."""

    def __init__(self) -> None:
        super().__init__(
            label="New API key",
            required=False,
            strip=True,
            widget=forms.PasswordInput(render_value=False, attrs={"autocomplete": "new-password"}),
            help_text="Sealed when it is saved, never shown again. Empty: what is stored stays.",
        )

    def clean(self, value: Any) -> str:
        """The sealed text; empty where nothing was typed."""
        text = str(super().clean(value))
        if problem := api_key_problem(text):
            raise forms.ValidationError(problem)
        if text.startswith(ENVIRONMENT):
            raise forms.ValidationError("It is the name of a variable; allowed is the key itself.")
        try:
            return seal(Secret(text)) if text else ""
        except NoSecretKeyError as error:
            raise forms.ValidationError(str(error)) from None


def _sealed_key(cleaned: dict[str, Any], *, before: str) -> str:
    new: str = cleaned.get("new_api_key") or ""
    return new or ("" if cleaned.get("forget_api_key") else before)


class RouteForm(_Form):
    """Django checks the shape, `route_problems` the meaning."""

    new_api_key = NewKeyField()
    forget_api_key = forms.BooleanField(label="Remove the stored API key", required=False)
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
        names = {field.name for field in Route._meta.fields}
        self.instance.sealed_api_key = _sealed_key(cleaned, before=self.instance.sealed_api_key)
        if cleaned.get("api_key_env") and self.instance.sealed_api_key:
            self.add_error("api_key_env", "The key is stored already; remove it, or leave the variable empty.")
        for field, message in route_problems(Route(**{k: v for k, v in cleaned.items() if k in names})).items():
            if field not in self.errors:
                self.add_error(field, message)
        return cleaned

    def clean_info(self) -> dict[str, Any]:
        return _object(self.cleaned_data["info"])


class CredentialForm(_CredentialForm):
    """The same for a credential."""

    new_api_key = NewKeyField()
    forget_api_key = forms.BooleanField(label="Remove the stored API key", required=False)

    class Meta:
        model = Credential
        exclude = ()

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        sealed = self.instance.sealed_api_key = _sealed_key(cleaned, before=self.instance.sealed_api_key)
        given = Credential(
            pk=self.instance.pk,
            name=cleaned.get("name", ""),
            base_url=cleaned.get("base_url", ""),
            sealed_api_key=sealed,
        )
        for name, message in credential_problems(given, routes=routes_of(self.instance)).items():
            field = "new_api_key" if name == "api_key" else name
            if field not in self.errors:
                self.add_error(field, message)
        return cleaned

    def clean_info(self) -> dict[str, Any]:
        return _object(self.cleaned_data["info"])


def _object(value: object) -> dict[str, Any]:
    if value is not None and not isinstance(value, dict):
        raise forms.ValidationError("It is not a JSON object; allowed is one, or nothing.")
    if "\\u0000" in json.dumps(value):
        raise forms.ValidationError("It has a NUL, which the database cannot keep.")
    return value or {}


@admin.register(Route)
class RouteAdmin(_Admin):
    form = RouteForm
    list_display = ["model_name", "provider", "upstream_model", "input_price", "output_price", "enabled", "updated_at"]
    list_filter = ["provider", "enabled"]
    search_fields = ["model_name", "upstream_model"]
    ordering = ["model_name"]
    list_select_related = ["credential"]
    readonly_fields = ["public_id", "key_source", "problem", "created_at", "updated_at"]
    fieldsets = [
        (None, {"fields": ["model_name", "enabled", "problem"]}),
        ("Where its calls go", {"fields": ["provider", "upstream_model", "base_url"]}),
        ("With which key", {"fields": ["key_source", "credential", "api_key_env", "new_api_key", "forget_api_key"]}),
        ("What they cost", {"fields": [*PRICE_FIELDS]}),
        ("Bounds", {"fields": ["output_tokens_max", "connect_timeout_s", "read_timeout_s"]}),
        ("For clients of the API", {"fields": ["public_id", "info"]}),
        ("History", {"fields": ["created_at", "updated_at"]}),
    ]

    @admin.display(description="Input, USD per million", ordering="input_nanousd_per_mtok", empty_value="price list")
    def input_price(self, route: Route) -> Decimal | None:
        return _usd(route.input_nanousd_per_mtok)

    @admin.display(description="Output, USD per million", ordering="output_nanousd_per_mtok", empty_value="price list")
    def output_price(self, route: Route) -> Decimal | None:
        return _usd(route.output_nanousd_per_mtok)

    @admin.display(description="Key in use", empty_value="the settings' or none")
    def key_source(self, route: Route) -> str | None:
        return key_source(route) or None

    @admin.display(description="Off because", empty_value="-")
    def problem(self, route: Route) -> str | None:
        account = account_of(route, providers=settings.PROVIDERS) if route.provider else None
        return account.reason if isinstance(account, NoAccount) else None

    def save_model(self, request: HttpRequest, obj: Route, form: forms.ModelForm[Route], change: bool) -> None:
        save_route(obj, now=timezone.now(), by=actor_of_page(request))

    def delete_model(self, request: HttpRequest, obj: Route) -> None:
        delete_routes([obj], now=timezone.now(), by=actor_of_page(request))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Route]) -> None:
        delete_routes(queryset, now=timezone.now(), by=actor_of_page(request))


@admin.register(Credential)
class CredentialAdmin(_CredentialAdmin):
    form = CredentialForm
    list_display = ["name", "has_key", "base_url", "updated_at"]
    search_fields = ["name"]
    ordering = ["name"]
    readonly_fields = ["has_key", "created_at", "updated_at"]
    fieldsets = [
        (None, {"fields": ["name", "base_url"]}),
        ("Key", {"fields": ["has_key", "new_api_key", "forget_api_key"]}),
        ("For clients of the API", {"fields": ["info"]}),
        ("History", {"fields": ["created_at", "updated_at"]}),
    ]

    @admin.display(description="Key is stored", boolean=True)
    def has_key(self, credential: Credential) -> bool:
        return bool(credential.sealed_api_key)

    def save_model(
        self, request: HttpRequest, obj: Credential, form: forms.ModelForm[Credential], change: bool
    ) -> None:
        save_credential(obj, now=timezone.now(), by=actor_of_page(request))

    def delete_model(self, request: HttpRequest, obj: Credential) -> None:
        delete_credential(obj.name, now=timezone.now(), by=actor_of_page(request))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Credential]) -> None:
        for credential in queryset:
            delete_credential(credential.name, now=timezone.now(), by=actor_of_page(request))


def _usd(nanousd: int | None) -> Decimal | None:
    return None if nanousd is None else usd_from_nanousd(nanousd)
