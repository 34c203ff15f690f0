"""`litellm_params` and `model_info`, as clients and config files write them, to the fields of a route.

Every name is acted on, kept, or refused with the reason: nothing is lost silently. Reads the installed price list
(whose is a bare name?), but no database, environment or clock. Prices become nano-USD per million tokens, exactly.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Context, Decimal, Inexact, InvalidOperation
from functools import partial
from typing import TypedDict, cast

import orjson

from budgets.serializers import METADATA_BYTES_MAX, refusals
from catalog.litellm_names import INFO_NOT_YET, INFO_OURS, PARAMS_NOT_YET, PROVIDERS_NOT_YET
from catalog.price_list import provider_of
from catalog.secrets import Secret, is_sendable

BARE_PROVIDERS = ("openai", "anthropic")
"""Whose models may be named without their provider."""

DEMO = "demo"
ENVIRONMENT = "os.environ/"
WILDCARD = (
    "wildcards are not supported yet; every model of openai and anthropic works by its name once their key is set"
)
_PUBLIC_ID = re.compile(r"[A-Za-z0-9._:@-]{1,128}")
_NAME = re.compile(r"[!-~]{1,250}")
_WHOLE_MAX = 10**15
_DOUBLE_MAX = Decimal("1.7976931348623157e308")
_LEAST_USD = Decimal("1e-15")
"""Per token: one nano-dollar per million tokens, the smallest price."""
_EXACT = Context(prec=28, traps=[Inexact, InvalidOperation])

Fields = Mapping[str, object]
Problems = dict[str, str]
"""Why something cannot be taken, by its path."""


class RouteFields(TypedDict, total=False):
    """What somebody says of a route: a missing field leaves it as it is, None empties it."""

    model_name: str
    public_id: str
    provider: str
    upstream_model: str
    base_url: str | None
    api_key: Secret | None
    api_key_env: str | None
    credential: str | None
    input_nanousd_per_mtok: int | None
    output_nanousd_per_mtok: int | None
    cache_read_nanousd_per_mtok: int | None
    cache_write_nanousd_per_mtok: int | None
    output_tokens_max: int | None
    read_timeout_s: int | None
    info: dict[str, object]
    enabled: bool


class _WrongError(ValueError):
    """A value cannot be taken; the message says what is allowed."""


class _Reading:
    """The fields found so far, where each was said, and what is wrong."""

    def __init__(self, problems: Problems) -> None:
        self.problems = problems
        self.fields: dict[str, object] = {}
        self._said_at: dict[str, str] = {}

    def take(self, path: str, read: Callable[[], Fields]) -> None:
        try:
            found = read()
        except _WrongError as error:
            self.problems.setdefault(path, str(error))
            return
        for field, value in found.items():
            if field in self.fields and self.fields[field] != value:
                self.problems[path] = f"it says something else than {self._said_at[field]}; allowed is one of them"
            self.fields[field], self._said_at[field] = value, path


def route_fields(params: Mapping[str, object], info: Mapping[str, object]) -> tuple[RouteFields, Problems]:
    """What both objects say, and what is wrong with them; with problems the fields are not complete."""
    reading = _Reading(
        _refused("litellm_params", params, known=PARAMS.keys(), not_yet=PARAMS_NOT_YET)
        | _refused("model_info", info, known=info.keys() - INFO_NOT_YET.keys(), not_yet=INFO_NOT_YET)
    )
    reading.take("litellm_params.model", partial(_destination, params))
    for name in PARAMS.keys() & params.keys() - {"model", "custom_llm_provider"}:
        reading.take(f"litellm_params.{name}", partial(PARAMS[name], params[name]))
    for name in INFO.keys() & info.keys():
        reading.take(f"model_info.{name}", partial(INFO[name], info[name]))
    reading.take("model_info", partial(_kept, info))
    return cast(RouteFields, reading.fields), dict(sorted(reading.problems.items()))


def is_public_id(text: str) -> bool:
    """Whether a text may be the id of a route."""
    return _PUBLIC_ID.fullmatch(text) is not None


def _refused(prefix: str, given: Mapping[str, object], *, known: object, not_yet: Mapping[str, object]) -> Problems:
    found = refusals(given, known=cast("set[str]", known), not_yet=not_yet)
    return {f"{prefix}.{name}": reason for name, reason in found.items()}


# --- where the calls go ---------------------------------------------------------------------------


def _destination(params: Mapping[str, object]) -> Fields:
    """`model` is `provider/upstream`, or bare beside `custom_llm_provider`, or the bare name of a listed model."""
    model, provider = params.get("model"), params.get("custom_llm_provider") or ""
    if not isinstance(provider, str):
        raise _WrongError(f"custom_llm_provider is {provider!r}; allowed is a text")
    if model is None:
        return {"provider": _spoken(provider)} if provider else {}
    if not isinstance(model, str) or not _NAME.fullmatch(model):
        raise _WrongError(f"{model!r} is not allowed; allowed is a text like openai/gpt-4o, without spaces")
    if "*" in model:
        raise _WrongError(WILDCARD)
    first, _, rest = model.partition("/")
    if provider:
        return {"provider": _spoken(provider), "upstream_model": model.removeprefix(f"{provider}/")}
    if rest:
        return {"provider": _spoken(first), "upstream_model": rest}
    listed = DEMO if model == DEMO else provider_of(model, among=BARE_PROVIDERS)
    if listed is None:
        raise _WrongError(f"{model!r} names no provider; allowed is provider/model, like openai/{model}")
    return {"provider": listed, "upstream_model": model}


def _spoken(provider: str) -> str:
    if provider in PROVIDERS_NOT_YET:
        raise _WrongError(
            f"the provider {provider!r} is not supported yet; allowed are openai, anthropic, and any server that "
            "speaks OpenAI's API, as openai/<model> with its api_base"
        )
    return provider


def _address(value: object) -> Fields:
    if value is not None and not isinstance(value, str):
        raise _WrongError(f"{value!r} is not a text")
    return {"base_url": value or None}


def api_key_problem(value: object) -> str:
    """Why something cannot be a key, without repeating it; empty for a key and for none."""
    if value is None or value == "" or (isinstance(value, str) and is_sendable(value)):
        return ""
    return f"it is not a key; allowed are up to 4096 visible ASCII characters, or {ENVIRONMENT}NAME"


def _api_key(value: object) -> Fields:
    """`os.environ/NAME` is the name of a variable; what it may be, the route's rules say."""
    if problem := api_key_problem(value):
        raise _WrongError(problem)
    text = str(value or "")
    if text.startswith(ENVIRONMENT):
        return {"api_key": None, "api_key_env": text.removeprefix(ENVIRONMENT) or "-"}
    return {"api_key": Secret(text) if text else None, "api_key_env": None}


