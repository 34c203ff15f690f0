"""Settings of BudgetGate, all read from the environment (and `.env`).

One file, no per-environment copies: what differs between machines is a variable. The names and
defaults are listed in docs/settings.md; a test fails when one is missing there. Values that only
make sense together are checked in budgetgate/checks.py.
"""

import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import django_stubs_ext
import environ
from django.core.exceptions import ImproperlyConfigured

from budgetgate import __version__

django_stubs_ext.monkeypatch()

BASE_DIR = Path(__file__).resolve().parent.parent

env = environ.Env()
environ.Env.read_env(BASE_DIR / ".env")


def _whole(name: str, default: int, *, minimum: int, maximum: int) -> int:
    text = env.str(name, str(default))
    if not (text.isascii() and text.isdigit() and minimum <= int(text) <= maximum):
        raise ImproperlyConfigured(f"{name} is {text!r}; allowed is a whole number from {minimum} to {maximum}")
    return int(text)


def _positive(name: str, default: int, *, maximum: int) -> int:
    return _whole(name, default, minimum=1, maximum=maximum)


def _choice(name: str, default: str, *, allowed: tuple[str, ...]) -> str:
    text: str = env.str(name, default)
    if text not in allowed:
        raise ImproperlyConfigured(f"{name} is {text!r}; allowed is one of {', '.join(allowed)}")
    return text


def _parts(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


DATA_DIR = Path(env.str("BUDGETGATE_DATA_DIR", "var"))
if not DATA_DIR.is_absolute():
    DATA_DIR = BASE_DIR / DATA_DIR


def _local(name: str) -> str:
    """What `manage.py up` left for the other commands: the addresses and secrets of this data directory."""
    path = DATA_DIR / "local.json"
    try:
        values: dict[str, str] = json.loads(path.read_text())
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as error:
        raise ImproperlyConfigured(f"{path} cannot be read: {error}") from error
    return values.get(name, "")


def _address(name: str, *, schemes: tuple[str, ...], otherwise: str) -> str:
    """An URL from the environment, else the one that `manage.py up` noted, else one where nobody answers yet."""
    text: str = env.str(name, "") or _local(name) or otherwise
    try:
        parts = urlsplit(text)
        valid = parts.scheme in schemes and (parts.port is None or parts.port > 0)
    except ValueError:
        valid = False
    if not valid:
        raise ImproperlyConfigured(f"{name} is not an address; allowed is one that begins with {schemes[0]}://")
    return text


# --- the gateway ---------------------------------------------------------------------------------
HOST = env.str("BUDGETGATE_HOST", "127.0.0.1")
PORT = _positive("BUDGETGATE_PORT", 4000, maximum=65535)
WORKERS = _positive("BUDGETGATE_WORKERS", 1, maximum=256)
MASTER_KEY = env.str("BUDGETGATE_MASTER_KEY", "") or _local("BUDGETGATE_MASTER_KEY")
ADMIN_PASSWORD = env.str("BUDGETGATE_ADMIN_PASSWORD", "") or _local("BUDGETGATE_ADMIN_PASSWORD")
ADMIN_PASSWORD_IS_GIVEN = bool(env.str("BUDGETGATE_ADMIN_PASSWORD", ""))
SECRET_KEYS = _parts(env.str("BUDGETGATE_SECRET_KEYS", "") or _local("BUDGETGATE_SECRET_KEYS"))
TIME_ZONE_OF_WINDOWS = env.str("BUDGETGATE_TIME_ZONE", "UTC")
BODY_BYTES_MAX = _positive("BUDGETGATE_BODY_BYTES_MAX", 20 * 1024 * 1024, maximum=1024**3)
DATA_UPLOAD_MAX_NUMBER_FIELDS = 5000  # a query may have two lists of a thousand names, given one by one
SPEND_READER = "ledger.spends.read_spends"
SPEND_WRITER = "ledger.adjustments.set_spend"
CUSTOMER_BUDGET_ID = env.str("BUDGETGATE_CUSTOMER_BUDGET_ID", "")
STORE_DOWN = _choice("BUDGETGATE_STORE_DOWN", "closed", allowed=("closed", "open"))
BUDGET_STATUS = int(_choice("BUDGETGATE_BUDGET_STATUS", "429", allowed=("429", "422", "402", "400")))
UNPRICED = _choice("BUDGETGATE_UNPRICED", "refuse", allowed=("refuse", "allow"))
UNKNOWN_FIELDS = _choice("BUDGETGATE_UNKNOWN_FIELDS", "refuse", allowed=("refuse", "ignore"))
OUTPUT_TOKENS_DEFAULT = _positive("BUDGETGATE_OUTPUT_TOKENS_DEFAULT", 4096, maximum=10_000_000)
UPSTREAM_CONNECT_TIMEOUT_S = _positive("BUDGETGATE_UPSTREAM_CONNECT_TIMEOUT_S", 10, maximum=3600)
UPSTREAM_READ_TIMEOUT_S = _positive("BUDGETGATE_UPSTREAM_READ_TIMEOUT_S", 600, maximum=86400)

# --- providers -----------------------------------------------------------------------------------
PROVIDERS = {
    "openai": {
        "api_key": env.str("OPENAI_API_KEY", ""),
        "base_url": env.str("OPENAI_BASE_URL", "https://api.openai.com/v1"),
    },
    "anthropic": {
        "api_key": env.str("ANTHROPIC_API_KEY", ""),
        "base_url": env.str("ANTHROPIC_BASE_URL", "https://api.anthropic.com/v1"),
    },
}
DEMO_CHUNK_DELAY_MS = _whole("BUDGETGATE_DEMO_CHUNK_DELAY_MS", 20, minimum=0, maximum=60_000)

# --- Django --------------------------------------------------------------------------------------
DEBUG = env.bool("DJANGO_DEBUG", False)
SECRET_KEY = env.str("DJANGO_SECRET_KEY", "") or _local("DJANGO_SECRET_KEY")
ALLOWED_HOSTS = env.list("DJANGO_ALLOWED_HOSTS", default=["127.0.0.1", "localhost", "[::1]", HOST])
CSRF_TRUSTED_ORIGINS = env.list("DJANGO_CSRF_TRUSTED_ORIGINS", default=[])

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "budgets",
    "catalog",
    "teams",
    "keys",
    "ledger",
    "proxy",
    "budgetgate",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "budgetgate.middleware.sized_body",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "budgetgate.urls"
ASGI_APPLICATION = "budgetgate.asgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

DATABASE_URL = _address(
    "DATABASE_URL", schemes=("postgres", "postgresql"), otherwise="postgres://postgres@127.0.0.1:1/budgetgate"
)
DATABASES = {"default": env.db_url_config(DATABASE_URL) | {"CONN_MAX_AGE": 60, "CONN_HEALTH_CHECKS": True}}
if not DATABASES["default"]["NAME"]:
    raise ImproperlyConfigured("DATABASE_URL names no database; allowed is postgres://user:password@host:port/name")
DATABASES["default"].setdefault("OPTIONS", {})
DATABASES["default"]["OPTIONS"].setdefault("connect_timeout", 5)

REDIS_URL = _address("REDIS_URL", schemes=("redis", "rediss", "unix"), otherwise="redis://127.0.0.1:1/0")
REDIS_PREFIX = env.str("BUDGETGATE_REDIS_PREFIX", "bg")
CACHES = {
    "default": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": f"{REDIS_PREFIX}:cache",
        "OPTIONS": {"SOCKET_CONNECT_TIMEOUT": 2, "SOCKET_TIMEOUT": 5},
    }
}

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
STATICFILES_DIRS = [BASE_DIR / "static"]
WHITENOISE_USE_FINDERS = True

