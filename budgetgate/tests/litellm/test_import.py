"""What an import makes of the tables of LiteLLM."""

from datetime import UTC, datetime, timedelta

import pytest

from budgetgate.litellm import writer
from budgetgate.litellm.planned import Spent
from budgetgate.tests.litellm.conftest import Import
from budgetgate.tests.litellm.source import LiteLLM, hash_of
from budgets.grants import TEMPORARY
from budgets.models import Budget, Change, Grant
from budgets.services import limit_set
from keys.models import DeletedKey, Key
from keys.profiles import load_profile
from teams.models import Customer, Member, Tag, Team, User
from tests.api import NOW

TEXT = "sk-the-key-of-a-client-1234"
OWN = "0b2ee1b5-5f3e-4a9e-8a51-0f6b4e5c2d11"
OTHER = "1c3ff2c6-6a4f-4bae-9b62-1a7c5f6d3e22"
DOLLAR = 10**9


def test_a_client_keeps_its_key(litellm: LiteLLM, import_all: Import) -> None:
    litellm.key(TEXT, key_alias="ci", models=["gpt-4o"], max_budget=10.5, budget_duration="30d", rpm_limit=60)
    import_all()
    profile = load_profile(hash_of(TEXT), now=NOW)
    assert profile is not None
    assert (profile.alias, profile.models, profile.blocked) == ("ci", frozenset({"gpt-4o"}), False)
    assert [(each.limit.identity, each.limit.maximum) for each in profile.scopes[0].limits] == [
        ("usd/1mo", 10_500_000_000),
        ("requests/1m", 60),
        ("usd/lifetime", None),
    ]
    assert TEXT not in str(Key.objects.values())


def test_every_field_of_a_key_has_its_place(litellm: LiteLLM, import_all: Import) -> None:
    litellm.add("TeamTable", team_id="t1", team_alias="T1")
    litellm.add("UserTable", user_id="u1")
    token = litellm.key(
        TEXT,
        key_alias="ci",
        team_id="t1",
        user_id="u1",
        models=["all-team-models"],
        aliases={"fast": "gpt-4o-mini"},
        metadata={"owner": "x", "tags": ["prod"], "model_rpm_limit": {"gpt-4o": 5}},
        permissions={"allow_x": True},
        blocked=True,
        expires="2020-01-02 03:04:05",
        allowed_routes=["llm_api_routes"],
        key_type="llm_api",
        tpd_limit=7,
        max_parallel_requests=3,
        budget_limits=[{"budget_duration": "1h", "max_budget": 1.5, "reset_at": "x"}],
        model_max_budget={"gpt-4o": {"budget_limit": 2, "time_period": "1d"}, "o1": 3},
        rotation_count=2,
        last_rotation_at="2026-01-01",
        created_at="2025-01-01",
        created_by="admin",
        updated_at=None,
    )
    lines = import_all()
    key = Key.objects.get(token_hash=token)
    assert (key.team_id, key.user_id, key.key_name, key.key_type) == ("t1", "u1", "sk-...1234", "llm_api")
    assert (key.allowed_models, key.model_aliases) == ([], {"fast": "gpt-4o-mini"})
    assert (key.tags, key.metadata, key.noted) == (["prod"], {"owner": "x"}, {"permissions": {"allow_x": True}})
    assert (key.blocked, key.expires_at) == (True, datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC))
    assert (key.allowed_routes, key.tpd_limit, key.max_parallel_requests) == (["llm_api_routes"], 7, 3)
    assert [(limit.identity, limit.maximum) for limit in limit_set(key).limits] == [("usd/1h", 1_500_000_000)]
    assert key.model_max_budget == {
        "gpt-4o": {"max_budget": "2.0", "budget_duration": "1d"},
        "o1": {"max_budget": "3.0"},
    }
    assert (key.model_rpm_limit, key.rotation_count) == ({"gpt-4o": 5}, 2)
    assert key.rotated_at == datetime(2026, 1, 1, tzinfo=UTC)
    assert (key.created_at, key.updated_at, key.created_by) == (
        datetime(2025, 1, 1, tzinfo=UTC),
        datetime(2025, 1, 1, tzinfo=UTC),
        "admin",
    )
    assert (
        f'key ci ({token[:8]}): permissions = {{"allow_x": true}}: noted; there are no such permissions here' in lines
    )


