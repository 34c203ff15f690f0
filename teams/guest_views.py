"""The API for customers and tags, which proxy admins manage and their viewers see."""

from collections.abc import Sequence
from typing import Any, cast

from django.db.models import Q
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from budgets.answers import Answer
from budgets.documents import Links, documented
from budgets.queries import parameters_of
from budgets.requests import actor_of
from teams.access import check_manages_all, check_sees_all, customer_seen_by, visible_tags
from teams.guest_answers import (
    BLOCKED_ANSWER,
    CHANGED_TAG,
    CUSTOMER_ROW,
    CUSTOMERS,
    DELETED_CUSTOMERS,
    DELETED_TAG,
    TAG_LIST,
    TAGS,
    UNBLOCKED_ANSWER,
    customer_row,
    tag_row,
)
from teams.guest_serializers import (
    CustomerListQuery,
    CustomerQuery,
    CustomersSerializer,
    NewCustomerSerializer,
    NoQuery,
    TagNameSerializer,
    TagNamesSerializer,
    TagSerializer,
    UpdateCustomerSerializer,
)
from teams.guest_services import (
    CustomerFields,
    TagFields,
    block_customers,
    create_customer,
    create_tag,
    delete_customers,
    delete_tag,
    tag_not_found,
    update_customer,
    update_tag,
)
from teams.models import Customer, Tag
from teams.usage import shown_of_all
from teams.views import validated

TAGS_MAX = 10_000
_CUSTOMER_ID = "$response.body#/user_id"
_CUSTOMERS_NAMED = {"user_ids": [_CUSTOMER_ID]}
_LINKS_OF_CUSTOMER: Links = {
    "get /customer/info": {"end_user_id": _CUSTOMER_ID},
    "post /customer/update": {"user_id": _CUSTOMER_ID},
    "post /customer/block": _CUSTOMERS_NAMED,
    "post /customer/unblock": _CUSTOMERS_NAMED,
    "post /customer/delete": _CUSTOMERS_NAMED,
}
_TAG_NAME = "$response.body#/tag/name"
_LINKS_OF_TAG: Links = {
    "post /tag/info": {"names": [_TAG_NAME]},
    "post /tag/update": {"name": _TAG_NAME},
    "post /tag/delete": {"name": _TAG_NAME},
}


def _customers(rows: Sequence[Customer]) -> list[Answer]:
    now = timezone.now()
    shown = shown_of_all(rows, now=now)
    return [customer_row(customer, shown=each, now=now) for customer, each in zip(rows, shown, strict=True)]


def _tags(rows: Sequence[Tag]) -> list[Answer]:
    now = timezone.now()
    shown = shown_of_all(rows, now=now)
    return [tag_row(tag, shown=each, now=now) for tag, each in zip(rows, shown, strict=True)]


class NewCustomer(APIView):
    """Makes a customer."""

    @documented("Make a customer", request=NewCustomerSerializer, answer=CUSTOMER_ROW, links=_LINKS_OF_CUSTOMER)
    def post(self, request: Request) -> Response:
        fields, by = validated(NewCustomerSerializer, request), actor_of(request)
        check_manages_all(by)
        customer_id, spend = fields.pop("user_id"), fields.pop("spend", None)
        given = cast(CustomerFields, fields)
        customer = create_customer(customer_id, given, spend_nanousd=spend, by=by, now=timezone.now())
        return Response(_customers([customer])[0])


class UpdateCustomer(APIView):
    """Changes what the body names."""

    @documented("Change a customer", request=UpdateCustomerSerializer, answer=CUSTOMER_ROW)
    def post(self, request: Request) -> Response:
        fields, by = validated(UpdateCustomerSerializer, request), actor_of(request)
        check_manages_all(by)
        customer_id, spend = fields.pop("user_id"), fields.pop("spend", None)
        given = cast(CustomerFields, fields)
        customer = update_customer(customer_id, given, spend_nanousd=spend, by=by, now=timezone.now())
        return Response(_customers([customer])[0])


class CustomerInfo(APIView):
    """Shows a customer and the windows."""

    @documented("Show a customer", query=CustomerQuery, answer=CUSTOMER_ROW)
    def get(self, request: Request) -> Response:
        customer_id = parameters_of(CustomerQuery, request)["end_user_id"]
        customer = customer_seen_by(actor_of(request), customer_id, field="end_user_id")
        return Response(_customers([customer])[0])


