"""Reaching LiteLLM's database, by the address that LiteLLM itself has."""

import pytest
from django.core.management import CommandError, call_command

from budgetgate.litellm.reader import Source
from budgetgate.tests.litellm.conftest import Import
from budgetgate.tests.litellm.source import LiteLLM
from keys.models import Key


def test_the_address_may_have_what_only_prisma_understands(litellm: LiteLLM) -> None:
    url = f"{litellm.url}{'&' if '?' in litellm.url else '?'}schema=public&connection_limit=5&pool_timeout=60"
    with Source(url) as source:
        assert source.has("LiteLLM_VerificationToken", "token")


def test_nothing_can_be_written(litellm: LiteLLM) -> None:
    with Source(litellm.url) as source, pytest.raises(Exception, match="read-only"):
        source._connection.execute('DELETE FROM "LiteLLM_TagTable"')


def test_another_database_or_none_is_said_without_the_password(litellm: LiteLLM) -> None:
    litellm.run('DROP TABLE "LiteLLM_TeamTable"')
    with pytest.raises(CommandError, match="no database of LiteLLM: schema public has no table LiteLLM_TeamTable"):
        call_command("import_litellm", "--database-url", litellm.url)
    with pytest.raises(CommandError) as error:
        call_command("import_litellm", "--database-url", "postgresql://u:secret@127.0.0.1:1/x")
    assert "cannot be reached" in str(error.value)
    assert "secret" not in str(error.value)
    with pytest.raises(CommandError, match="allowed is postgresql"):
        call_command("import_litellm", "--database-url", "mysql://u:secret@h/x")


def test_many_rows_come_in_batches(litellm: LiteLLM, import_all: Import) -> None:
    litellm.run(
        'INSERT INTO "LiteLLM_VerificationToken" (token, key_name, max_budget) '
        "SELECT encode(sha256(n::text::bytea), 'hex'), 'sk-...' || n, n FROM generate_series(1, 1201) AS n"
    )
    import_all()
    assert Key.objects.count() == 1201