def test_budgets_of_their_own_become_limits_and_named_ones_tiers(litellm: LiteLLM, import_all: Import) -> None:
    litellm.add("BudgetTable", budget_id=OWN, soft_budget=4.0)
    litellm.add("BudgetTable", budget_id=OTHER, max_budget=9.0, budget_duration="1d")
    litellm.add("BudgetTable", budget_id="gold", max_budget=5.0, budget_duration="7d", tpm_limit=100)
    own = litellm.key("sk-own-own-own-own", budget_id=OWN, max_budget=10.0)
    first = litellm.key("sk-first-first-first", budget_id=OTHER)
    litellm.add("EndUserTable", user_id="c1", budget_id=OTHER)
    gold = litellm.key("sk-gold-gold-gold-gold", budget_id="gold", max_budget=2.0)
    import_all()
    assert set(Budget.objects.values_list("pk", flat=True)) == {"gold", OTHER}
    assert Key.objects.get(token_hash=own).soft_budget_nanousd == 4 * DOLLAR
    assert Key.objects.get(token_hash=own).budget_id is None
    assert Key.objects.get(token_hash=first).budget_id == OTHER
    assert Customer.objects.get().budget_id == OTHER
    key = Key.objects.get(token_hash=gold)  # its own amount, over the period of the tier
    assert (key.budget_id, key.max_budget_nanousd, key.budget_duration) == ("gold", 2 * DOLLAR, "7d")


def test_teams_come_with_their_members(
    litellm: LiteLLM, import_all: Import, spends: dict[tuple[str, str], Spent]
) -> None:
    litellm.add("BudgetTable", budget_id="default", max_budget=1.0)
    litellm.add("BudgetTable", budget_id=OWN, max_budget=3.0, budget_duration="1d", allowed_models=["o1"])
    litellm.add("ModelTable", id=7, aliases='{"fast": "gpt-4o-mini"}')
    for user_id in ("u1", "u2", "u3"):
        litellm.add("UserTable", user_id=user_id, user_email=f"{user_id}@Example.org", password="scrypt:x")
    litellm.add(
        "TeamTable",
        team_id="t1",
        team_alias="T1",
        models=["all-proxy-models"],
        blocked=True,
        max_budget=100.0,
        soft_budget=50.0,
        budget_limits='[{"budget_duration": "1h", "max_budget": 10}]',
        metadata={"team_member_budget_id": "default", "tags": ["x"], "a": 1},
        model_id=7,
        members_with_roles=[
            {"role": "admin", "user_id": "u1"},
            {"role": "user", "user_id": "u2"},
            {"role": "user", "user_id": None, "user_email": "U3@example.org"},
            {"role": "user", "user_id": None, "user_email": "nobody@example.org"},
            {"role": "user", "user_id": "ghost"},
        ],
    )
    litellm.add("TeamMembership", team_id="t1", user_id="u1", budget_id="default", spend=0.5, total_spend=2.0)
    litellm.add("TeamMembership", team_id="t1", user_id="u2", budget_id=OWN, spend=0.25, total_spend=2.5)
    lines = import_all()
    team = Team.objects.get()
    assert (team.blocked, team.allowed_models, team.model_aliases) == (True, [], {"fast": "gpt-4o-mini"})
    assert (team.member_budget_id, team.tags, team.metadata) == ("default", ["x"], {"a": 1})
    assert (team.max_budget_nanousd, team.soft_budget_nanousd) == (100 * DOLLAR, 50 * DOLLAR)
    assert [limit.identity for limit in limit_set(team).limits] == ["usd/1h"]
    members = {member.user_id: member for member in Member.objects.all()}
    assert {user_id: member.role for user_id, member in members.items()} == {
        "u1": "admin",
        "u2": "user",
        "u3": "user",
        "ghost": "user",
    }
    assert (members["u1"].budget_id, members["u1"].max_budget_nanousd) == (None, None)  # the team's, as all have
    assert (members["u2"].budget_id, members["u2"].max_budget_nanousd) == (None, 3 * DOLLAR)
    assert (members["u2"].budget_duration, members["u2"].allowed_models) == ("1d", ["o1"])
    assert spends == {
        ("member", "u1/t1"): Spent(2 * DOLLAR),
        ("member", "u2/t1"): Spent(2_500_000_000, {"usd/1d": 250_000_000}),
    }
    assert not User.objects.get(pk="u1").has_usable_password()
    assert any(line.startswith("user ghost: user_id = ghost: made without limits") for line in lines)
    assert any(line.startswith("member nobody@example.org in t1: not brought") for line in lines)


