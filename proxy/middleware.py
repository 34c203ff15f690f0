"""The budget middleware: no call reaches its view, and so no provider, before every window has room for it.

It speaks Django's async middleware protocol. proxy/entry.py runs it without Django's handler stack; it works around any
async view of proxy.views.
"""

from collections.abc import Awaitable, Callable, Mapping

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from proxy.access import route_denied
from proxy.calls import Call
from proxy.errors import ApiError
from proxy.labels import LABEL_HEADERS, NO_HEADERS
from proxy.plane import DataPlane
from proxy.profiles import CachedKey
from proxy.views import response_of

GetResponse = Callable[[HttpRequest], Awaitable[HttpResponseBase]]

_LABELS = {f"HTTP_{name.upper().replace('-', '_')}": name for name in LABEL_HEADERS}

FREE_PATHS = frozenset({"/models", "/v1/models"})


class BudgetMiddleware:
    """authenticate -> estimate -> admit, then the view forwards and settles."""

    sync_capable = False
    async_capable = True

    def __init__(self, get_response: GetResponse, *, plane: DataPlane) -> None:
        self.get_response = get_response
        self.plane = plane

    async def __call__(self, request: HttpRequest) -> HttpResponseBase:
        presented = presented_key(request)
        if request.path in FREE_PATHS and self.plane.is_master_key(presented):
            _attach(request, plane=self.plane, key=None)
            return await self.get_response(request)
        key = await self.plane.authenticate(presented)
        if isinstance(key, ApiError):
            return response_of(key)
        denied = route_denied(key.profile, path=request.path)
        if denied is not None:
            return response_of(denied)
        _attach(request, plane=self.plane, key=key)
        if request.path in FREE_PATHS or request.method != "POST":
            return await self.get_response(request)
        call = self.plane.estimate(key, request.body, headers=label_headers(request))
        if isinstance(call, ApiError):
            return response_of(call)
        refusal = await self.plane.admit(call)
        if refusal is not None:
            return response_of(refusal)
        return await self._forwarded(request, call)

    async def _forwarded(self, request: HttpRequest, call: Call) -> HttpResponseBase:
        request.call = call  # type: ignore[attr-defined]
        is_streaming = False
        try:
            response = await self.get_response(request)
            is_streaming = response.streaming
        finally:
            if not is_streaming:
                # The view failed before the provider answered, or was cancelled: the hold must not stay.
                self.plane.release(call)
        return response


def _attach(request: HttpRequest, *, plane: DataPlane, key: CachedKey | None) -> None:
    request.plane = plane  # type: ignore[attr-defined]
    request.key = key  # type: ignore[attr-defined]


def label_headers(request: HttpRequest) -> Mapping[str, str]:
    """What the headers say of the call, as UTF-8 where it is that: bodies are."""
    meta = request.META
    if _LABELS.keys().isdisjoint(meta):
        return NO_HEADERS
    return {name: _utf8(meta[key]) for key, name in _LABELS.items() if meta.get(key)}


def _utf8(text: str) -> str:
    try:
        return text.encode("latin-1").decode()
    except UnicodeError:
        return text


def presented_key(request: HttpRequest) -> str | None:
    """The key, from the headers that clients of OpenAI, Azure, Anthropic and LiteLLM send it in."""
    for value in (
        request.META.get("HTTP_AUTHORIZATION", ""),
        request.META.get("HTTP_X_API_KEY", ""),
        request.META.get("HTTP_API_KEY", ""),
        request.META.get("HTTP_X_LITELLM_API_KEY", ""),
    ):
        if value:
            scheme, _, rest = value.partition(" ")
            return str(rest.strip() if scheme.lower() == "bearer" else value)
    return None
