"""The management API's edges: exact JSON in and out, and every error in one shape.

Numbers with a fraction stay Decimal from the body to the answer; no float touches money. An error is
`{"error": {"message", "type", "param", "code"}}`, with the HTTP status as text in `code`.
"""

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import IO, Any, NoReturn

import orjson
from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from django.views import defaults
from rest_framework.exceptions import APIException, ParseError, ValidationError
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from budgets.errors import ConflictError, ForbiddenError, InputError, NotFoundError
from budgets.rules.limits import LimitError
from budgets.services import text_of

logger = logging.getLogger(__name__)

DEPTH_MAX = 64
MESSAGE_LENGTH_MAX = 1000
HTML_PATHS = ("/admin/", "/static/")
RETRY_AFTER_S = 5

# --- JSON -----------------------------------------------------------------------------------------


class BodyTooLarge(APIException):
    """The body is longer than BODY_BYTES_MAX."""

    status_code = 413
    default_code = "request_too_large"


class Number(Decimal):
    """A JSON number with a fraction, exactly as it was written; messages show it so too."""

    __repr__ = Decimal.__str__


class ExactJSONParser(BaseParser):
    """A JSON object, whatever the content type says: `curl -d` says it is a form."""

    media_type = "*/*"

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        body = stream.read(settings.BODY_BYTES_MAX + 1)
        if len(body) > settings.BODY_BYTES_MAX:
            raise BodyTooLarge(f"The body is too large; allowed are {settings.BODY_BYTES_MAX} bytes")
        try:
            data = json.loads(body.decode(), parse_float=Number, parse_constant=_no_constant, object_pairs_hook=_object)
        except (ValueError, InvalidOperation, RecursionError) as error:
            raise ParseError(f"The body is not JSON: {error or type(error).__name__}") from None
        if not isinstance(data, dict):
            raise ParseError("The body is not a JSON object")
        _check_texts(data, depth=0)
        return data


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} is given twice")
    return data


def _check_texts(value: object, *, depth: int) -> None:
    """What no database column and no answer can hold: NUL, halves of surrogate pairs, endless nesting."""
    if depth > DEPTH_MAX:
        raise ParseError(f"The body is nested more than {DEPTH_MAX} deep")
    if isinstance(value, str):
        if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
            raise ParseError("The body has a text with a NUL or half of a surrogate pair")
    elif isinstance(value, dict):
        for name, item in value.items():
            _check_texts(name, depth=depth + 1)
            _check_texts(item, depth=depth + 1)
    elif isinstance(value, list):
        for item in value:
            _check_texts(item, depth=depth + 1)


class ExactJSONRenderer(BaseRenderer):
    """Decimals as exact JSON numbers, instants as RFC 3339 in UTC with a Z."""

    media_type = "application/json"
    format = "json"
    charset = None

    def render(
        self, data: Any, accepted_media_type: str | None = None, renderer_context: Mapping[str, Any] | None = None
    ) -> bytes:
        return b"" if data is None else orjson.dumps(data, default=_exact, option=orjson.OPT_PASSTHROUGH_DATETIME)


class AlwaysJSON(DefaultContentNegotiation):
    """Answers in JSON, whatever a client says that it accepts."""

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        renderer = next(iter(renderers))
        return renderer, renderer.media_type


def _exact(value: object) -> object:
    if isinstance(value, Decimal):
        return orjson.Fragment(format(value, "f"))
    if isinstance(value, datetime):
        return text_of(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


# --- errors ---------------------------------------------------------------------------------------

_TYPES = {401: "auth_error", 403: "permission_denied", 404: "not_found_error", 429: "throttling_error"}


@dataclass(frozen=True, slots=True)
class Problem:
    """An error on its way into an answer."""

    status: int
    message: str
    kind: str = "invalid_request_error"
    param: str | None = None

    @property
    def body(self) -> dict[str, dict[str, str | None]]:
        message = self.message
        if len(message) > MESSAGE_LENGTH_MAX:
            message = f"{message[:MESSAGE_LENGTH_MAX]}..."
        return {"error": {"message": message, "type": self.kind, "param": self.param, "code": str(self.status)}}


def handle_exception(exc: Exception, context: Mapping[str, Any]) -> Response | None:
    """Every error that a view may raise. What is not one of ours goes on, is logged, and becomes a 500."""
    problem = _problem_of(exc)
    if problem is None:
        return None
    headers = {}
    if auth_header := getattr(exc, "auth_header", None):
        headers["WWW-Authenticate"] = auth_header
    if problem.status == 503:
        logger.error("the database cannot be used: %s", exc)
        headers["Retry-After"] = str(RETRY_AFTER_S)
    if wait := getattr(exc, "wait", None):
        headers["Retry-After"] = str(int(wait) + 1)
    return Response(problem.body, status=problem.status, headers=headers)


def _problem_of(exc: Exception) -> Problem | None:
    match exc:
        case LimitError(field=field):
            return Problem(400, f"{field}: {exc}", param=field)
        case InputError(field=field, kind=kind):
            return Problem(400, str(exc), kind, field)
        case NotFoundError(field=field):
            return Problem(404, str(exc), "not_found_error", field)
        case ConflictError(field=field):
            return Problem(409, str(exc), "conflict_error", field)
        case ForbiddenError():
            return Problem(403, str(exc), "permission_denied")
        case ValidationError():
            wrong = list(_flat(exc.detail, path=""))
            return Problem(400, "; ".join(f"{path}: {text}" for path, text in wrong), param=wrong[0][0])
        case APIException():
            return _api_problem(exc)
        case Http404():
            return Problem(404, "Not found", "not_found_error")
        case OperationalError() | InterfaceError():
            return Problem(503, "The database cannot be reached; nothing was changed", "service_unavailable")
    return None


def _api_problem(exc: APIException) -> Problem:
    detail = exc.detail
    assert not isinstance(detail, list | dict), "only validation has more than one text"
    status = exc.status_code
    kind = str(detail.code) if status == 401 else _TYPES.get(status, "invalid_request_error")
    return Problem(status, str(detail), kind, getattr(exc, "param", None))


def _flat(detail: Any, *, path: str) -> list[tuple[str, str]]:
    """Paths such as `models[2]` and the text at each."""
    if isinstance(detail, dict):
        found = [(f"{path}[{name}]" if isinstance(name, int) else f"{name}", item) for name, item in detail.items()]
        return [pair for at, item in found for pair in _flat(item, path=at)]
    if isinstance(detail, list):
        return [pair for item in detail for pair in _flat(item, path=path)]
    return [(path, str(detail))]


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler400: a host that is not allowed, a request that cannot be read."""
    if request.path.startswith(HTML_PATHS):
        return defaults.bad_request(request, exception)
    return _plain(Problem(400, "Bad request"))


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler404."""
    if request.path.startswith(HTML_PATHS):
        return defaults.page_not_found(request, exception)
    return _plain(Problem(404, f"Not found: {request.path}", "not_found_error"))


def server_error(request: HttpRequest) -> HttpResponse:
    """Django's handler500. Says nothing of what happened; the log does."""
    if request.path.startswith(HTML_PATHS):
        return defaults.server_error(request)
    return _plain(Problem(500, "Internal server error", "internal_server_error"))


def _plain(problem: Problem) -> HttpResponse:
    return HttpResponse(orjson.dumps(problem.body), status=problem.status, content_type="application/json")
