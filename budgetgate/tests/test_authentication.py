"""Whom a request comes from: the master key, virtual keys good and bad, and sessions."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from django.conf import LazySettings
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries
from rest_framework.request import Request
from rest_framework.test import APIRequestFactory

from budgetgate.authentication import KeyAuthentication, SessionAuthentication
from budgets.actors import Actor, Role
from keys.models import Key
from keys.parsing import hash_key
from keys.services import create_key
from teams.models import Member, Team, User
from teams.services import create_team
from tests.api import NOW, Api, error_of, use_told_ledger
from tests.services import MASTER_KEY

pytestmark = pytest.mark.django_db
TEXT = "sk-the-key-of-this-test"


@pytest.fixture(autouse=True)
def _surroundings(valkey: redis.Redis, settings: LazySettings) -> None:
    use_told_ledger(settings)


def make_key(**changes: object) -> Key:
    """A key of that text; the changes are written past the services."""
    key = create_key({"key_alias": "k1"}, text=TEXT, now=NOW).key
    Key.objects.filter(id=key.id).update(**changes)
    return key


def make_user(name: str, *, role: Role = Role.INTERNAL_USER, **fields: Any) -> User:
    return User.objects.create_user(name, role=role, **fields)


def join(user: User, team_id: str, *, role: str = "user") -> Team:
    team = create_team({}, team_id=team_id, now=NOW)
    Member.objects.create(team=team, user=user, role=role, created_at=NOW)
    return team


def actor(key: str = TEXT, **headers: str) -> Actor:
    """What a view sees of a caller with that key."""
    request = APIRequestFactory().get("/key/info", headers={"Authorization": f"Bearer {key}", **headers})
    found = KeyAuthentication().authenticate(Request(request))
    assert found is not None
    return found[0]


def refused(key: str = TEXT) -> dict[str, Any]:
    return error_of(Api(key).send("/key/info", "", method="GET"), status=401)


def test_the_master_key_is_an_admin_at_an_address() -> None:
    assert actor(MASTER_KEY) == Actor("master key", Role.PROXY_ADMIN, address="127.0.0.1")


def test_a_key_without_a_user_is_itself_in_its_team() -> None:
    team = create_team({}, team_id="t1", now=NOW)
    key = make_key(team=team)
    assert actor() == Actor("key k1", Role.KEY, key_id=str(key.id), team_id="t1", address="127.0.0.1")


def test_a_key_of_a_user_acts_as_the_user_with_his_teams(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    user = make_user("alice")
    key = make_key(user=user, team=join(user, "t1"))
    join(user, "t2", role="admin")
    with django_assert_num_queries(2):
        seen = actor()
    assert (seen.name, seen.role, seen.user_id) == ("alice", Role.INTERNAL_USER, "alice")
    assert (seen.key_id, seen.team_id) == (str(key.id), "t1")
    assert (seen.teams, seen.admin_of) == (frozenset({"t1", "t2"}), frozenset({"t2"}))


def test_a_key_has_the_role_of_its_user_and_not_his_rights_in_the_admin() -> None:
    make_key(user=make_user("root", role=Role.PROXY_ADMIN_VIEWER, is_superuser=True))
    assert actor().role is Role.PROXY_ADMIN_VIEWER


@pytest.mark.parametrize("text", [TEXT, "sk-the-old-text-of-it"])
def test_both_texts_of_a_rotated_key_work_until_the_old_one_ends(text: str) -> None:
    later = timezone.now() + timedelta(minutes=1)
    key = make_key(previous_token_hash=hash_key("sk-the-old-text-of-it"), previous_until=later)
    assert actor(text).key_id == str(key.id)


def test_the_old_text_of_a_key_is_unknown_after_its_time() -> None:
    make_key(previous_token_hash=hash_key("sk-the-old-text-of-it"), previous_until=timezone.now())
    assert refused("sk-the-old-text-of-it")["type"] == "token_not_found_in_db"


@pytest.mark.parametrize("hashed", [hash_key(TEXT), hash_key("sk-the-old-text-of-it")])
def test_a_hash_is_no_key(hashed: str) -> None:
    later = timezone.now() + timedelta(minutes=1)
    make_key(previous_token_hash=hash_key("sk-the-old-text-of-it"), previous_until=later)
    assert refused(hashed)["type"] == "token_not_found_in_db"


def test_a_blocked_key_is_refused() -> None:
    make_key(blocked=True)
    error = refused()
    assert error["message"].startswith("Authentication Error, Key is blocked.")
    assert (error["type"], error["param"]) == ("auth_error", "key")


def test_a_key_of_a_blocked_team_is_refused() -> None:
    make_key(team=create_team({"blocked": True}, team_id="t1", now=NOW))
    error = refused()
    assert error["message"].startswith("Authentication Error, Team=t1 is blocked.")
    assert (error["type"], error["param"]) == ("auth_error", "team_id")


def test_a_key_of_an_inactive_user_is_refused_even_an_admins() -> None:
    make_key(user=make_user("alice", role=Role.PROXY_ADMIN, is_active=False))
    error = refused()
    assert error["message"].startswith("Authentication Error, User=alice is not active.")
    assert (error["type"], error["param"]) == ("auth_error", "user_id")


def test_an_expired_key_is_refused() -> None:
    make_key(expires_at=datetime(2025, 10, 19, 13, 6, 59, tzinfo=UTC))
    error = refused()
    assert error["message"] == "Authentication Error - Expired Key. Key Expiry time 2025-10-19T13:06:59Z."
    assert (error["type"], error["param"]) == ("expired_key", "key")


@pytest.mark.parametrize("role", [Role.PROXY_ADMIN, Role.INTERNAL_USER])
def test_a_key_calls_no_route_that_its_list_does_not_have(role: Role) -> None:
    make_key(user=make_user("alice", role=role), allowed_routes=["llm_api_routes"])
    error = error_of(Api(TEXT).send("/key/info", "", method="GET"), status=403)
    assert error["message"] == (
        "Virtual key is not allowed to call this route. Only allowed to call routes: ['llm_api_routes']. "
        "Tried to call route: /key/info"
    )
    assert error["type"] == "permission_denied"


def test_a_key_calls_the_routes_of_its_list() -> None:
    make_key(user=make_user("alice", role=Role.PROXY_ADMIN), allowed_routes=["info_routes"])
    assert Api(TEXT).get("/key/info", key=TEXT)["key"] == TEXT
    assert Api(TEXT).send("/key/generate", {}).status_code == 403


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("alice", "alice (by master key)"),
        ("  a\x07li\x1bce ", "alice (by master key)"),
        ("x" * 500, f"{'x' * 128} (by master key)"),
        (" ", "master key"),
    ],
)
def test_an_admin_says_for_whom_he_acts(said: str, name: str) -> None:
    assert actor(MASTER_KEY, **{"litellm-changed-by": said}).name == name


def test_nobody_else_says_for_whom_he_acts_and_the_longest_name_fits() -> None:
    key = make_key(user=make_user("alice"))
    assert actor(**{"litellm-changed-by": "bob"}).name == "alice"
    Key.objects.filter(id=key.id).update(user=make_user("r" * 128, role=Role.PROXY_ADMIN))
    assert len(actor(**{"litellm-changed-by": "x" * 500}).name) == 255


# --- sessions -------------------------------------------------------------------------------------


@pytest.fixture
def browser() -> Client:
    return Client(enforce_csrf_checks=True)


def generate(browser: Client, **headers: str) -> Any:
    return browser.post("/key/generate", data="{}", content_type="application/json", headers=headers)


def test_a_session_acts_as_its_user(browser: Client) -> None:
    user = make_user("alice", role=Role.PROXY_ADMIN)
    join(user, "t1")
    browser.force_login(user)
    key = make_key()
    assert browser.get("/key/info", {"key": key.token_hash}).status_code == 200


def test_a_session_of_a_superuser_is_an_admin() -> None:
    request = Request(APIRequestFactory().get("/"))
    request._request.user = make_user("root", is_superuser=True)
    found = SessionAuthentication().authenticate(request)
    assert found is not None
    assert (found[0].role, found[0].user_id) == (Role.PROXY_ADMIN, "root")


def test_a_session_writes_only_with_the_token_of_its_page(browser: Client) -> None:
    browser.force_login(make_user("root", is_superuser=True))
    error = error_of(generate(browser), status=403)
    assert error["message"].startswith("CSRF Failed")
    browser.cookies["csrftoken"] = "a" * 32
    assert generate(browser, **{"X-CSRFToken": "b" * 32}).status_code == 403
    assert not Key.objects.exists()
    assert generate(browser, **{"X-CSRFToken": "a" * 32}).status_code == 200


def test_a_key_needs_no_token_and_comes_before_a_session(browser: Client) -> None:
    browser.force_login(make_user("alice"))
    assert generate(browser, Authorization=f"Bearer {MASTER_KEY}").status_code == 200
    response = generate(browser, Authorization="Bearer sk-wrong")
    assert error_of(response, status=401)["type"] == "token_not_found_in_db"


def test_a_session_of_somebody_who_is_not_active_any_more_is_nobody(browser: Client) -> None:
    user = make_user("root", is_superuser=True)
    browser.force_login(user)
    User.objects.filter(username="root").update(is_active=False)
    error = error_of(browser.get("/key/info"), status=401)
    assert error["message"] == "Authentication Error, No api key passed in."
