"""What Django and DRF leave open about a request as it comes in from an ASGI server."""

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse

GetResponse = Callable[[HttpRequest], HttpResponse]


def sized_body(get_response: GetResponse) -> GetResponse:
    """Gives a body that was sent in chunks its length: without one DRF takes it for no body at all, and a key
    would be made without the limits that were asked for."""

    def middleware(request: HttpRequest) -> HttpResponse:
        if "CONTENT_LENGTH" not in request.META and "transfer-encoding" in request.headers:
            request._body = request.read(settings.BODY_BYTES_MAX + 1)
            request.META["CONTENT_LENGTH"] = str(len(request._body))
        return get_response(request)

    return middleware
