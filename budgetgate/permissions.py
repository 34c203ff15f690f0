"""Who may call which address of the management API at all; what of it each may see or change is the services' rule."""

from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from budgets.actors import Actor, Role


class MatrixPermission(BasePermission):
    """Lets nobody but proxy admins in."""

    def has_permission(self, request: Request, view: object) -> bool:
        actor = request.user
        if not isinstance(actor, Actor):
            raise AuthenticationFailed("Authentication Error, No api key passed in.", code="auth_error")
        if not actor.manages_all:
            raise AuthenticationFailed(_admins_only(actor, path=request.path), code="auth_error")
        return True


def _admins_only(actor: Actor, *, path: str) -> str:
    role = "unknown" if actor.role is Role.KEY else actor.role
    return (
        "Authentication Error, Only proxy admin can be used to generate, delete, update info for new "
        f"keys/users/teams. Route={path}. Your role={role}"
    )