def _credential(value: object) -> Fields:
    if value is not None and not isinstance(value, str):
        raise _WrongError(f"{value!r} is not a text")
    return {"credential": value or None}


# --- numbers --------------------------------------------------------------------------------------


def nanousd_per_mtok(value: object) -> int:
    """A price in USD per token, exactly. Raises ValueError; a float is read by its shortest text, as YAML wrote it."""
    allowed = "allowed is 0 to 1 USD per token, in whole steps of 0.000000000000001 USD"
    if isinstance(value, bool) or not isinstance(value, Decimal | int | float | str):
        raise _WrongError(f"{value!r} is not a price; {allowed}")
    try:
        if isinstance(value, str) and ("_" in value or not value.isascii()):
            raise InvalidOperation  # Decimal reads 1_5 as 15, and digits of any script
        usd = Decimal(repr(value) if isinstance(value, float) else value)
        if not (usd.is_finite() and 0 <= usd <= 1):
            raise InvalidOperation
        return int(_EXACT.quantize(usd, _LEAST_USD).scaleb(15, context=_EXACT))
    except (Inexact, InvalidOperation):
        raise _WrongError(f"{value!r} is not a price; {allowed}") from None


def _price(field: str) -> Callable[[object], Fields]:
    return lambda value: {field: None if value is None else nanousd_per_mtok(value)}


def _whole(field: str) -> Callable[[object], Fields]:
    return lambda value: {field: None if value is None else _whole_number(value)}


def _whole_number(value: object) -> int:
    """The route's rules say which numbers are too large; the bound here keeps 1e999999999 from becoming an integer."""
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        number = Decimal(repr(value) if isinstance(value, float) else value)
        if number.is_finite() and -_WHOLE_MAX <= number <= _WHOLE_MAX and number == number.to_integral_value():
            return int(number)
    raise _WrongError(f"{value!r} is not allowed; allowed is a whole number")


# --- model_info -----------------------------------------------------------------------------------


def _public_id(value: object) -> Fields:
    if value is None or value == "":
        return {}
    if not isinstance(value, str) or not is_public_id(value):
        raise _WrongError(f"{value!r} is not allowed; allowed are 1 to 128 of the characters A-Z a-z 0-9 . _ : @ -")
    return {"public_id": value}


def _kept(info: Mapping[str, object]) -> Fields:
    """What means nothing to the gateway, as the database can hold it; its fractions become JSON's usual doubles."""
    known = INFO.keys() | INFO_OURS | INFO_NOT_YET.keys()
    rest = {name: value for name, value in info.items() if name not in known}
    try:
        encoded = orjson.dumps(rest, default=_double)
    except orjson.JSONEncodeError as error:
        raise _WrongError(f"it cannot be kept: {error}") from None
    if len(encoded) > METADATA_BYTES_MAX or rb"\u0000" in encoded:
        raise _WrongError(f"it has a NUL, or more than {METADATA_BYTES_MAX} bytes; allowed are neither")
    return {"info": orjson.loads(encoded)} if rest else {}


def _double(value: object) -> float:
    if not isinstance(value, Decimal) or not -_DOUBLE_MAX <= value <= _DOUBLE_MAX:
        raise TypeError(f"{value!r} has no JSON form")
    return float(value)


_PRICES: Mapping[str, Callable[[object], Fields]] = {
    "input_cost_per_token": _price("input_nanousd_per_mtok"),
    "output_cost_per_token": _price("output_nanousd_per_mtok"),
    "cache_read_input_token_cost": _price("cache_read_nanousd_per_mtok"),
    "cache_creation_input_token_cost": _price("cache_write_nanousd_per_mtok"),
}
PARAMS: Mapping[str, Callable[[object], Fields]] = {
    "model": lambda value: {},  # both read by _destination
    "custom_llm_provider": lambda value: {},
    "api_key": _api_key,
    "api_base": _address,
    "base_url": _address,
    "litellm_credential_name": _credential,
    "timeout": _whole("read_timeout_s"),
    "max_tokens": _whole("output_tokens_max"),
    **_PRICES,
}
"""Of `litellm_params`: what is acted on."""
INFO: Mapping[str, Callable[[object], Fields]] = {
    "id": _public_id,
    "max_output_tokens": _whole("output_tokens_max"),
    **_PRICES,
}
"""Of `model_info`: what is acted on. Everything else is kept."""
