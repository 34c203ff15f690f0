import pytest
from django.test import Client


@pytest.mark.parametrize("path", ["/health/liveliness", "/health/liveness"])
def test_everybody_may_ask_whether_the_gateway_lives(client: Client, path: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.json()) == (200, "I'm alive!")
