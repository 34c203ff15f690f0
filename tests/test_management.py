"""From a key's making over a call to what the API says of it, with the real counter store and the real ledger."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
import redis
from django.conf import LazySettings

from budgets.gate.store import names, sync_gate
from budgets.gate.windows import ActiveWindow, Amounts, active_windows
from budgets.rules.admission import Status
from budgets.rules.calls import new_call_id
from budgets.rules.scopes import KeyProfile
from budgets.rules.settlement import Entry, postings_of
from budgets.services import ms_of
from budgets.usage import query_of, read_spends
from keys.profiles import load_profile
from ledger.models import Entry as PostedEntry
from ledger.posting import post_entries
from tests.api import Api, stop_clock

# Every call in a transaction of its own: whether a snapshot saw a posting is decided by its transaction.
pytestmark = pytest.mark.django_db(transaction=True)
# In the future, because the store drops counters some hours after their windows ended by its own clock.
NOW = datetime(2040, 11, 26, 13, 6, 59, 126000, tzinfo=UTC)
WINDOWS = [{"budget_duration": "1h", "max_budget": 10.0}, {"budget_duration": "30d", "max_budget": 500.0}]
ESTIMATE = Amounts(usd=500_000, tokens=1000)
COST = 220_000


@pytest.fixture
def api(valkey: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> Api:
    stop_clock(monkeypatch, at=NOW)
    return Api()


def profile_of(token: str) -> KeyProfile:
    profile = load_profile(token, now=NOW)
    assert profile is not None
    return profile


def admit(profile: KeyProfile, *, now: datetime = NOW) -> tuple[str, int, tuple[ActiveWindow, ...]]:
    """Makes the windows known from the ledger, then holds the estimate: id, birth mark and windows."""
    windows = active_windows(profile.scopes, names=names(), root=profile.root, now_ms=ms_of(now))
    claims = [window.claim(ESTIMATE) for window in windows]
    for claim in claims:
        sync_gate().forget(claim.counter, since_ms=claim.since_ms)
    reading = read_spends([query_of(window) for window in windows])
    for claim, spent in zip(claims, reading.sums, strict=True):
        sync_gate().seed(claim, spent=spent, snapshot=reading.snapshot)
    call_id = new_call_id(ms_of(now))
    admission = sync_gate().admit(profile.root, call_id=call_id, record=b"{}", claims=claims, now_ms=ms_of(now))
    assert admission.status is Status.ADMITTED
    return call_id, admission.birth_ms, windows


def finish(profile: KeyProfile, call: tuple[str, int, tuple[ActiveWindow, ...]], *, now: datetime = NOW) -> None:
    """Posts the entry, then settles."""
    call_id, birth_ms, windows = call
    entry = Entry(
        id=call_id,
        kind="call",
        finished_ms=ms_of(now),
        key_id=profile.key_id,
        team_id=profile.team_id,
        user_id=None,
        customer_id=None,
        run_id=None,
        tags=(),
        model="gpt-4o",
        provider="openai",
        upstream_model="gpt-4o",
        input_tokens=10,
        output_tokens=20,
        cache_read_tokens=0,
        cache_write_tokens=0,
        reasoning_tokens=0,
        cost_nanousd=COST,
        hold_nanousd=ESTIMATE.usd,
        price_source="test",
        is_estimated=False,
        is_unpriced=False,
        is_streamed=False,
        http_status=200,
        first_byte_ms=None,
    )
    posted = post_entries([entry])[call_id]
    postings = postings_of(tuple(window.held(ESTIMATE) for window in windows), cost_nanousd=COST, tokens=30)
    sync_gate().settle(
        profile.root,
        call_id=call_id,
        postings=postings,
        birth_ms=birth_ms,
        transaction=posted.transaction,
        now_ms=ms_of(now),
    )


def spends(info: dict[str, dict[str, dict[str, Decimal]]]) -> dict[str, tuple[Decimal, Decimal]]:
    """Spent and held by window."""
    return {name: (usage["current_spend"], usage["held"]) for name, usage in info["budget_limits_usage"].items()}


def test_a_call_is_seen_as_a_hold_and_then_as_its_cost_in_every_window_of_key_and_team(api: Api) -> None:
    api.post("/team/new", team_id="t1", budget_limits=WINDOWS)
    made = api.post("/key/generate", team_id="t1", budget_limits=WINDOWS)
    profile = profile_of(made["token"])
    call = admit(profile)
    held = (Decimal("0.0"), Decimal("0.0005"))
    assert spends(api.get("/key/info", key=made["key"])["info"]) == {"1h": held, "30d": held}
    finish(profile, call)
    settled = (Decimal("0.00022"), Decimal("0.0"))
    info = api.get("/key/info", key=made["key"])["info"]
    assert spends(info) == {"1h": settled, "30d": settled}
    assert (info["spend"], info["total_spend"]) == (Decimal("0.00022"), Decimal("0.00022"))
    team = api.get("/team/info", team_id="t1")
    assert spends(team["team_info"]) == {"1h": settled, "30d": settled}
    assert team["keys"][0]["spend"] == team["team_info"]["spend"] == Decimal("0.00022")


def test_a_window_that_reset_is_empty_and_the_other_one_keeps_its_count(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = api.post("/key/generate", budget_limits=WINDOWS)
    profile = profile_of(made["token"])
    finish(profile, admit(profile))
    stop_clock(monkeypatch, at=NOW + timedelta(hours=1))
    info = api.get("/key/info", key=made["key"])["info"]
    assert {name: spent for name, (spent, _) in spends(info).items()} == {
        "1h": Decimal("0.0"),
        "30d": Decimal("0.00022"),
    }


def test_a_limit_that_is_added_later_counts_what_its_period_has_spent(api: Api) -> None:
    made = api.post("/key/generate")
    profile = profile_of(made["token"])
    finish(profile, admit(profile))
    api.post("/key/update", key=made["key"], budget_limits=WINDOWS)
    info = api.get("/key/info", key=made["key"])["info"]
    assert {spent for spent, _ in spends(info).values()} == {Decimal("0.00022")}


def test_the_limits_of_a_model_show_what_its_calls_have_spent_by_any_name_of_it(
    api: Api, settings: LazySettings
) -> None:
    settings.PROVIDERS = settings.PROVIDERS | {"openai": {"api_key": "sk-x", "base_url": "http://127.0.0.1:1"}}
    models = {"openai/gpt-4o": 5, "fast": {"max_budget": 1, "budget_duration": "1d"}, "o3": {"rpm_limit": 1}}
    api.post("/team/new", team_id="t1", model_max_budget={"gpt-4o": 7})
    made = api.post("/key/generate", team_id="t1", aliases={"fast": "gpt-4o"}, model_max_budget=models)
    profile = profile_of(made["token"])
    finish(profile, admit(profile))
    usage = api.get("/key/info", key=made["key"])["info"]["model_max_budget_usage"]
    spent = {name: [each["current_spend"] for each in windows.values()] for name, windows in usage.items()}
    assert spent == {"openai/gpt-4o": [Decimal("0.00022")], "fast": [Decimal("0.00022")], "o3": [0]}
    team = api.get("/team/info", team_id="t1")["team_info"]
    assert [each["current_spend"] for each in team["model_max_budget_usage"]["gpt-4o"].values()] == [Decimal("0.00022")]


def test_a_key_that_leaves_its_team_and_comes_back_has_spent_everything_it_spent(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.post("/team/new", team_id="t1")
    made = api.post("/key/generate", team_id="t1", budget_limits=WINDOWS, max_budget=1000)
    for minutes, team_id in enumerate(["t1", None, "t1"]):
        now = NOW + timedelta(minutes=minutes)
        stop_clock(monkeypatch, at=now)
        api.post("/key/update", key=made["key"], team_id=team_id)
        profile = profile_of(made["token"])
        finish(profile, admit(profile, now=now), now=now)
    info = api.get("/key/info", key=made["key"])["info"]
    assert {spent for spent, _ in spends(info).values()} == {Decimal("0.00066")}
    assert info["spend"] == Decimal("0.00066")


def test_a_key_that_is_deleted_while_a_call_is_open_still_settles_and_counts_for_its_team(api: Api) -> None:
    api.post("/team/new", team_id="t1", budget_limits=WINDOWS)
    made = api.post("/key/generate", team_id="t1", budget_limits=WINDOWS)
    profile = profile_of(made["token"])
    call = admit(profile)
    api.post("/key/delete", keys=[made["key"]])
    assert load_profile(made["token"], now=NOW) is None
    finish(profile, call)
    settled = (Decimal("0.00022"), Decimal("0.0"))
    assert spends(api.get("/team/info", team_id="t1")["team_info"]) == {"1h": settled, "30d": settled}
    assert PostedEntry.objects.get().key_id == UUID(made["id"])
    assert api.get("/key/info", key=made["key"])["info"]["status"] == "deleted"


def test_a_rotated_key_goes_on_counting_where_it_was_also_for_calls_that_are_open(api: Api) -> None:
    made = api.post("/key/generate", budget_limits=WINDOWS)
    profile = profile_of(made["token"])
    call = admit(profile)
    rotated = api.post(f"/key/{made['key']}/regenerate", grace_period="1h")
    finish(profile, call)
    after = profile_of(rotated["token"])
    assert (after.key_id, after.root) == (profile.key_id, profile.root)
    finish(after, admit(after))
    info = api.get("/key/info", key=rotated["key"])["info"]
    assert spends(info) == {name: (Decimal("0.00044"), Decimal("0.0")) for name in ("1h", "30d")}
    assert info["spend"] == Decimal("0.00044")