def test_users_customers_and_tags(litellm: LiteLLM, import_all: Import) -> None:
    litellm.add("BudgetTable", budget_id=OWN, max_budget=2.0)
    litellm.add("UserTable", user_id="u1", user_role="proxy_admin", user_alias="Ann", max_budget=5.0, sso_user_id="s")
    litellm.add("UserTable", user_id="github|2", user_role="org_admin", models=["m"], metadata={"a": [1]})
    litellm.add("UserTable", user_id="auth0/7", user_email="x@x.org")
    litellm.add("EndUserTable", user_id="c1", alias="C", blocked=True, default_model="o1", budget_id=OWN)
    litellm.add("EndUserTable", user_id="c2", allowed_model_region="eu", budget_id="gone")
    litellm.add("EndUserTable", user_id="{c}")
    litellm.add("TagTable", tag_name="prod", description="D", models=["o1"])
    lines = import_all()
    second, first = User.objects.order_by("pk")
    assert (first.role, first.user_alias, first.max_budget_nanousd, first.sso_user_id) == (
        "proxy_admin",
        "Ann",
        5 * DOLLAR,
        "s",
    )
    assert (second.role, second.allowed_models, second.metadata) == ("internal_user", ["m"], {"a": [1]})
    customer = Customer.objects.get(pk="c1")
    assert (customer.alias, customer.blocked, customer.default_model, customer.max_budget_nanousd) == (
        "C",
        True,
        "o1",
        2 * DOLLAR,
    )
    assert Tag.objects.get().allowed_models == ["o1"]
    assert "user github|2: user_role = org_admin: internal_user instead: there is no such role here" in lines
    assert any(line.startswith("user auth0/7: not brought: user_id: allowed are") for line in lines)
    assert any(line.startswith("customer {c}: not brought: user_id: allowed are") for line in lines)
    assert "customer c2: budget_id = gone: not brought: LiteLLM has no such budget" in lines
    assert any(line.startswith("customer c2: allowed_model_region = eu: noted") for line in lines)


def test_spends_are_those_of_the_open_windows(
    litellm: LiteLLM, import_all: Import, spends: dict[tuple[str, str], Spent]
) -> None:
    hour, month = {"budget_duration": "1h", "max_budget": 10}, {"budget_duration": "30d", "max_budget": 500}
    token = litellm.key(
        TEXT,
        spend=3.1,
        total_spend=70.00000000049,
        max_budget=20.0,
        budget_duration="1d",
        budget_reset_at="2037-11-24",
        budget_limits=[hour, month],
    )
    late = litellm.key(
        "sk-late-late-late-late",
        spend=5.0,
        max_budget=1.0,
        budget_duration="1h",
        budget_reset_at="2037-11-23",
    )
    for duration, started_at, spend in (
        ("1h", NOW - timedelta(minutes=7), 0.1 + 0.2),
        ("30d", NOW - timedelta(days=23), 12.5),
    ):
        litellm.add(
            "BudgetWindowSpend",
            entity_type="key",
            entity_id=token,
            window_duration=duration,
            window_start=started_at.replace(tzinfo=None),
            spend=spend,
        )
    stale = {"window_duration": "1h", "window_start": "2037-11-22", "spend": 99.0}
    litellm.add("BudgetWindowSpend", entity_type="team", entity_id="t1", **stale)
    litellm.add("TeamTable", team_id="t1", spend=4.0, budget_limits=[hour])
    import_all()
    ids = {key.token_hash: str(key.id) for key in Key.objects.all()}
    assert spends == {
        ("team", "t1"): Spent(4 * DOLLAR),
        ("key", ids[late]): Spent(5 * DOLLAR),
        ("key", ids[token]): Spent(
            70 * DOLLAR, {"usd/1d": 3_100_000_000, "usd/1h": 300_000_000, "usd/1mo": 12_500_000_000}
        ),
    }


