"""Every write to customers and tags: what a call itself names. Gateways hear of it after the commit."""

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Any

from django.conf import settings
from django.db import transaction

from budgets.actors import SYSTEM, Actor
from budgets.audit import record_change
from budgets.errors import InputError, NotFoundError, conflicts_named
from budgets.gate.changes import publish
from budgets.rules.scopes import CUSTOMER, TAG
from budgets.services import LIMIT_FIELDS, LimitFields, changed_limits, set_limits, set_limits_beside
from budgets.usage import set_spend
from teams.models import Customer, Tag
from teams.parsing import TeamIdError, check_guest_name
from teams.records import customer_record, tag_record
from teams.scopes import limits_of_customer


class CustomerFields(LimitFields, total=False):
    """What a request says of a customer: a missing field leaves it as it is, None empties it."""

    alias: str | None
    models: list[str] | None
    default_model: str | None
    metadata: dict[str, Any] | None
    noted: dict[str, Any]
    blocked: bool | None


class TagFields(LimitFields, total=False):
    """The same of a tag."""

    description: str | None
    models: list[str] | None


def create_customer(
    customer_id: str, fields: CustomerFields, *, now: datetime, by: Actor = SYSTEM, spend_nanousd: int | None = None
) -> Customer:
    """Makes a customer, who has spent `spend_nanousd` already. Raises InputError and LimitError."""
    _check_name(customer_id, field="user_id")
    customer = Customer(customer_id=customer_id, created_at=now, updated_at=now)
    _apply_customer(customer, fields, now=now)
    taken = InputError(f"Customer already exists, passed user_id={customer_id}.", field="user_id")
    with conflicts_named({"teams_customer_pkey": taken}), transaction.atomic():
        customer.save(force_insert=True)
        _record_customer(customer, action="create", before={}, by=by, now=now)
        if spend_nanousd:
            _set_spend(customer, spend_nanousd, by=by, now=now)
    return customer


def update_customer(
    customer_id: str, fields: CustomerFields, *, now: datetime, by: Actor = SYSTEM, spend_nanousd: int | None = None
) -> Customer:
    """Changes what `fields` names. Raises NotFoundError and LimitError."""
    with transaction.atomic():
        [customer] = _locked_customers([customer_id], field="user_id")
        before = customer_record(customer)
        _apply_customer(customer, fields, now=now)
        customer.updated_at = now
        customer.save(force_update=True)
        _record_customer(customer, action="update", before=before, by=by, now=now)
        if spend_nanousd is not None:
            _set_spend(customer, spend_nanousd, by=by, now=now)
    return customer


def _set_spend(customer: Customer, nanousd: int, *, by: Actor, now: datetime) -> None:
    root = f"{CUSTOMER}:{customer.customer_id}"
    set_spend(limits_of_customer(customer), root=root, to_nanousd=nanousd, by=by, reason="spend", now=now)


def delete_customers(customer_ids: Sequence[str], *, now: datetime, by: Actor = SYSTEM) -> int:
    """Deletes all of them, or none and raises NotFoundError. What they spent stays in the ledger."""
    with transaction.atomic():
        customers = _locked_customers(customer_ids, field="user_ids")
        for customer in customers:
            _record_customer(customer, action="delete", before=customer_record(customer), by=by, now=now)
        Customer.objects.filter(customer_id__in=[customer.customer_id for customer in customers]).delete()
    return len(customers)


def block_customers(customer_ids: Sequence[str], *, blocked: bool, now: datetime, by: Actor = SYSTEM) -> list[Customer]:
    """Blocks customers, also those that nobody has seen yet; unblocks those that there are, or raises NotFoundError."""
    wanted = sorted(set(customer_ids))
    for customer_id in wanted:
        _check_name(customer_id, field="user_ids")
    with transaction.atomic():
        if blocked:
            Customer.objects.bulk_create(
                [_unknown(customer_id, now=now) for customer_id in wanted], ignore_conflicts=True
            )
        customers = _locked_customers(customer_ids, field="user_ids")
        for customer in customers:
            before = customer_record(customer)
            customer.blocked, customer.updated_at = blocked, now
            customer.save(update_fields=["blocked", "updated_at"])
            action = "block" if blocked else "unblock"
            _record_customer(customer, action=action, before=before, by=by, now=now)
    return customers


def _unknown(customer_id: str, *, now: datetime) -> Customer:
    customer = Customer(customer_id=customer_id, created_at=now, updated_at=now)
    _apply_customer(customer, {}, now=now)
    return customer


