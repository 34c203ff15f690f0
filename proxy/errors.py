"""Errors of the data plane as values, and their one shape on the wire: OpenAI's, with a `budget` object on refusals.

Codes and types are stable; docs/errors.md lists them. Money in the texts is rounded for people, exact in the fields.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime

import orjson

from budgets.gate.windows import ActiveWindow
from budgets.rules.admission import Reading, Verdict
from budgets.rules.limits import LimitUnit
from budgets.rules.money import usd_from_nanousd, usd_text
from budgets.rules.routes import route_denied_text
from budgets.rules.windows import END_OF_TIME_MS
from proxy.ratelimit import rate_limit_fields

RETRY_IN_FLIGHT_S = 1
LONG_WAIT_S = 60
NAME_CHARS_MAX = 200

REASONS = {
    Verdict.EXHAUSTED: "exhausted",
    Verdict.IN_FLIGHT: "in_flight",
    Verdict.TOO_LARGE: "request_too_large",
}


@dataclass(frozen=True, slots=True)
class ApiError:
    """An answer that is no success. `fields` go into the error object beside the four that clients know."""

    status: int
    message: str
    type: str
    param: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    fields: dict[str, object] = field(default_factory=dict)

    def body(self) -> bytes:
        """The JSON body; `code` is the status as text, as clients of LiteLLM expect it."""
        error = {"message": self.message, "type": self.type, "param": self.param, "code": str(self.status)}
        return orjson.dumps({"error": {**error, **self.fields}}, default=_exact)


def _exact(value: object) -> orjson.Fragment:
    return orjson.Fragment(format(value, "f"))


LIMIT_TYPES = {
    LimitUnit.TOKENS: "tokens",
    LimitUnit.REQUESTS: "requests",
    LimitUnit.PARALLEL: "max_parallel_requests",
}
"""What clients of LiteLLM know the units of rates as."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The window that refuses a call, and what it said. `alias` is the key's; `is_hidden` leaves the scope's id out."""

    call_id: str
    active: ActiveWindow
    reading: Reading
    amount: int
    output_tokens_max: int | None
    alias: str | None = None
    is_hidden: bool = False


def refusing(windows: tuple[ActiveWindow, ...], *, readings: tuple[Reading, ...]) -> int:
    """Which window names the refusal: one that never lets the call pass, else the one that keeps it waiting longest."""
    refused = [index for index, reading in enumerate(readings) if reading.verdict in REASONS]
    return max(refused, key=lambda index: _wait(readings[index].verdict, windows[index]))


def _wait(verdict: Verdict, active: ActiveWindow) -> float:
    if verdict is Verdict.TOO_LARGE:
        return math.inf
    return active.window.end_ms if _lasts_until_the_reset(active, verdict=verdict) else 0


def _lasts_until_the_reset(active: ActiveWindow, *, verdict: Verdict) -> bool:
    """Calls that run give back what they do not use, in dollars and tokens; of the requests of a minute nothing."""
    counts_pace = active.limit.is_rate and active.limit.unit is LimitUnit.REQUESTS
    return verdict is Verdict.EXHAUSTED or (verdict is Verdict.IN_FLIGHT and counts_pace)


def budget_error(refused: Refused, *, now_ms: int, status: int = 429) -> ApiError:
    """The window, what is in it, and when it is worth trying again. Rates are 429 whatever the status of budgets is."""
    active, reading = refused.active, refused.reading
    is_rate = active.limit.is_rate
    room = max((active.limit.maximum or 0) - reading.spent - reading.held, 0)
    return ApiError(
        status=429 if is_rate else status,
        message=_rate_message(refused, room=room) if is_rate else _budget_message(refused),
        type="throttling_error" if is_rate else "budget_exceeded",
        headers=(
            ("x-request-id", refused.call_id),
            *_retry_headers(active, verdict=reading.verdict, now_ms=now_ms),
            *((("rate_limit_type", LIMIT_TYPES[active.limit.unit]),) if is_rate else ()),
            *rate_limit_fields(active, room=room, now_ms=now_ms),
        ),
        fields={"budget": _budget_fields(refused)},
    )