def test_a_dry_run_says_the_same_and_writes_nothing(litellm: LiteLLM, import_all: Import) -> None:
    litellm.add("BudgetTable", budget_id="gold", max_budget=5.0)
    litellm.add("TeamTable", team_id="t1", members_with_roles=[{"role": "admin", "user_id": "u1"}])
    litellm.key(TEXT, team_id="t1", budget_id="gold", organization_id="o1")
    dry = import_all("--dry-run", "--verbose")
    made = (Budget, User, Team, Member, Key, Change)
    assert [model.objects.count() for model in made] == [0] * 6
    assert dry.pop() == "nothing was written: this was a dry run"
    assert import_all("--verbose") == dry
    assert "team t1: created" in dry


def test_a_second_run_changes_nothing(
    litellm: LiteLLM, import_all: Import, spends: dict[tuple[str, str], Spent]
) -> None:
    litellm.add("BudgetTable", budget_id="gold", max_budget=0.1, model_max_budget={"o1": {"max_budget": 1}})
    litellm.add("UserTable", user_id="u1", spend=1.0, max_budget=5.0, budget_duration="1d")
    litellm.add("TeamTable", team_id="t1", admins=["u1"], budget_limits=[{"budget_duration": "xx", "max_budget": 1}])
    litellm.add("EndUserTable", user_id="c1", budget_id="gold")
    litellm.add("TagTable", tag_name="prod")
    litellm.key(TEXT, team_id="t1", user_id="u1", metadata={"a": 1.5}, expires="2038-01-01", key_alias="k")
    litellm.key("sk-twin-twin-twin-twin", team_id="t1", key_alias="k")
    import_all()
    before = [list(model.objects.values()) for model in (Budget, User, Team, Member, Customer, Tag, Key, Change)]
    spends.clear()
    lines = import_all("--update")
    after = [list(model.objects.values()) for model in (Budget, User, Team, Member, Customer, Tag, Key, Change)]
    assert (before, spends) == (after, {})
    counts = [line.split() for line in lines if line.split()[:1] == ["key"] and len(line.split()) == 6]
    assert counts == [["key", "0", "0", "2", "0", "0"]]


def test_what_differs_is_left_alone_unless_it_shall_be_updated(litellm: LiteLLM, import_all: Import) -> None:
    litellm.key(TEXT, max_budget=5.0, key_alias="ci")
    import_all()
    Key.objects.update(max_budget_nanousd=7 * DOLLAR, blocked=True)
    lines = import_all()
    assert any(
        "left alone: blocked is True here, False there; max_budget is '7.0' here, '5.0' there" in line for line in lines
    )
    assert Key.objects.get().max_budget_nanousd == 7 * DOLLAR
    import_all("--update")
    key = Key.objects.get()
    assert (key.max_budget_nanousd, key.blocked) == (5 * DOLLAR, False)
    change = Change.objects.latest("id")
    assert (change.before, change.after) == (
        {"blocked": True, "max_budget": "7.0"},
        {"blocked": False, "max_budget": "5.0"},
    )


def test_bad_rows_keep_no_others_back(litellm: LiteLLM, import_all: Import) -> None:
    litellm.add("UserTable", user_id="u1", user_email="a@x.org")
    litellm.add("UserTable", user_id="u2", user_email="A@X.org")
    litellm.add("TeamTable", team_id="a b")
    litellm.key("sk-a-a-a-a-a-a-a-a", team_id="a b", metadata='"text"', aliases=[1], max_budget=float("nan"))
    litellm.key("sk-b-b-b-b-b-b-b-b", user_id="a/b", max_budget=-1.0, model_max_budget={"*": {"max_budget": 1}})
    litellm.add("VerificationToken", token="sk-plain-plain-plain")
    litellm.key("sk-page-page-page-page", team_id="litellm-dashboard")
    litellm.add("ProxyModelTable", model_id="m1", model_name="gpt-4o")
    lines = import_all()
    assert Key.objects.count() == 3
    assert Key.objects.get(token_hash=hash_of("sk-a-a-a-a-a-a-a-a")).blocked
    assert Key.objects.get(token_hash=hash_of("sk-b-b-b-b-b-b-b-b")).max_budget_nanousd == 0
    assert Key.objects.get(token_hash=hash_of("sk-plain-plain-plain")).key_name == "sk-..."
    assert User.objects.get(pk="u2").email == ""
    text = "\n".join(lines)
    assert "sk-plain" not in text
    for said in (
        "user u2: user_email = a@x.org: no email: u1 has it",
        "team a b: not brought: team_id: allowed are",
        "team_id = a b: no team, and blocked",
        "user_id = a/b: no user, whose limits do not hold for it",
        "max_budget = NaN: not brought",
        "max_budget = -1.0: 0 instead",
        "model_max_budget.* = ",
        "sessions of LiteLLM's pages, which it stores as keys: 1 not brought",
        "LiteLLM_ProxyModelTable: 1 not brought: models, whose parameters are encrypted; --config brings",
    ):
        assert said in text, said


