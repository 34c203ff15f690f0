"""LiteLLM's tables, read in one read-only snapshot through cursors of the server, so that memory stays constant.

Its versions differ: a table or a column that is not there reads as if it were empty. Nothing is ever written.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing
from types import TracebackType
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from budgetgate.litellm.values import Row

BATCH = 500
TIMEOUT_S = 10

BUDGET, USER, TEAM = "LiteLLM_BudgetTable", "LiteLLM_UserTable", "LiteLLM_TeamTable"
MEMBERSHIP, KEY = "LiteLLM_TeamMembership", "LiteLLM_VerificationToken"
CUSTOMER, TAG, ALIASES = "LiteLLM_EndUserTable", "LiteLLM_TagTable", "LiteLLM_ModelTable"
WINDOWS, OLD_KEYS = "LiteLLM_BudgetWindowSpend", "LiteLLM_DeprecatedVerificationToken"
NEEDED = (BUDGET, USER, TEAM, KEY)

NOT_BROUGHT = {
    "LiteLLM_ProxyModelTable": "models, whose parameters are encrypted; --config brings the model_list of a file",
    "LiteLLM_CredentialsTable": "credentials, which are encrypted",
    "LiteLLM_OrganizationTable": "organizations; their limits do not hold here",
    "LiteLLM_OrganizationMembership": "memberships of organizations",
    "LiteLLM_ProjectTable": "projects; their limits do not hold here",
    "LiteLLM_AccessGroupTable": "access groups",
    "LiteLLM_ModelAccessGroupBudgetTable": "budgets of access groups; they do not hold here",
    "LiteLLM_ObjectPermissionTable": "permissions of objects",
    "LiteLLM_GuardrailsTable": "guardrails",
    "LiteLLM_PolicyTable": "policies",
    "LiteLLM_JWTKeyMapping": "mappings of JWTs to keys",
    "LiteLLM_MCPServerTable": "MCP servers",
    "LiteLLM_AgentsTable": "agents",
}
"""What is counted only, and what it is."""

_OWNERS = (KEY, MEMBERSHIP, CUSTOMER, TAG)
_OTHERS = (
    "LiteLLM_OrganizationTable",
    "LiteLLM_OrganizationMembership",
    "LiteLLM_ProjectTable",
    "LiteLLM_ModelAccessGroupBudgetTable",
)
_UUID = "^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$"
_PRISMA_ONLY = {
    "connection_limit",
    "max_connection_lifetime",
    "max_idle_connection_lifetime",
    "pgbouncer",
    "pool_timeout",
    "schema",
    "single_use_connections",
    "socket_timeout",
    "sslaccept",
    "sslidentity",
    "statement_cache_size",
}


class SourceError(Exception):
    """One line that says why LiteLLM's database cannot be read. It never has the password of the address."""


