"""System checks: settings that would be accepted and then do harm. Each has an id and says what to do."""

from collections.abc import Sequence
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import redis
from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register

from budgetgate.addresses import ApiAddress, api_addresses
from budgetgate.permissions import OPEN, MatrixPermission, rights_for
from budgetgate.store import client_for
from catalog.secrets import malformed_keys

MASTER_KEY_CHARS_MIN = 16
BODY_BYTES_LEAST = 1024


@register()
def check_time_zone(app_configs: Sequence[AppConfig] | None, **kwargs: object) -> list[CheckMessage]:
    try:
        ZoneInfo(settings.TIME_ZONE_OF_WINDOWS)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return [
            Error(
                f"BUDGETGATE_TIME_ZONE is {settings.TIME_ZONE_OF_WINDOWS!r}, which is not a time zone; "
                "allowed are names like UTC or Europe/Berlin",
                id="budgetgate.E001",
            )
        ]
    return []


@register(Tags.security)
def check_master_key(app_configs: Sequence[AppConfig] | None, **kwargs: object) -> list[CheckMessage]:
    key = settings.MASTER_KEY  # without one the management API refuses everybody; `up` makes one
    if not key or (key.startswith("sk-") and len(key) >= MASTER_KEY_CHARS_MIN):
        return []
    return [
        Error(
            f"BUDGETGATE_MASTER_KEY must begin with sk- and have at least {MASTER_KEY_CHARS_MIN} characters",
            id="budgetgate.E002",
        )
    ]


@register()
def check_body_limit(app_configs: Sequence[AppConfig] | None, **kwargs: object) -> list[CheckMessage]:
    if settings.BODY_BYTES_MAX >= BODY_BYTES_LEAST:
        return []
    return [
        Error(
            f"BUDGETGATE_BODY_BYTES_MAX is {settings.BODY_BYTES_MAX} bytes, and hardly any call fits; "
            f"allowed is {BODY_BYTES_LEAST} or more",
            id="budgetgate.E003",
        )
    ]


@register(Tags.security)
def check_secret_keys(app_configs: Sequence[AppConfig] | None, **kwargs: object) -> list[CheckMessage]:
    wrong = malformed_keys(settings.SECRET_KEYS)  # none at all is no harm until a secret is to be kept
    if not wrong:
        return []
    return [
        Error(
            f"BUDGETGATE_SECRET_KEYS has {len(settings.SECRET_KEYS)} keys, and number {wrong[0]} is not one; "
            "allowed are 32 random bytes in URL-safe base64 (44 characters), separated by commas",
            id="budgetgate.E005",
        )
    ]


@register(Tags.database)
def check_store_never_evicts(
    app_configs: Sequence[AppConfig] | None, databases: Sequence[str] | None = None, **kwargs: object
) -> list[CheckMessage]:
    """Only where databases are to be asked (`up`, `check --database default`), and where the store answers."""
    if not databases:
        return []
    with client_for(settings.REDIS_URL) as client:
        try:
            policy = client.config_get("maxmemory-policy").get("maxmemory-policy")
        except redis.ConnectionError:
            return []
        except redis.ResponseError:
            return [Warning("Valkey does not tell its maxmemory-policy; it must be noeviction", id="budgetgate.W004")]
    if policy == "noeviction":
        return []
    return [
        Error(
            f"Valkey's maxmemory-policy is {policy}; it must be noeviction, "
            "because an evicted counter looks like a budget that nothing was spent of",
            id="budgetgate.E004",
        )
    ]


@register(Tags.security)
def check_permissions(app_configs: Sequence[AppConfig] | None, **kwargs: object) -> list[CheckMessage]:
    return [problem for address in api_addresses() for problem in _permission_problems(address)]


def _permission_problems(address: ApiAddress) -> list[CheckMessage]:
    rights, name = rights_for(address.method, address.route), f"{address.method} /{address.route}"
    if rights is None:
        message = f"{name} has no row in budgetgate/permissions.py, which says who may call it"
        return [Error(message, id="budgetgate.E005")]
    if rights != OPEN and MatrixPermission not in address.permissions:
        message = f"{name} has permission_classes without MatrixPermission, so that its row does not hold"
        return [Error(message, id="budgetgate.E006")]
    return []
