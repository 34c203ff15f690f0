"""Django's admin by role: proxy admins work there, their viewers look at everything, nobody else gets in."""

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group
from django.test import Client

from budgets.actors import Role
from teams.models import User

pytestmark = pytest.mark.django_db

LISTS = sorted(f"/admin/{model._meta.app_label}/{model._meta.model_name}/" for model in admin.site._registry)


def browser_of(role: Role, **fields: bool) -> Client:
    client = Client()
    client.force_login(User.objects.create(username=role.value, role=role, **fields))
    return client


@pytest.fixture
def viewer() -> Client:
    return browser_of(Role.PROXY_ADMIN_VIEWER, is_staff=True)


@pytest.mark.parametrize("path", LISTS)
def test_a_proxy_admin_sees_every_list(path: str) -> None:
    browser = browser_of(Role.PROXY_ADMIN, is_staff=True, is_superuser=True)
    assert browser.get(path).status_code == 200


def test_a_proxy_admin_works_there() -> None:
    browser = browser_of(Role.PROXY_ADMIN, is_staff=True, is_superuser=True)
    group = Group.objects.create(name="a")
    assert browser.get("/admin/auth/group/add/").status_code == 200
    assert browser.post(f"/admin/auth/group/{group.pk}/delete/", {"post": "yes"}).status_code == 302
    assert not Group.objects.exists()


@pytest.mark.parametrize("path", LISTS)
def test_a_viewer_sees_every_list_and_adds_nothing(path: str, viewer: Client) -> None:
    assert viewer.get(path).status_code == 200
    assert viewer.get(f"{path}add/").status_code == 403


def test_a_viewer_changes_and_deletes_nothing(viewer: Client) -> None:
    group = Group.objects.create(name="a")
    page = f"/admin/auth/group/{group.pk}"
    assert 'name="_save"' not in viewer.get(f"{page}/change/").content.decode()
    assert viewer.post(f"{page}/change/", {"name": "b"}).status_code == 403
    assert viewer.post(f"{page}/delete/", {"post": "yes"}).status_code == 403
    viewer.post("/admin/auth/group/", {"action": "delete_selected", "_selected_action": [group.pk], "post": "yes"})
    assert Group.objects.get().name == "a"


@pytest.mark.parametrize("role", [Role.INTERNAL_USER, Role.INTERNAL_USER_VIEWER])
@pytest.mark.parametrize("path", ["/admin/", *LISTS])
def test_nobody_else_gets_in(path: str, role: Role) -> None:
    response = browser_of(role).get(path)
    assert (response.status_code, response.headers["Location"]) == (302, f"/admin/login/?next={path}")


@pytest.mark.parametrize("path", LISTS)
def test_who_is_staff_by_mistake_sees_nothing(path: str) -> None:
    assert browser_of(Role.INTERNAL_USER, is_staff=True).get(path).status_code == 403
