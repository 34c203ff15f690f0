"""Whether this process answers at all; open to everybody, asks nothing of database or store."""

from django.http import HttpRequest, JsonResponse


def liveliness(request: HttpRequest) -> JsonResponse:
    return JsonResponse("I'm alive!", safe=False)
