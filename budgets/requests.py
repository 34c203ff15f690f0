"""Who sent a request to the management API."""

from typing import cast

from rest_framework.request import Request

from budgets.actors import Actor


def actor_of(request: Request) -> Actor:
    """The caller, whom budgetgate/authentication.py has authenticated."""
    return cast(Actor, request.user)
