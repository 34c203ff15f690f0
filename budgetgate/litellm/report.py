"""What an import did, told line by line while it goes on, and counted: no list grows with the number of objects."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import Any

from budgetgate.litellm.planned import Planned


class Outcome(StrEnum):
    """What became of one object."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    DIFFERS = "left alone"
    REFUSED = "not brought"


class Report:
    """Says what does not become what it was, and with `verbose` every object."""

    def __init__(self, say: Callable[[str], object], *, verbose: bool) -> None:
        self._say = say
        self._verbose = verbose
        self.counts: Counter[tuple[str, Outcome]] = Counter()
        self.notes = 0
        self.spends = 0

    def line(self, text: str) -> None:
        """Says something that is about no single object. A line break in a value must not look like another line."""
        self._say(text.replace("\r", " ").replace("\n", " "))

    def object(self, kind: str, planned: Planned, outcome: Outcome, *, why: str = "") -> None:
        """Counts one object and says what there is to say of it."""
        self.counts[kind, outcome] += 1
        if self._verbose or outcome in (Outcome.DIFFERS, Outcome.REFUSED, Outcome.UPDATED):
            self.line(f"{kind} {planned.name}: {outcome}{f': {why}' if why else ''}")
        for note in planned.notes:
            self.notes += 1
            self.line(f"{kind} {planned.name}: {note}")

    def summary(self, kinds: Iterable[str]) -> None:
        """A table of the counts."""
        self.line("")
        self.line(f"{'':<10}" + "".join(f"{outcome:>13}" for outcome in Outcome))
        for kind in kinds:
            self.line(f"{kind:<10}" + "".join(f"{self.counts[kind, outcome]:>13}" for outcome in Outcome))
        self.line(f"spends brought: {self.spends}; values that are not as they were: {self.notes}")


def difference(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """The fields in which two records differ, with both values."""
    names = [name for name in wanted if found.get(name) != wanted[name]]
    return "; ".join(f"{name} is {_shown(found.get(name))} here, {_shown(wanted[name])} there" for name in names)


def _shown(value: object) -> str:
    text = repr(value) if isinstance(value, str | list | dict) else str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
