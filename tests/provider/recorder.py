"""What the provider of the tests was asked, what it did, and the rules by which it behaves.

Shared between the threads of the tests and of the server, so everything is under one lock.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.provider.behaviour import Behaviour


@dataclass(slots=True)
class Call:
    """One request and what became of it; `usage` and `output_tokens` grow with what was really sent."""

    id: str
    number: int
    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    payload: dict[str, Any] = field(default_factory=dict)
    status: int = 0
    usage: object = None
    output_tokens: int = 0
    finished: bool = False  # everything was sent
    hung_up: bool = False  # the client left before that
    ended: bool = False

    @property
    def model(self) -> str:
        return str(self.payload.get("model", ""))


@dataclass(slots=True)
class Rule:
    """Which calls behave so: of a model, with a text in the body, at most `times`; None is any."""

    behaviour: Behaviour
    model: str | None
    containing: str | None
    times: int | None

    def matches(self, call: Call) -> bool:
        return (
            self.times != 0
            and self.model in (None, call.model)
            and (self.containing is None or self.containing.encode() in call.body)
        )


class Recorder:
    """Rules in, calls out, between the threads of the tests and of the server."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._calls: list[Call] = []
        self._rules: list[Rule] = []
        self._numbers = 0

    def reset(self) -> None:
        with self._changed:
            self._calls, self._rules = [], []

    def add_rule(self, rule: Rule) -> None:
        with self._changed:
            self._rules.insert(0, rule)

    def behaviour_for(self, call: Call) -> Behaviour:
        """The newest rule that matches."""
        with self._changed:
            for rule in self._rules:
                if rule.matches(call):
                    rule.times = None if rule.times is None else rule.times - 1
                    return rule.behaviour
        return Behaviour()

    def begin(self, *, method: str, path: str, headers: dict[str, str], body: bytes) -> Call:
        with self._changed:
            self._numbers += 1
            call_id = f"chatcmpl-provider{self._numbers:08d}"
            call = Call(call_id, self._numbers, method, path, headers, body)
            self._calls.append(call)
            self._changed.notify_all()
            return call

    def end(self, call: Call) -> None:
        with self._changed:
            call.ended = True
            self._changed.notify_all()

    def calls(self) -> list[Call]:
        with self._changed:
            return list(self._calls)

    def wait(self, enough: Callable[[list[Call]], bool], *, timeout_s: float) -> list[Call]:
        with self._changed:
            if not self._changed.wait_for(lambda: enough(self._calls), timeout=timeout_s):
                raise AssertionError(f"the provider still waits after {timeout_s} s; its calls: {self._calls}")
            return list(self._calls)
