"""A database of LiteLLM for tests: its own tables, made anew for each test, and rows with as little as it needs."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

SCHEMA = (Path(__file__).parent / "schema.sql").read_text()
JSON_COLUMNS = {
    "aliases",
    "budget_fallbacks",
    "budget_limits",
    "config",
    "litellm_params",
    "members_with_roles",
    "metadata",
    "model_aliases",
    "model_max_budget",
    "permissions",
    "router_settings",
}
_MADE: dict[str, object] = {"created_by": "admin", "updated_by": "admin"}
_NEEDED: dict[str, dict[str, object]] = {
    "BudgetTable": _MADE,
    "ModelTable": _MADE,
    "ProxyModelTable": {**_MADE, "litellm_params": {}},
    "OrganizationTable": {**_MADE, "organization_alias": "o", "budget_id": "b"},
    "BudgetWindowSpend": {"updated_at": "2037-11-23"},
}


def hash_of(text: str) -> str:
    """What LiteLLM stores of a key."""
    return hashlib.sha256(text.encode()).hexdigest()


class LiteLLM:
    """Puts rows into the tables by names of columns; everything that is not given is the table's default."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._connection = psycopg.connect(url, autocommit=True)

    def add(self, table: str, **columns: object) -> None:
        """One row."""
        row = {**_NEEDED.get(table, {}), **columns}
        values = [Jsonb(value) if name in JSON_COLUMNS and value is not None else value for name, value in row.items()]
        query = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
            sql.Identifier(f"LiteLLM_{table}"),
            sql.SQL(", ").join(map(sql.Identifier, row)),
            sql.SQL(", ").join([sql.Placeholder()] * len(row)),
        )
        self._connection.execute(query, values)

    def key(self, text: str, **columns: object) -> str:
        """A key; returns its hash."""
        self.add("VerificationToken", token=hash_of(text), key_name=f"sk-...{text[-4:]}", **columns)
        return hash_of(text)

    def run(self, statement: str) -> None:
        """Any statement, such as one that takes a column away."""
        self._connection.execute(statement)

    def close(self) -> None:
        self._connection.close()


@contextmanager
def litellm_database() -> Iterator[LiteLLM]:
    """A second database in the server of the tests, with LiteLLM's tables."""
    server = urlsplit(os.environ["DATABASE_URL"])
    name = f"litellm_{os.getpid()}"
    with psycopg.connect(server._replace(path="/postgres").geturl(), autocommit=True) as admin:
        admin.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name)))
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        litellm = LiteLLM(server._replace(path=f"/{name}").geturl())
        try:
            litellm.run(SCHEMA)
            yield litellm
        finally:
            litellm.close()
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
