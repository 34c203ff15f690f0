"""Routes that admins add: a public model name, where its calls go, what they cost; and the credentials that they share.

A provider's key is sealed (secrets.py), or stands in the environment and only the NAME of its variable is here. Prices
are whole nano-USD per million tokens, times are seconds. What a row may say is checked in services.py and, as a last
line, by the database.
"""

from __future__ import annotations

from uuid import uuid4

from django.db import models
from django.db.models import Q

PRICE_NANOUSD_MAX = 10**15
"""One dollar per token: above that a price is a typing error."""
TIMEOUT_S_MAX = 86_400
OUTPUT_TOKENS_MAX = 10_000_000
PRICE_FIELDS = (
    "input_nanousd_per_mtok",
    "output_nanousd_per_mtok",
    "cache_read_nanousd_per_mtok",
    "cache_write_nanousd_per_mtok",
)


def _prices_in_range() -> Q:
    whole = Q()
    for field in PRICE_FIELDS:
        whole &= Q(**{f"{field}__isnull": True}) | Q(**{f"{field}__range": (0, PRICE_NANOUSD_MAX)})
    return whole


def _all_prices_or_the_lists() -> Q:
    """Input and output price together; without them none at all, so that a card never has two sources."""
    pair = Q(input_nanousd_per_mtok__isnull=False, output_nanousd_per_mtok__isnull=False)
    return pair | Q(**{f"{field}__isnull": True for field in PRICE_FIELDS})


def _price_field(help_text: str) -> models.BigIntegerField[int | None, int | None]:
    return models.BigIntegerField(null=True, blank=True, help_text=help_text)


def make_public_id() -> str:
    """A fresh random id."""
    return str(uuid4())


class Credential(models.Model):
    """A provider's key, its address, or both, under a name that several routes can share."""

    name = models.CharField(max_length=255, help_text="Routes and the API know it by this name.")
    sealed_api_key = models.TextField(blank=True, editable=False)
    base_url = models.CharField(
        max_length=500, blank=True, help_text="For routes without a base URL of their own. Empty: the provider's."
    )
    info = models.JSONField(default=dict, blank=True, help_text="Kept and shown, means nothing to the gateway.")
    created_at = models.DateTimeField(editable=False)
    updated_at = models.DateTimeField(editable=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["name"],
                name="catalog_credential_name",
                violation_error_message="There is a credential of this name already; allowed is one per name.",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Route(models.Model):
    """One public model name. It beats the built-in model of the same name, also when it is switched off."""

    public_id = models.CharField(max_length=128, default=make_public_id, editable=False)
    model_name = models.CharField(max_length=200, help_text="The name that callers send as `model`.")
    provider = models.CharField(
        max_length=50, help_text="openai, anthropic, demo, or a name of your own for anything OpenAI-compatible."
    )
    upstream_model = models.CharField(max_length=200, help_text="The name that the provider gets as `model`.")
    base_url = models.CharField(
        max_length=500,
        blank=True,
        help_text="Like https://llm.example.com/v1. Empty: the credential's, or the address of the "
        "provider in the settings.",
    )
    credential = models.ForeignKey(
        Credential,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="routes",
        help_text="Gives the key and the base URL where the route has none of its own.",
    )
    sealed_api_key = models.TextField(blank=True, editable=False)
    api_key_env = models.CharField(
        max_length=100,
        blank=True,
        help_text="NAME of the environment variable with the provider's key, like MISTRAL_API_KEY. Empty: the "
        "stored key, the credential's, or the provider's in the settings; no key at all when a base URL is given.",
    )
    input_nanousd_per_mtok = _price_field("Per million tokens. Empty: the price list's.")
    output_nanousd_per_mtok = _price_field("Per million tokens. Given together with the input price or not at all.")
    cache_read_nanousd_per_mtok = _price_field("Per million tokens. Empty beside an input price: the input price.")
    cache_write_nanousd_per_mtok = _price_field("Per million tokens. Empty beside an input price: the input price.")
    output_tokens_max = models.IntegerField(
        null=True, blank=True, help_text="Most tokens that one answer can have. Empty: not known."
    )
    connect_timeout_s = models.IntegerField(null=True, blank=True, help_text="Seconds. Empty: the setting's.")
    read_timeout_s = models.IntegerField(null=True, blank=True, help_text="Seconds. Empty: the setting's.")
    info = models.JSONField(default=dict, blank=True, help_text="Shown as model_info, means nothing to the gateway.")
    enabled = models.BooleanField(default=True, help_text="Off: the name answers like a model that does not exist.")
    created_at = models.DateTimeField(editable=False)
    updated_at = models.DateTimeField(editable=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["model_name"],
                name="catalog_route_model_name",
                violation_error_message="There is a route of this name already; allowed is one per name.",
            ),
            models.UniqueConstraint(fields=["public_id"], name="catalog_route_public_id"),
            models.CheckConstraint(
                condition=Q(api_key_env="") | Q(sealed_api_key=""),
                name="catalog_route_one_key",
                violation_error_message="The key is stored or in an environment variable; allowed is one of them.",
            ),
            models.CheckConstraint(condition=_prices_in_range(), name="catalog_route_price_range"),
            models.CheckConstraint(condition=_all_prices_or_the_lists(), name="catalog_route_price_pair"),
            models.CheckConstraint(
                condition=Q(output_tokens_max__isnull=True) | Q(output_tokens_max__range=(1, OUTPUT_TOKENS_MAX)),
                name="catalog_route_output_tokens_max",
            ),
            models.CheckConstraint(
                condition=(Q(connect_timeout_s__isnull=True) | Q(connect_timeout_s__range=(1, TIMEOUT_S_MAX)))
                & (Q(read_timeout_s__isnull=True) | Q(read_timeout_s__range=(1, TIMEOUT_S_MAX))),
                name="catalog_route_timeouts",
            ),
        ]

    def __str__(self) -> str:
        return self.model_name