def test_an_older_version_with_fewer_tables_and_columns_is_read_too(litellm: LiteLLM, import_all: Import) -> None:
    litellm.run(
        'DROP TABLE "LiteLLM_BudgetWindowSpend", "LiteLLM_DeprecatedVerificationToken", "LiteLLM_TagTable";'
        'ALTER TABLE "LiteLLM_VerificationToken" DROP COLUMN budget_limits, DROP COLUMN total_spend'
    )
    litellm.key(TEXT)
    assert any("budget_limits begin at 0" in line for line in import_all())
    assert Key.objects.count() == 1


def test_the_text_before_a_rotation_goes_on_working_as_long_as_there(litellm: LiteLLM, import_all: Import) -> None:
    token = litellm.key(TEXT)
    until = NOW.replace(tzinfo=None) + timedelta(days=1)
    litellm.add("DeprecatedVerificationToken", id="d1", token=hash_of("sk-old"), active_token_id=token, revoke_at=until)
    import_all()
    assert load_profile(hash_of("sk-old"), now=NOW) is not None
    assert DeletedKey.objects.count() == 0


def test_a_temporary_increase_that_still_runs_becomes_a_grant(litellm: LiteLLM, import_all: Import) -> None:
    running = {"temp_budget_increase": 2.5, "temp_budget_expiry": "2037-12-01T00:00:00Z", "a": 1}
    over = {"temp_budget_increase": 2, "temp_budget_expiry": "2037-11-23T13:06:59"}
    token = litellm.key("sk-raised-raised-1", key_alias="raised", max_budget=10.0, metadata=running)
    litellm.key("sk-over-over-over-1", key_alias="over", max_budget=10.0, metadata=over)
    litellm.key("sk-free-free-free-1", key_alias="free", metadata=running)
    lines = import_all()
    profile = load_profile(token, now=NOW)
    assert profile is not None
    grant = Grant.objects.get()
    key = Key.objects.get(token_hash=token)
    assert (grant.scope_id, grant.amount, grant.name) == (str(key.id), 2_500_000_000, TEMPORARY)
    assert (grant.starts_at, grant.ends_at) == (NOW, datetime(2037, 12, 1, tzinfo=UTC))
    assert [each.amount for each in profile.scopes[0].limits[0].raises] == [2_500_000_000]
    assert key.metadata == {"a": 1}
    change = Change.objects.get(subject_kind="key", subject_id=str(key.id))
    assert change.after["temp_budget_increase"] == "2.5"
    assert any("key over" in line and "it ended at 2037-11-23 13:06:59 UTC" in line for line in lines)
    assert any("key free" in line and "no limit in dollars" in line for line in lines)
    import_all("--update")
    assert Grant.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_gateways_hear_of_everything_that_is_made(
    litellm: LiteLLM, import_all: Import, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str] = []
    monkeypatch.setattr(writer, "publish", lambda *subjects: heard.extend(subjects))
    litellm.add("BudgetTable", budget_id="gold", max_budget=5.0)
    litellm.add("UserTable", user_id="u1")
    litellm.add("TeamTable", team_id="t1", members=["u1"])
    litellm.add("EndUserTable", user_id="c/1")
    litellm.add("TagTable", tag_name="prod")
    token = litellm.key(TEXT, team_id="t1")
    import_all()
    assert heard == ["budget:gold", "user:u1", "team:t1", "team:t1", "customer:c/1", "tag:prod", f"key:{token}"]
    heard.clear()
    import_all()
    assert heard == []
    litellm.run("UPDATE \"LiteLLM_UserTable\" SET user_alias = 'Ann'")
    import_all("--update")
    assert heard == ["user:u1"]