class Source:
    """LiteLLM's database. A context: its snapshot is taken on entry."""

    def __init__(self, url: str) -> None:
        self._url, self._schema = _for_libpq(url)
        self._cursors = 0

    def __enter__(self) -> "Source":
        try:
            self._connection = psycopg.connect(self._url, connect_timeout=TIMEOUT_S, row_factory=dict_row)
        except (psycopg.Error, ValueError) as error:
            message = f"the database of LiteLLM cannot be reached: {' '.join(str(error).split())}"
            raise SourceError(message) from None
        self._connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        self._connection.read_only = True
        try:
            self._connection.execute("SELECT set_config('search_path', quote_ident(%s), true)", [self._schema])
            self._columns = self._found_columns()
            self._check()
        except (psycopg.Error, SourceError) as error:
            self._connection.close()
            raise SourceError(" ".join(str(error).split())) from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def _found_columns(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        query = "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = %s"
        for row in self._connection.execute(query, [self._schema]):
            found.setdefault(row["table_name"], set()).add(row["column_name"])
        return found

    def _check(self) -> None:
        missing = [table for table in NEEDED if table not in self._columns]
        if missing:
            raise SourceError(f"no database of LiteLLM: schema {self._schema} has no table {', '.join(missing)}")

    def has(self, table: str, column: str | None = None) -> bool:
        """Whether this version has the table, and the column."""
        return table in self._columns and (column is None or column in self._columns[table])

    # --- what is read -----------------------------------------------------------------------------

    def budgets(self) -> Iterator[list[Row]]:
        """Budgets but those that belong to one row only and that nobody named."""
        where = sql.SQL("WHERE NOT EXISTS (SELECT FROM own WHERE own.budget_id = t.budget_id)")
        return self._read(BUDGET, order="budget_id", extra=[], where=where)

    def users(self) -> Iterator[list[Row]]:
        """Users, without their passwords."""
        return self._read(USER, order="user_id", extra=[], without={"password"})

    def teams(self) -> Iterator[list[Row]]:
        """Teams with the aliases of their models, and with the budget of their members and whether there is one."""
        aliases = "NULL"
        if self.has(ALIASES) and self.has(TEAM, "model_id"):
            aliases = f'(SELECT m.aliases FROM "{ALIASES}" AS m WHERE m.id = t.model_id)'  # noqa: S608 - fixed names
        member_budget = "t.metadata ->> 'team_member_budget_id'"
        exists = f'EXISTS (SELECT FROM "{BUDGET}" AS b WHERE b.budget_id = {member_budget})'
        extra = [
            f"{aliases} AS model_aliases",
            f"{member_budget} AS member_budget_id",
            f"{exists} AS member_budget_exists",
            self._windows("team", "t.team_id"),
        ]
        return self._read(TEAM, order="team_id", extra=extra)

    def memberships(self, team_ids: Sequence[str]) -> dict[str, dict[str, Row]]:
        """The rows of these teams in the table of memberships, by team and user."""
        found: dict[str, dict[str, Row]] = {team_id: {} for team_id in team_ids}
        if self.has(MEMBERSHIP):
            query = self._query(MEMBERSHIP, order="user_id", extra=[], where=sql.SQL("WHERE t.team_id = ANY(%s)"))
            for row in self._connection.execute(query, [list(team_ids)]):
                found[row["team_id"]][row["user_id"]] = row
        return found

    def virtual_keys(self) -> Iterator[list[Row]]:
        """Keys with what their windows have spent, and with the text that they had before while it still works."""
        extra = [self._windows("key", "t.token")]
        if self.has(OLD_KEYS):
            extra.append(
                "(SELECT jsonb_agg(jsonb_build_object('token', o.token, 'revoke_at', o.revoke_at)"  # noqa: S608
                f' ORDER BY o.revoke_at DESC) FROM "{OLD_KEYS}" AS o'
                " WHERE o.active_token_id = t.token AND o.revoke_at > timezone('UTC', now())) AS previous"
            )
        return self._read(KEY, order="token", extra=extra)

    def customers(self) -> Iterator[list[Row]]:
        """End users."""
        return self._read(CUSTOMER, order="user_id", extra=[])

    def tags(self) -> Iterator[list[Row]]:
        """Tags with limits or without."""
        return self._read(TAG, order="tag_name", extra=[])

    def count(self, table: str) -> int:
        """How many rows a table has; none where this version has no such table."""
        if not self.has(table):
            return 0
        query = sql.SQL("SELECT count(*) AS n FROM {}").format(sql.Identifier(table))
        row = self._connection.execute(query).fetchone()
        return 0 if row is None else int(row["n"])

    # --- how it is read ---------------------------------------------------------------------------

    def _windows(self, kind: str, entity: str) -> str:
        if not self.has(WINDOWS):
            return "NULL AS windows"
        return (
            f'(SELECT jsonb_agg(to_jsonb(w)) FROM "{WINDOWS}" AS w'  # noqa: S608 - fixed names
            f" WHERE w.entity_type = '{kind}' AND w.entity_id = {entity}) AS windows"
        )

    def _read(
        self,
        table: str,
        *,
        order: str,
        extra: Sequence[str],
        where: sql.SQL | None = None,
        without: set[str] | None = None,
    ) -> Iterator[list[Row]]:
        if not self.has(table):
            return
        self._cursors += 1
        with closing(self._connection.cursor(f"budgetgate_{self._cursors}")) as cursor:
            cursor.execute(self._query(table, order=order, extra=extra, where=where, without=without))
            while rows := cursor.fetchmany(BATCH):
                yield list(rows)

    def _query(
        self,
        table: str,
        *,
        order: str,
        extra: Sequence[str],
        where: sql.SQL | None = None,
        without: set[str] | None = None,
    ) -> sql.Composed:
        """All columns of a table under the alias t, with the row of its budget and whether that is its own."""
        columns = sorted(self._columns[table] - (without or set()))
        selected: list[sql.Composable] = [sql.SQL("t.{}").format(sql.Identifier(name)) for name in columns]
        selected += [sql.SQL(text) for text in extra]
        join: sql.Composable = sql.SQL("")
        if table in _OWNERS and self.has(table, "budget_id"):
            selected += [sql.SQL("to_jsonb(b) AS budget"), sql.SQL("own.budget_id IS NOT NULL AS budget_is_own")]
            join = sql.SQL(
                "LEFT JOIN {} AS b ON b.budget_id = t.budget_id LEFT JOIN own ON own.budget_id = t.budget_id"
            ).format(sql.Identifier(BUDGET))
        return sql.SQL("WITH own AS MATERIALIZED ({}) SELECT {} FROM {} AS t {} {} ORDER BY t.{}").format(
            self._own(),
            sql.SQL(", ").join(selected),
            sql.Identifier(table),
            join,
            where or sql.SQL(""),
            sql.Identifier(order),
        )

    def _own(self) -> sql.Composed:
        """Budgets that exactly one key, member, customer or tag refers to and that have a made up id."""
        uses: list[sql.Composable] = []
        for table in (*_OWNERS, *_OTHERS):
            if self.has(table, "budget_id"):
                select = sql.SQL("SELECT budget_id, {} AS may_own FROM {}")
                uses.append(select.format(sql.Literal(table in _OWNERS), sql.Identifier(table)))
        for table, name in ((TEAM, "team_member_budget_id"), (KEY, "end_user_budget_id")):
            if self.has(table, "metadata"):
                select = sql.SQL("SELECT metadata ->> {}, false FROM {}")
                uses.append(select.format(sql.Literal(name), sql.Identifier(table)))
        return sql.SQL(
            "SELECT budget_id FROM ({}) AS uses WHERE budget_id ~ {} "
            "GROUP BY budget_id HAVING count(*) = 1 AND bool_and(may_own)"
        ).format(sql.SQL(" UNION ALL ").join(uses), sql.Literal(_UUID))


def _for_libpq(url: str) -> tuple[str, str]:
    """The address without what only Prisma, which LiteLLM uses, understands; and the schema, which is such a thing."""
    parts = urlsplit(url)
    if parts.scheme not in ("postgres", "postgresql"):
        raise SourceError("--database-url: allowed is postgresql://user:password@host:port/name")
    options: list[tuple[str, Any]] = parse_qsl(parts.query)
    schema = next((value for name, value in options if name == "schema"), "public")
    query = urlencode([(name, value) for name, value in options if name not in _PRISMA_ONLY])
    return parts._replace(query=query).geturl(), schema
