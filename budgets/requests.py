"""Who sent a request, to the management API or to a page of the admin."""

from typing import cast

from django.http import HttpRequest
from rest_framework.request import Request

from budgets.actors import Actor, Role


def actor_of(request: Request) -> Actor:
    """The caller, whom budgetgate/authentication.py has authenticated."""
    return cast(Actor, request.user)


def actor_of_page(request: HttpRequest) -> Actor:
    """Whoever uses the admin, whose own permissions have let them change this."""
    name = request.user.get_username()
    return Actor(name, Role.PROXY_ADMIN, user_id=name, address=request.META.get("REMOTE_ADDR", ""))