def _locked_customers(customer_ids: Sequence[str], *, field: str) -> list[Customer]:
    locked = Customer.objects.select_for_update().order_by("customer_id")
    found = {customer.customer_id: customer for customer in locked.filter(customer_id__in=customer_ids)}
    for index, customer_id in enumerate(customer_ids):
        if customer_id not in found:
            path = field if field == "user_id" else f"{field}[{index}]"
            raise NotFoundError(f"End User Id={customer_id} does not exist in db", field=path)
    return [found[customer_id] for customer_id in dict.fromkeys(customer_ids)]


def _apply_customer(customer: Customer, fields: CustomerFields, *, now: datetime) -> None:
    if "alias" in fields:
        customer.alias = fields["alias"]
    if "default_model" in fields:
        customer.default_model = fields["default_model"]
    if "models" in fields:
        customer.allowed_models = fields["models"] or []
    if "metadata" in fields:
        customer.metadata = fields["metadata"] or {}
    if "blocked" in fields:
        customer.blocked = bool(fields["blocked"])
    customer.noted = {**customer.noted, **fields.get("noted", {})}
    if customer._state.adding or LIMIT_FIELDS & fields.keys():
        set_customer_limits = set_limits_beside if settings.CUSTOMER_BUDGET_ID else set_limits
        set_customer_limits(customer, changed_limits(customer, fields), now=now)


def _record_customer(customer: Customer, *, action: str, before: dict[str, Any], by: Actor, now: datetime) -> None:
    after = {} if action == "delete" else customer_record(customer)
    subject_id = customer.customer_id
    record_change(by, action=action, kind=CUSTOMER, subject_id=subject_id, before=before, after=after, now=now)
    transaction.on_commit(partial(publish, f"{CUSTOMER}:{subject_id}"))


def _check_name(name: str, *, field: str, without: str = "") -> None:
    try:
        check_guest_name(name, without=without)
    except TeamIdError as error:
        raise InputError(f"{field}: {error}", field=field) from None


def create_tag(name: str, fields: TagFields, *, now: datetime, by: Actor = SYSTEM) -> Tag:
    """Makes a tag; callers write commas between tags, so that it has none. Raises InputError and LimitError."""
    _check_name(name, field="name", without=",")
    tag = Tag(name=name, created_at=now, updated_at=now, created_by=by.name)
    _apply_tag(tag, fields, now=now)
    taken = InputError(f"Tag {name} already exists", field="name")
    with conflicts_named({"teams_tag_pkey": taken}), transaction.atomic():
        tag.save(force_insert=True)
        _record_tag(tag, action="create", before={}, by=by, now=now)
    return tag


def update_tag(name: str, fields: TagFields, *, now: datetime, by: Actor = SYSTEM) -> Tag:
    """Changes what `fields` names. Raises NotFoundError and LimitError."""
    with transaction.atomic():
        tag = _locked_tag(name)
        before = tag_record(tag)
        _apply_tag(tag, fields, now=now)
        tag.updated_at = now
        tag.save(force_update=True)
        _record_tag(tag, action="update", before=before, by=by, now=now)
    return tag


def delete_tag(name: str, *, now: datetime, by: Actor = SYSTEM) -> None:
    """Deletes a tag's limits; calls that have it are only reported then. Raises NotFoundError."""
    with transaction.atomic():
        tag = _locked_tag(name)
        _record_tag(tag, action="delete", before=tag_record(tag), by=by, now=now)
        Tag.objects.filter(name=name).delete()


def _locked_tag(name: str) -> Tag:
    tag = Tag.objects.select_for_update().filter(name=name).first()
    if tag is None:
        raise tag_not_found(name, field="name")
    return tag


def tag_not_found(name: str, *, field: str) -> NotFoundError:
    """The one answer for a tag that does not exist."""
    return NotFoundError(f"Tag {name} not found", field=field)


def _apply_tag(tag: Tag, fields: TagFields, *, now: datetime) -> None:
    if "description" in fields:
        tag.description = fields["description"] or ""
    if "models" in fields:
        tag.allowed_models = fields["models"] or []
    if tag._state.adding or LIMIT_FIELDS & fields.keys():
        set_limits(tag, changed_limits(tag, fields), now=now)


def _record_tag(tag: Tag, *, action: str, before: dict[str, Any], by: Actor, now: datetime) -> None:
    after = {} if action == "delete" else tag_record(tag)
    record_change(by, action=action, kind=TAG, subject_id=tag.name, before=before, after=after, now=now)
    transaction.on_commit(partial(publish, f"{TAG}:{tag.name}"))
