"""The table of rights: it is whole, it is not at odds with itself, and the page in the docs is made from it."""

from pathlib import Path
from types import ModuleType

import pytest
from django.conf import LazySettings
from django.urls import ResolverMatch, URLPattern, path
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.test import APIRequestFactory
from rest_framework.views import APIView

from budgetgate import permissions
from budgetgate.checks import check_permissions
from budgetgate.permissions import (
    ALL,
    MATRIX,
    NO,
    OPEN,
    OWN,
    SECTIONS,
    MatrixPermission,
    column_of,
    markdown,
    rights_for,
)
from budgets.actors import MASTER, Actor, Role

DOCS = Path(permissions.__file__).parent.parent / "docs" / "permissions.md"
STRENGTH = {NO: 0, OWN: 1, ALL: 2}
WEAKER = [
    ("anonymous", "key"),
    ("key", "internal_user_viewer"),
    ("internal_user", "team_member"),
    ("team_member", "team_admin"),
    ("team_admin", "proxy_admin"),
    ("internal_user_viewer", "proxy_admin_viewer"),
    ("internal_user_viewer", "internal_user"),
    ("proxy_admin_viewer", "proxy_admin"),
]


class Rowless(APIView):
    """An address of these tests."""

    def get(self, request: Request) -> Response:
        return Response()


class Bypass(Rowless):
    """One that would let everybody in."""

    permission_classes = [AllowAny]


def test_the_page_in_the_docs_is_made_from_the_table() -> None:
    again = "write it anew: python -m budgetgate.permissions > docs/permissions.md"
    assert DOCS.read_text() == markdown(), again


@pytest.mark.parametrize(("weaker", "stronger"), WEAKER)
def test_whoever_is_more_may_no_less(weaker: str, stronger: str) -> None:
    for address, rights in MATRIX.items():
        assert STRENGTH[rights.of(weaker)] <= STRENGTH[rights.of(stronger)], address


def test_admins_may_everything_and_viewers_read_only() -> None:
    reads_by_post = {"v2/key/info", "key/health", "budget/info", "budget/explain", "tag/info", "spend/calculate"}
    own_password = "user/password/change"
    for (method, route), rights in MATRIX.items():
        assert rights.proxy_admin is ALL
        if method != "GET" and route not in reads_by_post | {own_password}:
            assert (rights.proxy_admin_viewer, rights.internal_user_viewer, rights.key) == (NO, NO, NO), route


def test_only_these_are_open_to_everybody() -> None:
    opened = {route for (_, route), rights in MATRIX.items() if rights.anonymous is not NO}
    assert opened == {"health/liveliness", "health/liveness", "health/readiness", "openapi.json", "docs"}


def test_no_address_stands_in_two_sections_or_twice_under_other_names() -> None:
    rows = [address for section in SECTIONS.values() for address in section]
    assert len(rows) == len(MATRIX) == len(permissions._ROWS)


def test_what_a_part_of_a_route_is_called_does_not_matter() -> None:
    assert rights_for("POST", "key/<path:token>/regenerate") == MATRIX["POST", "key/<str:key>/regenerate"]
    assert rights_for("HEAD", "key/info") == MATRIX["GET", "key/info"]
    assert rights_for("DELETE", "key/info") is None


@pytest.mark.parametrize(
    ("actor", "column"),
    [
        (MASTER, "proxy_admin"),
        (Actor("v", Role.PROXY_ADMIN_VIEWER, admin_of=frozenset({"t1"})), "proxy_admin_viewer"),
        (Actor("v", Role.INTERNAL_USER_VIEWER, teams=frozenset({"t1"}), admin_of=frozenset({"t1"})), None),
        (Actor("u", Role.INTERNAL_USER), "internal_user"),
        (Actor("u", Role.INTERNAL_USER, teams=frozenset({"t1"})), "team_member"),
        (Actor("u", Role.INTERNAL_USER, teams=frozenset({"t1", "t2"}), admin_of=frozenset({"t2"})), "team_admin"),
        (Actor("k", Role.KEY, team_id="t1"), "key"),
    ],
)
def test_each_caller_has_one_column(actor: Actor, column: str | None) -> None:
    assert column_of(actor) == (column or "internal_user_viewer")


def urls(*patterns: URLPattern) -> ModuleType:
    conf = ModuleType("urls_of_a_test")
    conf.__dict__["urlpatterns"] = list(patterns)
    return conf


def test_the_check_finds_an_address_without_a_row_and_one_that_goes_around_the_table(settings: LazySettings) -> None:
    known, rowless, bypass = Rowless.as_view(), Rowless.as_view(), Bypass.as_view()
    settings.ROOT_URLCONF = urls(path("key/info", known), path("no/row", rowless), path("key/list", bypass))
    found = [(message.id, message.msg.split(" ")[1]) for message in check_permissions(None)]
    assert found == [("budgetgate.E005", "/no/row"), ("budgetgate.E006", "/key/list")]


def test_a_view_without_the_table_is_fine_where_everybody_may_come_in(settings: LazySettings) -> None:
    assert MATRIX["GET", "health/readiness"] == OPEN
    settings.ROOT_URLCONF = urls(path("health/readiness", Bypass.as_view()))
    assert check_permissions(None) == []


@pytest.mark.parametrize("role", Role)
def test_an_address_without_a_row_is_for_admins_only(role: Role) -> None:
    request = Request(APIRequestFactory().get("/no/row"))
    request.user = Actor("somebody", role)  # type: ignore[assignment]
    request._request.resolver_match = ResolverMatch(Rowless.as_view(), (), {}, route="no/row")
    if role is Role.PROXY_ADMIN:
        assert MatrixPermission().has_permission(request, Rowless())
        return
    with pytest.raises((AuthenticationFailed, PermissionDenied)):
        MatrixPermission().has_permission(request, Rowless())


@pytest.mark.parametrize(
    ("role", "route", "refusal"),
    [
        (Role.KEY, "key/generate", AuthenticationFailed),
        (Role.INTERNAL_USER, "team/new", AuthenticationFailed),
        (Role.INTERNAL_USER, "team/update", PermissionDenied),
        (Role.INTERNAL_USER_VIEWER, "key/generate", PermissionDenied),
        (Role.PROXY_ADMIN_VIEWER, "team/new", PermissionDenied),
    ],
)
def test_the_refusal_says_whether_another_role_would_do(role: Role, route: str, refusal: type[Exception]) -> None:
    request = Request(APIRequestFactory().get(f"/{route}"))
    request.user = Actor("somebody", role)  # type: ignore[assignment]
    request._request.method = "POST"
    request._request.resolver_match = ResolverMatch(Rowless.as_view(), (), {}, route=route)
    view = Rowless()
    view.post = view.get  # type: ignore[attr-defined]
    with pytest.raises(refusal):
        MatrixPermission().has_permission(request, view)
