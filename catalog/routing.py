"""What a public model name resolves to: everything the data plane needs to forward and price a call.

Pure: no Django, no clock, no settings. Holds a provider's credential, which its repr leaves out.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from catalog.pricing import PriceCard


@dataclass(frozen=True, slots=True)
class ResolvedRoute:
    """Where the calls of one model name go. `card` is None for a model whose price nobody knows."""

    model: str
    provider: str
    upstream_model: str
    base_url: str
    api_key: str = field(repr=False)
    card: PriceCard | None
    output_tokens_max: int | None
    connect_timeout_s: float
    read_timeout_s: float
