"""The ledger and the window history in the admin: to see and to find, never to change, whatever their size."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from budgets.actors import SYSTEM
from budgets.admin import BoundedPaginator
from budgets.models import WindowHistory
from ledger.adjustments import set_spend
from ledger.models import Entry
from ledger.owners import owner_of
from ledger.posting import post_entries
from ledger.tests.factories import KEY_ID, NOW, NOW_MS, at, make_entry, posted_entry, saved_team
from teams.models import User

pytestmark = pytest.mark.django_db
ENTRIES = "/admin/ledger/entry/"
HISTORY = "/admin/budgets/windowhistory/"
QueryCount = Callable[[int], AbstractContextManager[object]]


@pytest.fixture(autouse=True)
def collected_static_files(settings: Any, tmp_path: Path) -> None:
    """The middleware that serves them warns when nobody has collected any."""
    settings.STATIC_ROOT = tmp_path


def saved_history(**fields: Any) -> WindowHistory:
    values: dict[str, Any] = {
        "scope_kind": "key",
        "scope_id": KEY_ID,
        "identity": "usd/1h",
        "budget_duration": "1h",
        "unit": "usd",
        "start_at": at("03-06 12:00"),
        "end_at": at("03-06 13:00"),
        "maximum": 10 * 10**9,
        "spent": 1_234_567_000,
        "closed_at": NOW,
        "counter": "c",
        "is_final": True,
    }
    return WindowHistory.objects.create(**values | fields)


def shown(client: Client, address: str, **query: str) -> str:
    response = client.get(address, query)
    assert response.status_code == 200
    return response.content.decode()


def test_entries_are_listed_newest_first_with_their_cost(admin_client: Client) -> None:
    old = posted_entry(at_ms=NOW_MS - 1000, cost_nanousd=2_500_000)
    new = posted_entry(cost_nanousd=1_000_000_000)
    page = shown(admin_client, ENTRIES)
    assert "$0.002500" in page
    assert "$1.000000" in page
    assert page.index(new.id) < page.index(old.id)


def test_entries_are_found_by_call_key_and_team(admin_client: Client) -> None:
    wanted = posted_entry(key_id="33333333-3333-4333-8333-333333333333", team_id="a-team")
    other = posted_entry()
    for text in (wanted.id, wanted.key_id, "a-team"):
        page = shown(admin_client, ENTRIES, q=text)
        assert wanted.id in page
        assert other.id not in page


@pytest.mark.parametrize("text", ["nothing", "no-uuid 123", "' OR 1=1", "x" * 500])
def test_search_that_finds_nothing_is_an_empty_list(admin_client: Client, text: str) -> None:
    entry = posted_entry()
    assert entry.id not in shown(admin_client, ENTRIES, q=text)


def test_entries_can_be_filtered(admin_client: Client) -> None:
    unsettled, call = posted_entry(kind="unsettled"), posted_entry()
    page = shown(admin_client, ENTRIES, kind__exact="unsettled")
    assert unsettled.id in page
    assert call.id not in page


def test_detail_of_an_entry_opens(admin_client: Client) -> None:
    entry = posted_entry(team_id="a-team", upstream_model="the-upstream-model")
    page = shown(admin_client, reverse("admin:ledger_entry_change", args=[entry.id]))
    assert "the-upstream-model" in page
    assert 'name="_save"' not in page


def test_history_is_listed_and_found_and_opens(admin_client: Client) -> None:
    row = saved_history()
    saved_history(scope_id="another-key", unit="requests", identity="requests/1h", spent=1234, maximum=5000)
    page = shown(admin_client, HISTORY)
    for text in ("$1.234567", "$10.000000", "1,234 requests", "5,000 requests"):
        assert text in page
    assert "another-key" not in shown(admin_client, HISTORY, q=KEY_ID)
    assert KEY_ID in shown(admin_client, reverse("admin:budgets_windowhistory_change", args=[row.pk]))


@pytest.mark.parametrize(("address", "name"), [(ENTRIES, "ledger_entry"), (HISTORY, "budgets_windowhistory")])
def test_nobody_can_add_change_or_delete(admin_client: Client, address: str, name: str) -> None:
    pk = posted_entry().id if name == "ledger_entry" else saved_history().pk
    assert admin_client.get(f"{address}add/").status_code == 403
    assert admin_client.post(reverse(f"admin:{name}_change", args=[pk]), {"kind": "call"}).status_code == 403
    assert admin_client.post(reverse(f"admin:{name}_delete", args=[pk]), {"post": "yes"}).status_code == 403
    chosen = {"action": "delete_selected", "_selected_action": [str(pk)], "post": "yes"}
    admin_client.post(address, chosen)
    assert (Entry if name == "ledger_entry" else WindowHistory).objects.count() == 1


@pytest.mark.parametrize("address", [ENTRIES, HISTORY])
def test_strangers_see_nothing(client: Client, address: str) -> None:
    assert client.get(address).status_code == 302
    client.force_login(User.objects.create_user("staff", is_staff=True))
    assert client.get(address).status_code == 403


@pytest.mark.parametrize("address", [ENTRIES, HISTORY])
def test_number_of_questions_does_not_grow_with_the_rows(admin_client: Client, address: str) -> None:
    def questions() -> int:
        with CaptureQueriesContext(connection) as queries:
            shown(admin_client, address)
        return len(queries)

    posted_entry(team_id="a-team")
    saved_history()
    few = questions()
    for index in range(60):
        posted_entry(team_id="a-team")
        saved_history(scope_id=f"key {index}")
    assert questions() == few <= 10


@pytest.mark.parametrize("query", [{}, {"q": KEY_ID}, {"kind__exact": "call"}])
def test_nothing_counts_or_reads_the_whole_ledger(admin_client: Client, query: dict[str, str]) -> None:
    post_entries([make_entry() for _ in range(120)])  # more than a page: Django reads fewer without a bound
    with CaptureQueriesContext(connection) as queries:
        shown(admin_client, ENTRIES, **query)
    of_entries = [one["sql"] for one in queries if "ledger_entry" in one["sql"]]
    assert of_entries
    assert [sql for sql in of_entries if "LIMIT" not in sql] == []


def test_pages_end_with_the_newest_rows(admin_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BoundedPaginator, "ROWS_MAX", 5)
    for index in range(8):
        posted_entry(at_ms=NOW_MS + index)
    paginator = BoundedPaginator(Entry.objects.order_by("-admitted_at"), 2)
    assert (paginator.count, paginator.num_pages) == (5, 3)


def test_adjustments_are_listed_and_nobody_can_change_them(admin_client: Client) -> None:
    owner = owner_of(saved_team(team_id="a-team"))
    set_spend(owner.limits, root=owner.root, to_nanousd=1_500_000, by=SYSTEM, reason="a refund", now=NOW)
    page = shown(admin_client, "/admin/ledger/adjustment/", q="a-team")
    assert "$0.001500" in page
    assert "a refund" in page
    assert admin_client.get("/admin/ledger/adjustment/add/").status_code == 403
