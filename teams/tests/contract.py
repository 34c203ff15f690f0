"""The fields that clients of this kind of gateway send and read, from reference.txt, and whether an answer has them."""

import re
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

KINDS: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "number": (int, Decimal),
    "integer": (int,),
    "boolean": (bool,),
    "object": (dict,),
    "datetime": (str,),
}


@cache
def _sections() -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for section in (Path(__file__).parent / "reference.txt").read_text().split("\n## ")[1:]:
        path, *lines = section.strip().splitlines()
        found[path] = dict(line.removeprefix("- ").split(": ", 1) for line in lines)
    return found


def _split(text: str) -> dict[str, str]:
    """`a: string; b: [{c: x}]` as types by name; semicolons and commas inside of brackets part nothing."""
    parts, depth, start = [], 0, 0
    for index, character in enumerate(text):
        depth += {"[": 1, "{": 1, "(": 1, "]": -1, "}": -1, ")": -1}.get(character, 0)
        if character == ";" and not depth:
            parts.append(text[start:index])
            start = index + 1
    pairs = [part.strip().split(": ", 1) for part in [*parts, text[start:]]]
    return {name: kind.strip() for name, kind in pairs}


def body_fields(path: str) -> dict[str, str]:
    """The types of the fields of a body, by name."""
    return _split(_sections()[path]["body"])


def parameters(path: str) -> list[str]:
    """The names of the parameters of a GET."""
    return [name.partition(" ")[0] for name in _split(_sections()[path]["parameters"])]


def check_answer(path: str, answer: Any) -> None:
    """Fails where a field is missing or has another type."""
    said = _sections()[path]["200"]
    assert isinstance(answer, dict)
    for name, kind in _split(said).items():
        assert name in answer, f"{path}: {name} is missing"
        assert _matches(answer[name], kind), f"{path}: {name} is {answer[name]!r}, not {kind}"


def _matches(value: Any, kind: str) -> bool:
    if kind == "any" or (value is None and "null" in kind):
        return True
    if kind.startswith("["):
        return isinstance(value, list)
    if kind.startswith("{"):
        return isinstance(value, dict)
    if kind.startswith("enum("):
        return value in re.match(r"enum\((.*?)\)", kind).group(1).split("|")  # type: ignore[union-attr]
    allowed = tuple(each for name, some in KINDS.items() if name in re.split(r" or |\W", kind) for each in some)
    return isinstance(value, allowed) and (bool in allowed or not isinstance(value, bool))


def sample(name: str, kind: str) -> object:
    """Something that a client might send in that field."""
    known: dict[str, object] = {
        "budget_duration": "1h",
        "team_member_budget_duration": "1h",
        "team_member_key_duration": "30d",
        "duration": "30d",
        "budget_limits": [{"budget_duration": "30d", "max_budget": 5}],
        "user_email": "ada@example.org",
        "members_with_roles": [{"user_id": "ada", "role": "admin"}],
        "team_member_permissions": ["/key/generate"],
        "model_max_budget": {"gpt-4o": {"max_budget": 1, "budget_duration": "1d"}},
        "team_member_model_max_budget": {"gpt-4o": 1},
        "model_rpm_limit": {"gpt-4o": 5},
        "model_tpm_limit": {"gpt-4o": 5},
        "rpm_limit_type": "guaranteed_throughput",
        "tpm_limit_type": "guaranteed_throughput",
        "password": "a long password",
        "soft_budget": 1,
        "max_budget": 5,
        "temp_budget_expiry": "2038-01-01",
        "budget_id": None,
        "team_id": "t1",
        "teams": ["t1"],
    }
    if name in known:
        return known[name]
    if kind.startswith("enum("):
        return re.match(r"enum\((.*?)\)", kind).group(1).split("|")[0]  # type: ignore[union-attr]
    kinds: dict[str, object] = {"[": ["a"], "{": {"a": "b"}, "object": {"a": "b"}, "boolean": True, "string": "a"}
    return next((value for start, value in kinds.items() if kind.startswith(start)), 7)
