"""The DRF views of the data plane: forward an admitted call, and list models. Budgets are the middleware's business."""

import contextlib
import logging
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import orjson
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from rest_framework.request import Request
from rest_framework.views import APIView

from proxy.access import models_of
from proxy.adapters.openai import passed_on
from proxy.calls import Call
from proxy.errors import ApiError, internal_error, method_not_allowed, upstream_timeout, upstream_unreachable
from proxy.headers import answer_headers
from proxy.metering import StreamMeter, measure_json
from proxy.plane import DataPlane
from proxy.profiles import CachedKey
from proxy.upstream import Answer, UpstreamBroken, UpstreamTimeout

logger = logging.getLogger(__name__)

JSON = "application/json"
STREAM_HEADERS = (("cache-control", "no-cache"), ("x-accel-buffering", "no"))
OWNED_BY = "budgetgate"
MODEL_CREATED_S = 1677610602
"""What LiteLLM answers for every model; clients only ask that it is a number."""


class _PairsOfHeaders:
    """Keeps headers as the pairs they leave as: setting them on Django's header object costs a tenth of a call."""

    pairs: Sequence[tuple[str, str]] = ()

    def items(self) -> list[tuple[str, str]]:
        """What Django's handler and the entry send."""
        return [*super().items(), *self.pairs]  # type: ignore[misc]


class AnswerResponse(_PairsOfHeaders, HttpResponse):
    """An answer that is whole."""


class EventStreamResponse(_PairsOfHeaders, StreamingHttpResponse):
    """A stream whose `events` can be sent, and closed, without Django's wrapping."""

    def __init__(self, events: AsyncGenerator[bytes, None], *, status: int, content_type: str) -> None:
        super().__init__(events, status=status, content_type=content_type)
        self.events = events


def response_of(error: ApiError) -> AnswerResponse:
    """An error as an HTTP response."""
    response = AnswerResponse(error.body(), status=error.status, content_type=JSON)
    response.pairs = error.headers
    return response


class AsyncAPIView(APIView):
    """A DRF view whose handlers are coroutines and answer with Django responses.

    Callers are known before it runs (the middleware's work), so it authenticates, throttles and negotiates nothing.
    """

    http_method_names = ["get", "head", "post"]  # DRF's own handler of OPTIONS is no coroutine
    authentication_classes = []
    permission_classes = []

    async def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:  # type: ignore[override]
        handler = getattr(self, (request.method or "").lower(), None)
        if handler is None or request.method not in self.allowed_methods:
            return response_of(method_not_allowed(request.method or "", allowed=", ".join(self.allowed_methods)))
        self.request = Request(request)
        try:
            response: HttpResponseBase = await handler(self.request)
        except Exception:
            logger.exception("%s %s failed", request.method, request.path)
            response = response_of(internal_error())
        return response


class ChatCompletionsView(AsyncAPIView):
    """`POST /v1/chat/completions`: forwards the admitted call and reads what it used off the answer."""

    async def post(self, request: Request) -> HttpResponseBase:
        plane: DataPlane = request._request.plane  # type: ignore[attr-defined]
        call: Call = request._request.call  # type: ignore[attr-defined]
        answer = await plane.forward(call)
        if isinstance(answer, ApiError):
            return _with_headers(response_of(answer), call)
        if not 200 <= answer.status < 300:
            return await _passed_error(plane, call, answer)
        if call.is_streamed and _is_event_stream(answer):
            events = _metered(plane, call, answer)
            stream = EventStreamResponse(events, status=answer.status, content_type=_content_type(answer))
            return _with_headers(stream, call, answer=answer)
        return await _whole(plane, call, answer)


async def _whole(plane: DataPlane, call: Call, answer: Answer) -> HttpResponseBase:
    body: bytes | None = None
    try:
        with contextlib.suppress(UpstreamTimeout, UpstreamBroken):
            body = await answer.read()
    finally:
        # Also when this task is cancelled: the provider has begun to answer.
        status = 502 if body is None else answer.status
        plane.settle(call, measure_json(body or b"", request_bytes=len(call.body)), http_status=status)
        await answer.close()
    if body is None:
        return _with_headers(response_of(upstream_unreachable(call.route.provider)), call)
    return _with_headers(_response(body, answer), call, answer=answer)


def _response(body: bytes, answer: Answer) -> AnswerResponse:
    return AnswerResponse(body, status=answer.status, content_type=_content_type(answer))


async def _passed_error(plane: DataPlane, call: Call, answer: Answer) -> HttpResponseBase:
    """The provider refused: its status and body go through, and nothing is charged."""
    plane.release(call)
    try:
        body = await answer.read()
    except (UpstreamTimeout, UpstreamBroken):
        return _with_headers(response_of(upstream_unreachable(call.route.provider)), call)
    finally:
        await answer.close()
    return _with_headers(_response(body, answer), call, answer=answer)


async def _metered(plane: DataPlane, call: Call, answer: Answer) -> AsyncGenerator[bytes, None]:
    """The provider's stream, event by event. However it ends, the call is charged for what came of it."""
    meter = StreamMeter(drop_usage=call.usage_added, request_bytes=len(call.body))
    try:
        async for chunk in answer.chunks():
            if events := meter.feed(chunk):
                yield events
        if rest := meter.finish():
            yield rest
    except UpstreamTimeout:
        yield _error_event(upstream_timeout(call.route.provider))
    except UpstreamBroken:
        yield _error_event(upstream_unreachable(call.route.provider))
    finally:
        meter.finish()  # what came of an event that was broken off still counts
        plane.settle(call, meter.measured(), http_status=answer.status)
        await answer.close()


def _error_event(error: ApiError) -> bytes:
    return b"data: " + error.body() + b"\n\n"


def _content_type(answer: Answer) -> str:
    """Without a type from the provider it is JSON: Django would call it a web page."""
    return next((value for name, value in answer.headers if name == "content-type"), JSON)


def _is_event_stream(answer: Answer) -> bool:
    return "text/event-stream" in _content_type(answer)


def _with_headers(
    response: AnswerResponse | EventStreamResponse, call: Call, *, answer: Answer | None = None
) -> HttpResponseBase:
    passed = passed_on(answer.headers) if answer is not None else []
    response.pairs = [*response.pairs, *passed, *answer_headers(call), *(STREAM_HEADERS if response.streaming else ())]
    return response


class ModelsView(AsyncAPIView):
    """`GET /v1/models`: the models that the calling key may use; the master key sees all of them."""

    async def get(self, request: Request) -> HttpResponseBase:
        plane: DataPlane = request._request.plane  # type: ignore[attr-defined]
        key: CachedKey | None = request._request.key  # type: ignore[attr-defined]
        names = plane.routes.names()
        listed = names if key is None else models_of(key.profile, names=names)
        data = [{"id": name, "object": "model", "created": MODEL_CREATED_S, "owned_by": OWNED_BY} for name in listed]
        return HttpResponse(orjson.dumps({"data": data, "object": "list"}), content_type="application/json")
