"""Answers kept as JSON: dollars stay exact decimals on their way into a column and out again, instants become texts."""

import json
from datetime import datetime
from decimal import Decimal
from typing import Any

import orjson

from budgets.services import text_of


class ExactEncoder(json.JSONEncoder):
    """Decimals as exact JSON numbers, instants as RFC 3339 in UTC with a Z."""

    def encode(self, o: Any) -> str:
        return orjson.dumps(o, default=_exact, option=orjson.OPT_PASSTHROUGH_DATETIME).decode()


class ExactDecoder(json.JSONDecoder):
    """Numbers with a fraction as decimals."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "parse_float": Decimal})


def _exact(value: object) -> object:
    if isinstance(value, Decimal):
        return orjson.Fragment(format(value, "f"))
    if isinstance(value, datetime):
        return text_of(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")
