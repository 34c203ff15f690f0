"""The import: reads kind after kind, so that what refers to something comes after it, and writes it batch by batch."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from functools import partial

from django.db import transaction
from django.db.models.functions import Lower

from budgetgate.litellm import kinds, people
from budgetgate.litellm.keys import DASHBOARD_TEAM, key, users_named
from budgetgate.litellm.members import emails_of, members_of
from budgetgate.litellm.planned import Planned
from budgetgate.litellm.reader import NOT_BROUGHT, WINDOWS, Source
from budgetgate.litellm.report import Report
from budgetgate.litellm.values import Row
from budgetgate.litellm.writer import Writer
from keys.models import Key
from teams.models import Team, User

TEAMS_AT_ONCE = 50
KINDS = ("budget", "user", "team", "member", "customer", "tag", "key")


def import_database(source: Source, *, report: Report, update: bool, dry_run: bool, now: datetime) -> None:
    """Brings everything. A dry run does the same in one transaction and takes it back."""
    writer = Writer(report, update=update, now=now)
    if not dry_run:
        _import(source, writer)
    else:
        with transaction.atomic():
            _import(source, writer)
            transaction.set_rollback(True)
    _say_what_is_not_brought(source, report)
    report.summary(KINDS)


def _import(source: Source, writer: Writer) -> None:
    now = writer.now
    for rows in source.budgets():
        writer.write(kinds.BUDGETS, [people.budget(row, now=now) for row in rows])
    for rows in source.users():
        writer.write(kinds.USERS, list(_with_own_emails([people.user(row, now=now) for row in rows])))
    for rows in source.teams():
        writer.write(kinds.TEAMS, [people.team(row, now=now) for row in rows])
        for start in range(0, len(rows), TEAMS_AT_ONCE):
            _write_members(source, writer, rows[start : start + TEAMS_AT_ONCE])
    for rows in source.customers():
        writer.write(kinds.CUSTOMERS, [people.customer(row, now=now) for row in rows])
    for rows in source.tags():
        writer.write(kinds.TAGS, [people.tag(row, now=now) for row in rows])
    for rows in source.virtual_keys():
        _write_keys(writer, rows)


def _write_members(source: Source, writer: Writer, rows: Sequence[Row]) -> None:
    there = set(_existing_teams(row["team_id"] for row in rows))
    rows = [row for row in rows if row["team_id"] in there]
    memberships = source.memberships([row["team_id"] for row in rows])
    emails = User.objects.annotate(lowered=Lower("email")).filter(lowered__in=emails_of(rows))
    by_email = dict(emails.values_list("lowered", "username"))
    plan = partial(members_of, users_by_email=by_email, now=writer.now)
    members = [member for row in rows for member in plan(row, memberships[row["team_id"]])]
    _write_missing_users(writer, {member.columns["user_id"] for member in members if not member.why_not})
    for start in range(0, len(members), 500):
        writer.write(kinds.MEMBERS, members[start : start + 500])


def _write_keys(writer: Writer, rows: Sequence[Row]) -> None:
    wanted = [row for row in rows if row.get("team_id") != DASHBOARD_TEAM]
    if len(wanted) < len(rows):
        writer.report.line(
            f"sessions of LiteLLM's pages, which it stores as keys: {len(rows) - len(wanted)} not brought"
        )
    _write_missing_users(writer, users_named(wanted))
    teams = set(_existing_teams(row["team_id"] for row in wanted if row.get("team_id")))
    planned = [key(row, teams=teams, now=writer.now) for row in wanted]
    writer.write(kinds.KEYS, list(_with_own_aliases(planned)))


def _existing_teams(team_ids: Iterable[str]) -> Iterator[str]:
    yield from Team.objects.filter(pk__in=list(team_ids)).values_list("pk", flat=True)


def _write_missing_users(writer: Writer, user_ids: set[str]) -> None:
    """LiteLLM lets lists and keys name users of whom it has no row. They have no limits."""
    missing = sorted(user_ids - set(User.objects.filter(pk__in=user_ids).values_list("pk", flat=True)))
    if missing:
        planned = [people.user({"user_id": user_id}, now=writer.now) for user_id in missing]
        why = "made without limits: a team or a key names this user, of whom LiteLLM has no row"
        writer.write(kinds.USERS, [each.changed(field="user_id", value=each.key, why=why) for each in planned])


def _with_own_emails(planned: Sequence[Planned]) -> Iterator[Planned]:
    """Two users cannot have one email: the one that comes first has it."""
    wanted = {email for each in planned if (email := _email(each))}
    found = User.objects.annotate(lowered=Lower("email")).filter(lowered__in=wanted)
    owners: dict[str, str] = dict(found.values_list("lowered", "username"))
    for each in planned:
        email = _email(each)
        if email and owners.setdefault(email, each.key) != each.key:
            why = f"no email: {owners[email]} has it"
            yield each.changed(field="user_email", value=email, why=why, email="")
        else:
            yield each


def _email(planned: Planned) -> str:
    return str(planned.columns.get("email", "")).lower()


def _with_own_aliases(planned: Sequence[Planned]) -> Iterator[Planned]:
    """Two keys of a team cannot have one alias: the one that comes first has it."""
    wanted = {each.columns["key_alias"] for each in planned if each.columns.get("key_alias")}
    found = Key.objects.filter(key_alias__in=wanted).values_list("team_id", "key_alias", "token_hash")
    owners: dict[tuple[str | None, str | None], str] = {(team, alias): token for team, alias, token in found}
    for each in planned:
        alias = each.columns.get("key_alias")
        place = (each.columns.get("team_id"), alias)
        if alias and owners.setdefault(place, each.key) != each.key:
            why = "no alias: another key of its team has it"
            yield each.changed(field="key_alias", value=alias, why=why, key_alias=None)
        else:
            yield each


def _say_what_is_not_brought(source: Source, report: Report) -> None:
    if not source.has(WINDOWS):
        report.line("this version of LiteLLM does not store what windows have spent: those of budget_limits begin at 0")
    for table, what in NOT_BROUGHT.items():
        if count := source.count(table):
            report.line(f"{table}: {count} not brought: {what}")