# --- security: what `check --deploy` asks for -------------------------------------------------------
# Served over plain HTTP on loopback until a TLS proxy stands in front: then set DJANGO_BEHIND_TLS=true.
BEHIND_TLS = env.bool("DJANGO_BEHIND_TLS", False)
SESSION_COOKIE_AGE = 8 * 3600
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = BEHIND_TLS
SECURE_SSL_REDIRECT = BEHIND_TLS
SECURE_HSTS_SECONDS = 365 * 86400 if BEHIND_TLS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = BEHIND_TLS
if BEHIND_TLS:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
else:
    # The four warnings that only TLS can answer.
    SILENCED_SYSTEM_CHECKS = ["security.W004", "security.W008", "security.W012", "security.W016"]
X_FRAME_OPTIONS = "DENY"
AUTH_USER_MODEL = "teams.User"
AUTH_PASSWORD_VALIDATORS = [{"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"}]

# --- the management API --------------------------------------------------------------------------
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "budgetgate.authentication.KeyAuthentication",
        "budgetgate.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["budgetgate.permissions.MatrixPermission"],
    "DEFAULT_PARSER_CLASSES": ["budgetgate.api.ExactJSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["budgetgate.api.ExactJSONRenderer"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "budgetgate.api.AlwaysJSON",
    "EXCEPTION_HANDLER": "budgetgate.api.handle_exception",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "BudgetGate",
    "DESCRIPTION": "A gateway in front of LLM providers that keeps every budget exactly.",
    "VERSION": __version__,
    "POSTPROCESSING_HOOKS": ["budgetgate.openapi.complete"],
    "OAS_VERSION": "3.1.1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SCHEMA_COERCE_PATH_PK": False,
    "DISABLE_ERRORS_AND_WARNINGS": True,  # budgetgate/tests/test_openapi.py says what is missing
    "ENABLE_DJANGO_DEPLOY_CHECK": False,
}

# --- clockwork -----------------------------------------------------------------------------------
CELERY_BROKER_URL = REDIS_URL
CELERY_BROKER_TRANSPORT_OPTIONS = {"global_keyprefix": f"{REDIS_PREFIX}:celery:"}
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TASK_IGNORE_RESULT = True
# A task that lost its broker is delivered again; every task is safe to repeat.
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = True
CELERY_TASK_SOFT_TIME_LIMIT = 120
CELERY_TASK_TIME_LIMIT = 180
CELERY_WORKER_HIJACK_ROOT_LOGGER = False

LOG_LEVEL = _choice("BUDGETGATE_LOG_LEVEL", "INFO", allowed=("DEBUG", "INFO", "WARNING", "ERROR"))
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": LOG_LEVEL},
    "loggers": {"httpx": {"level": "WARNING"}},
}

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "budgetgate.settings")