def _rate_message(refused: Refused, *, room: int) -> str:
    """LiteLLM's words, without the digest of the key."""
    active = refused.active
    scope, limit = active.scope, active.limit
    named = "" if refused.is_hidden else f": {refused.alias or scope.id}"
    model = "" if scope.model is None else f" for {scope.model}"
    message = (
        f"Rate limit exceeded for {scope.kind}{named}{model}. Limit type: {LIMIT_TYPES[limit.unit]}. "
        f"Current limit: {limit.maximum}, Remaining: {room}. "
    )
    if active.window.end_ms == END_OF_TIME_MS:
        return f"{message}Calls in flight hold the rest; try again soon"
    resets = datetime.fromtimestamp(active.window.end_ms // 1000, UTC)
    return f"{message}Limit resets at: {resets:%Y-%m-%d %H:%M:%S} UTC"


def _budget_message(refused: Refused) -> str:
    limit, reading, scope = refused.active.limit, refused.reading, refused.active.scope
    assert limit.maximum is not None, "a limit that only counts refuses nothing"
    if limit.unit is LimitUnit.USD:
        spent, maximum = usd_text(reading.spent, places=4), _limit_text(limit.maximum)
    else:
        spent, maximum = f"{reading.spent} {limit.unit.value}", f"{limit.maximum} {limit.unit.value}"
    model = "" if scope.model is None else f" for {scope.model}"
    message = f"ExceededBudget: {scope.kind.capitalize()} over {limit} budget{model}. Spend={spent}, Limit={maximum}"
    if reading.verdict is Verdict.IN_FLIGHT:
        return f"{message}. Calls in flight hold the rest; try again soon"
    if reading.verdict is Verdict.TOO_LARGE:
        return f"{message}. This call alone may cost more than the whole limit"
    return message


def _limit_text(maximum: int) -> str:
    """Two places, and more only where the limit has them: a limit of 0.0003 must not read as $0.00."""
    places = max(2, -int(usd_from_nanousd(maximum).normalize().as_tuple().exponent))
    return usd_text(maximum, places=min(places, 9))


def _budget_fields(refused: Refused) -> dict[str, object]:
    active, reading = refused.active, refused.reading
    fields: dict[str, object] = {
        "reason": REASONS[reading.verdict],
        "scope": active.scope.kind,
        "scope_id": None if refused.is_hidden else active.scope.id,
        "budget_duration": str(active.limit),
        "unit": active.limit.unit.value,
        "limit": _amount(active.limit.maximum or 0, unit=active.limit.unit),
        "spent": _amount(reading.spent, unit=active.limit.unit),
        "held": _amount(reading.held, unit=active.limit.unit),
        "estimate": _amount(refused.amount, unit=active.limit.unit),
        "reset_at": _reset_text(active.window.end_ms),
    }
    if active.scope.model is not None:
        fields["model"] = active.scope.model
    if refused.output_tokens_max is not None:
        fields["output_tokens_max"] = refused.output_tokens_max
    return fields


def _amount(amount: int, *, unit: LimitUnit) -> object:
    return usd_from_nanousd(amount) if unit is LimitUnit.USD else amount


def _reset_text(end_ms: int) -> str | None:
    if end_ms == END_OF_TIME_MS:
        return None
    return datetime.fromtimestamp(end_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _retry_headers(active: ActiveWindow, *, verdict: Verdict, now_ms: int) -> tuple[tuple[str, str], ...]:
    """`x-should-retry: false` keeps SDKs from waiting for minutes, or for ever, on their own."""
    if verdict is Verdict.IN_FLIGHT and not _lasts_until_the_reset(active, verdict=verdict):
        return (("retry-after", str(RETRY_IN_FLIGHT_S)),)
    if verdict is Verdict.TOO_LARGE or active.window.end_ms == END_OF_TIME_MS:
        return (("x-should-retry", "false"),)
    wait_s = max(1, -((now_ms - active.window.end_ms) // 1000))
    retry = ("retry-after", str(wait_s))
    return (retry, ("x-should-retry", "false")) if wait_s > LONG_WAIT_S else (retry,)


def no_key() -> ApiError:
    return ApiError(401, "Authentication Error, No api key passed in.", "auth_error")


def unknown_key() -> ApiError:
    return ApiError(401, "Authentication Error, Invalid API key provided.", "token_not_found_in_db", "key")


def malformed_key() -> ApiError:
    message = "Authentication Error, Malformed API Key passed in. Send `Authorization: Bearer sk-...`."
    return ApiError(401, message, "auth_error", "key")


def master_key_calls() -> ApiError:
    message = "The master key manages keys and teams and makes no model calls. Create a key with POST /key/generate."
    return ApiError(403, message, "auth_error", "key")


def blocked_key() -> ApiError:
    message = "Authentication Error, Key is blocked. Update via `/key/unblock` if you're an admin."
    return ApiError(401, message, "auth_error", "key")


def blocked_team(team_id: str | None) -> ApiError:
    message = f"Authentication Error, Team={team_id} is blocked. Update via `/team/unblock` if you're an admin."
    return ApiError(401, message, "auth_error", "team_id")


def blocked_user(user_id: str | None) -> ApiError:
    message = f"Authentication Error, User={user_id} is not active. Update via `/user/update` if you're an admin."
    return ApiError(401, message, "auth_error", "user_id")


def blocked_customer(customer_id: str) -> ApiError:
    message = (
        f"Authentication Error, Customer={customer_id} is blocked. Update via `/customer/unblock` if you're an admin."
    )
    return ApiError(401, message, "auth_error", "user")


def route_denied(routes: Collection[str], path: str) -> ApiError:
    return ApiError(403, route_denied_text(routes, path), "auth_error", "route")


def expired_key(expires_ms: int) -> ApiError:
    expired = _reset_text(expires_ms)
    return ApiError(401, f"Authentication Error - Expired Key. Key Expiry time {expired}.", "expired_key", "key")


def _short(name: str) -> str:
    """A name from the request, which may be as long as a body may be."""
    return name if len(name) <= NAME_CHARS_MAX else f"{name[:NAME_CHARS_MAX]}..."


def model_denied(model: str, *, holder: str) -> ApiError:
    message = (
        f"The requested model {_short(model)!r} is not available for this {'API key' if holder == 'key' else holder}. "
        "GET /v1/models lists the models that are."
    )
    return ApiError(403, message, f"{holder}_model_access_denied", "model")


def unknown_model(model: str) -> ApiError:
    message = f"Invalid model name passed in model={_short(model)}. GET /v1/models lists the models that can be called."
    return ApiError(400, message, "invalid_request_error", "model")


def unpriced_model(model: str) -> ApiError:
    message = (
        f"The model {_short(model)!r} has no known price, so its calls cannot be held to a budget. Give its route "
        "a price, or set BUDGETGATE_UNPRICED=allow to let such calls pass uncounted."
    )
    return ApiError(400, message, "invalid_request_error", "model")


def bad_request(message: str, *, param: str | None = None) -> ApiError:
    return ApiError(400, message, "invalid_request_error", param)


def body_too_large(limit_bytes: int) -> ApiError:
    return ApiError(413, f"The request body is larger than {limit_bytes} bytes.", "invalid_request_error")


def not_found(path: str) -> ApiError:
    return ApiError(404, f"There is no {path}.", "not_found_error")


def method_not_allowed(method: str, *, allowed: str) -> ApiError:
    message = f"{method} is not allowed here; allowed is {allowed}."
    return ApiError(405, message, "invalid_request_error", headers=(("allow", allowed),))


def store_down() -> ApiError:
    message = "Budgets cannot be checked right now: the counter store does not answer."
    return ApiError(503, message, "service_unavailable", headers=(("retry-after", "1"),))


def database_down() -> ApiError:
    message = "The key or its budgets cannot be read right now: the database does not answer."
    return ApiError(503, message, "service_unavailable", headers=(("retry-after", "1"),))


def upstream_timeout(provider: str) -> ApiError:
    return ApiError(504, f"{provider} did not answer in time.", "upstream_timeout")


def upstream_unreachable(provider: str) -> ApiError:
    return ApiError(502, f"{provider} could not be reached, or broke off its answer.", "upstream_unreachable")


def internal_error() -> ApiError:
    return ApiError(500, "Internal server error", "internal_server_error")
