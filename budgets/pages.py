"""Pages of long lists. A count is exact below a million, and stops there: nobody reads the rest page by page."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from django.db.models import IntegerField, Model, QuerySet, Subquery

COUNT_MAX = 1_000_000

RowT = TypeVar("RowT")
ModelT = TypeVar("ModelT", bound=Model)


@dataclass(frozen=True, slots=True)
class Page(Generic[RowT]):
    """Some rows of `total`."""

    rows: list[RowT]
    total: int
    number: int
    size: int

    @property
    def pages(self) -> int:
        return -(-self.total // self.size)


class _Count(Subquery):
    """How many rows a query has."""

    template = "(SELECT count(*) FROM (%(subquery)s) AS counted_rows)"
    output_field = IntegerField()


def page_of(
    found: QuerySet[ModelT], *, order: Iterable[str], number: int, size: int, rows: QuerySet[Any] | None = None
) -> Page[Any]:
    """One page of what was found, and how much there is, in one statement; a page beyond the end takes another.

    `rows` says what is read of the page's rows. They are chosen first, so that joins are made for a page and not for
    all that lies before it.
    """
    order = list(order)
    everything = found.order_by()
    chosen = found.order_by(*order).values("pk")[(number - 1) * size : number * size]
    shown = everything.model._default_manager.all() if rows is None else rows
    counted = everything.values("pk")[:COUNT_MAX]
    made = list(shown.filter(pk__in=chosen).annotate(total_rows=_Count(counted)).order_by(*order))
    if made:
        return Page(made, made[0].total_rows, number, size)
    return Page([], counted.count() if number > 1 else 0, number, size)
