"""The credential of a route must not reach a log through a repr."""

from catalog.routing import ResolvedRoute


def test_repr_of_a_route_hides_the_provider_key() -> None:
    route = ResolvedRoute(
        model="gpt-4o",
        provider="openai",
        upstream_model="gpt-4o",
        base_url="https://api.example/v1",
        api_key="sk-secret",
        card=None,
        output_tokens_max=None,
        connect_timeout_s=1.0,
        read_timeout_s=2.0,
    )
    assert "sk-secret" not in repr(route)
    assert "gpt-4o" in repr(route)
