"""What services say to a caller who asked for something that cannot be. Messages name the value and what is allowed.

A LimitError says the same of a limit; an outage is never one of these. budgetgate/api.py makes the answers.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import psycopg
from django.db import IntegrityError


class InputError(ValueError):
    """A value cannot be taken. `field` is the name of what was sent, `kind` the `type` in the answer."""

    def __init__(self, message: str, *, field: str, kind: str = "invalid_request_error") -> None:
        super().__init__(message)
        self.field = field
        self.kind = kind


class NotFoundError(LookupError):
    """What `field` names does not exist."""

    def __init__(self, message: str, *, field: str) -> None:
        super().__init__(message)
        self.field = field


class ConflictError(ValueError):
    """What is asked for contradicts what is there now, such as a tier that is deleted while keys refer to it."""

    def __init__(self, message: str, *, field: str) -> None:
        super().__init__(message)
        self.field = field


class ForbiddenError(PermissionError):
    """The caller may not do this. Where an object that is somebody else's must not be seen, it is NotFoundError."""


@contextmanager
def conflicts_named(conflicts: Mapping[str, InputError]) -> Iterator[None]:
    """Turns the breach of a named unique constraint into its error: only the database can decide between two writers.

    Stands outside of the transaction, which is rolled back by then.
    """
    try:
        yield
    except IntegrityError as error:
        name = error.__cause__.diag.constraint_name if isinstance(error.__cause__, psycopg.Error) else None
        if name is None or name not in conflicts:
            raise
        raise conflicts[name] from None