class CustomerList(APIView):
    """Shows customers page by page."""

    @documented("List customers", query=CustomerListQuery, answer=CUSTOMERS)
    def get(self, request: Request) -> Response:
        query = parameters_of(CustomerListQuery, request)
        check_sees_all(actor_of(request))
        customers = Customer.objects.select_related("budget").order_by("customer_id")
        if text := query["search"]:
            customers = customers.filter(Q(customer_id__icontains=text) | Q(alias__icontains=text))
        first = (query["page"] - 1) * query["page_size"]
        return Response(_customers(list(customers[first : first + query["page_size"]])))


class DeleteCustomers(APIView):
    """Deletes all of the named customers, or none."""

    @documented("Delete customers", request=CustomersSerializer, answer=DELETED_CUSTOMERS)
    def post(self, request: Request) -> Response:
        fields, by = validated(CustomersSerializer, request), actor_of(request)
        check_manages_all(by)
        deleted = delete_customers(fields["user_ids"], by=by, now=timezone.now())
        message = f"Successfully deleted customers with ids: {', '.join(fields['user_ids'])}"
        return Response({"deleted_customers": deleted, "message": message})


class BlockCustomers(APIView):
    """Refuses every call that names one of these customers."""

    @documented(
        "Block customers",
        request=CustomersSerializer,
        answer=BLOCKED_ANSWER,
        description="Customers that nobody knows yet are made, blocked.",
    )
    def post(self, request: Request) -> Response:
        return Response({"blocked_users": _customers(_block(request, blocked=True))})


class UnblockCustomers(APIView):
    """Lets calls name these customers again."""

    @documented("Unblock customers", request=CustomersSerializer, answer=UNBLOCKED_ANSWER)
    def post(self, request: Request) -> Response:
        customers = _block(request, blocked=False)
        return Response({"blocked_users": [customer.customer_id for customer in customers if customer.blocked]})


def _block(request: Request, *, blocked: bool) -> list[Customer]:
    fields, by = validated(CustomersSerializer, request), actor_of(request)
    check_manages_all(by)
    return block_customers(fields["user_ids"], blocked=blocked, by=by, now=timezone.now())


class NewTag(APIView):
    """Gives a tag limits."""

    @documented("Make a tag", request=TagSerializer, answer=CHANGED_TAG, links=_LINKS_OF_TAG)
    def post(self, request: Request) -> Response:
        name, fields = _named(request)
        tag = create_tag(name, fields, by=actor_of(request), now=timezone.now())
        return Response({"message": f"Tag {name} created successfully", "tag": _tags([tag])[0]})


class UpdateTag(APIView):
    """Changes what the body names."""

    @documented("Change a tag", request=TagSerializer, answer=CHANGED_TAG)
    def post(self, request: Request) -> Response:
        name, fields = _named(request)
        tag = update_tag(name, fields, by=actor_of(request), now=timezone.now())
        return Response({"message": f"Tag {name} updated successfully", "tag": _tags([tag])[0]})


def _named(request: Request) -> tuple[str, TagFields]:
    fields: dict[str, Any] = validated(TagSerializer, request)
    check_manages_all(actor_of(request))
    return fields.pop("name"), cast(TagFields, fields)


class TagInfo(APIView):
    """Shows tags by name."""

    @documented("Show tags", request=TagNamesSerializer, answer=TAGS)
    def post(self, request: Request) -> Response:
        wanted = validated(TagNamesSerializer, request)["names"]
        rows = list(visible_tags(actor_of(request)).filter(name__in=wanted))
        found = {tag.name: answer for tag, answer in zip(rows, _tags(rows), strict=True)}
        for index, name in enumerate(wanted):
            if name not in found:
                raise tag_not_found(name, field=f"names[{index}]")
        return Response({name: found[name] for name in wanted})


class TagList(APIView):
    """Shows all tags with limits."""

    @documented("List tags", query=NoQuery, answer=TAG_LIST)
    def get(self, request: Request) -> Response:
        parameters_of(NoQuery, request)
        check_sees_all(actor_of(request))
        return Response(_tags(list(visible_tags(actor_of(request)).order_by("name")[:TAGS_MAX])))


class DeleteTag(APIView):
    """Takes a tag's limits away."""

    @documented("Delete a tag", request=TagNameSerializer, answer=DELETED_TAG)
    def post(self, request: Request) -> Response:
        name, by = validated(TagNameSerializer, request)["name"], actor_of(request)
        check_manages_all(by)
        delete_tag(name, by=by, now=timezone.now())
        return Response({"message": f"Tag {name} deleted successfully"})
