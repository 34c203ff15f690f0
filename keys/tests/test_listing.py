"""Lists of a hundred thousand keys: a page takes three statements at most and little time."""

import time

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from keys.models import Key
from tests.api import Api

COUNT = 100_000
CPU_S_MAX = 1.0


OWN = {
    "id": "gen_random_uuid()",
    "token_hash": "lpad(to_hex(n), 64, '0')",
    "key_alias": "'key-' || n",
    "created_at": "created_at - n * interval '1 second'",
}
"""What the copies of a key do not have in common."""


@pytest.fixture
def api(db: None) -> Api:
    """With copies of one key, which PostgreSQL makes in seconds."""
    api = Api()
    api.post("/key/generate", budget_limits=[{"budget_duration": "1h", "max_budget": 10}])
    columns = [str(field.column) for field in Key._meta.concrete_fields]
    values = ", ".join(OWN.get(column, column) for column in columns)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO keys_key ({', '.join(columns)}) SELECT {values} FROM keys_key, generate_series(1, %s) AS n",
            [COUNT - 1],
        )
        cursor.execute("ANALYZE keys_key")
    return api


def test_a_page_of_a_hundred_thousand_keys_is_cheap(api: Api) -> None:
    full = {"return_full_object": "true", "size": "100"}
    for query in (
        {"size": "100"},
        full,
        {**full, "page": "1000"},
        {**full, "sort_by": "updated_at", "sort_order": "asc"},
        {**full, "sort_by": "key_alias", "page": "500"},
        {**full, "sort_by": "expires"},
        {**full, "sort_by": "max_budget", "status": "active"},
    ):
        api.get("/key/list", **query)
        with CaptureQueriesContext(connection) as captured:
            began_s, began_cpu_s = time.perf_counter(), time.process_time()
            page = api.get("/key/list", **query)
            cpu_s, took_s = time.process_time() - began_cpu_s, time.perf_counter() - began_s
        print(f"{query}: {len(captured)} statements, {cpu_s * 1000:.0f} ms of CPU, {took_s * 1000:.0f} ms")
        assert (len(page["keys"]), page["total_count"]) == (100, COUNT)
        assert len(captured) <= 3
        assert cpu_s < CPU_S_MAX
