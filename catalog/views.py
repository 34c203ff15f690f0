"""The management API for models and credentials. Who may call what is decided elsewhere; no answer holds a secret."""

from __future__ import annotations

from typing import ClassVar, cast

from django.utils import timezone
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from budgets.documents import Links, documented, flag, record, text
from budgets.errors import NotFoundError
from budgets.queries import FlagParameter, QuerySerializer, TextParameter, parameters_of
from budgets.requests import actor_of
from catalog.answers import (
    CONNECTION,
    CREDENTIAL,
    CREDENTIAL_LIST,
    GROUP_LIST,
    MODEL_LIST,
    ROUTE_ROW,
    credential_answer,
    group_answer,
    route_entry,
    route_row,
)
from catalog.connection import try_route
from catalog.credential_services import create_credential, credential_for, delete_credential, update_credential
from catalog.listing import model_entries
from catalog.models import Credential
from catalog.serializers import (
    ConnectionSerializer,
    CredentialSerializer,
    ModelIdSerializer,
    NewCredentialSerializer,
    NewModelSerializer,
    UpdateModelSerializer,
)
from catalog.services import create_route, delete_route, planned_route, route_for, update_route

ID = {"public_id": "The id of the model, from `model_info`."}
NAME = {"name": "The name of the credential."}
_NEW_ID = "$response.body#/model_info/id"
_LINKS: Links = {
    "get /model/info": {"litellm_model_id": _NEW_ID},
    "patch /model/{public_id}/update": {"public_id": _NEW_ID},
    "post /model/block": {"id": _NEW_ID},
    "post /model/unblock": {"id": _NEW_ID},
    "post /model/delete": {"id": _NEW_ID},
}
DONE = record("CredentialDone", {"success": flag("Always true."), "message": text("What was done.")}, d="Done.")


class ModelInfoQuery(QuerySerializer):
    """The query of /model/info. No model is for some teams only, so all are included in any case."""

    not_yet: ClassVar = {"teamId": ""}
    litellm_model_id = TextParameter(help_text="Only the model of this id.")
    include_team_models = FlagParameter(help_text="Changes nothing: no model is for some teams only.", default=False)
    healthy_only = FlagParameter(help_text="Only models that can be called now.", default=False)


class ModelGroupQuery(QuerySerializer):
    """The query of /model_group/info."""

    model_group = TextParameter(help_text="Only the group of this name.")


class NewModel(APIView):
    """Makes a route."""

    @documented("Make a route", request=NewModelSerializer, answer=ROUTE_ROW, tag="models", links=_LINKS)
    def post(self, request: Request) -> Response:
        body = NewModelSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        now = timezone.now()
        return Response(route_row(create_route(body.route_fields(), now=now, by=actor_of(request)), now=now))


class UpdateModel(APIView):
    """Changes what the body names, of the route whose id is in `model_info` or beside it."""

    @documented("Change a route", request=UpdateModelSerializer, answer=ROUTE_ROW, tag="models")
    def post(self, request: Request) -> Response:
        body = cast("dict[str, object]", request.data)
        info = body.get("model_info")
        inner = info.get("id") if isinstance(info, dict) else None
        public_id = body.get("id") if inner is None else inner
        if not isinstance(public_id, str):
            raise serializers.ValidationError({"model_info.id": "it is missing; allowed is the id of a model"})
        return _updated(request, public_id)


class PatchModel(APIView):
    """Changes what the body names, of the route whose id is in the address."""

    @documented("Change a route", request=UpdateModelSerializer, answer=ROUTE_ROW, path=ID, tag="models")
    def patch(self, request: Request, public_id: str) -> Response:
        return _updated(request, public_id)


class DeleteModel(APIView):
    """Deletes a route."""

    @documented(
        "Delete a route",
        request=ModelIdSerializer,
        answer=record("ModelDeleted", {"message": text("What was done.")}, d="Done."),
        tag="models",
    )
    def post(self, request: Request) -> Response:
        public_id = _id_in(request)
        delete_route(public_id, now=timezone.now(), by=actor_of(request))
        return Response({"message": f"Model: {public_id} deleted successfully"})


class BlockModel(APIView):
    """Switches a route off or on; off, its name answers like a model that does not exist."""

    blocked = True

    @documented("Switch a route off or on", request=ModelIdSerializer, answer=ROUTE_ROW, tag="models")
    def post(self, request: Request) -> Response:
        now = timezone.now()
        route = update_route(_id_in(request), {"enabled": not self.blocked}, now=now, by=actor_of(request))
        return Response(route_row(route, now=now))


class ModelInfo(APIView):
    """Lists the models, or shows the one of an id."""

    @documented("List models", query=ModelInfoQuery, answer=MODEL_LIST, tag="models")
    def get(self, request: Request) -> Response:
        query = parameters_of(ModelInfoQuery, request)
        entries = [entry for entry in model_entries(now=timezone.now()) if entry.works or not query["healthy_only"]]
        if wanted := query["litellm_model_id"]:
            entries = [entry for entry in entries if entry.answer["model_info"]["id"] == wanted][:1]
            if not entries:
                raise NotFoundError(f"Model id = {wanted} not found", field="litellm_model_id")
        return Response({"data": [entry.answer for entry in entries]})


class ModelGroupInfo(APIView):
    """Lists the models that can be called."""

    @documented("List model groups", query=ModelGroupQuery, answer=GROUP_LIST, tag="models")
    def get(self, request: Request) -> Response:
        wanted = parameters_of(ModelGroupQuery, request)["model_group"]
        groups = [group_answer(entry) for entry in model_entries(now=timezone.now()) if entry.works]
        return Response({"data": [group for group in groups if not wanted or group["model_group"] == wanted]})


class TestConnection(APIView):
    """Sends one smallest call to where a route with these parameters would go."""

    @documented("Try a route", request=ConnectionSerializer, answer=CONNECTION, tag="models")
    def post(self, request: Request) -> Response:
        body = ConnectionSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        fields = body.route_fields()
        fields["model_name"] = "connection-test"
        return Response(try_route(planned_route(fields)))


class Credentials(APIView):
    """Lists the credentials, makes one."""

    @documented("List credentials", answer=CREDENTIAL_LIST, tag="credentials")
    def get(self, request: Request) -> Response:
        answers = [credential_answer(credential) for credential in Credential.objects.order_by("name")]
        return Response({"success": True, "credentials": answers})

    @documented("Make a credential", request=NewCredentialSerializer, answer=DONE, tag="credentials")
    def post(self, request: Request) -> Response:
        body = NewCredentialSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        create_credential(body.credential_fields(), now=timezone.now(), by=actor_of(request))
        return Response({"success": True, "message": "Credential created successfully"})


class CredentialByName(APIView):
    """Shows a credential without its key."""

    @documented("Show a credential", answer=CREDENTIAL, path=NAME, tag="credentials")
    def get(self, request: Request, name: str) -> Response:
        return Response(credential_answer(credential_for(name)))


class ChangeCredential(APIView):
    """Changes what the body names, or deletes the credential."""

    @documented("Change a credential", request=CredentialSerializer, answer=DONE, path=NAME, tag="credentials")
    def patch(self, request: Request, name: str) -> Response:
        body = CredentialSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        update_credential(name, body.credential_fields(), now=timezone.now(), by=actor_of(request))
        return Response({"success": True, "message": "Credential updated successfully"})

    @documented("Delete a credential", answer=DONE, path=NAME, tag="credentials")
    def delete(self, request: Request, name: str) -> Response:
        delete_credential(name, now=timezone.now(), by=actor_of(request))
        return Response({"success": True, "message": "Credential deleted successfully"})


def _updated(request: Request, public_id: str) -> Response:
    body = UpdateModelSerializer(data=request.data)
    body.is_valid(raise_exception=True)
    given = body.validated_data.get("id")
    if given not in (None, public_id):
        raise serializers.ValidationError({"id": f"{given!r} is another model than {public_id!r}; allowed is one id"})
    now = timezone.now()
    shown = route_entry(route_for(public_id), now=now)
    route = update_route(public_id, body.route_fields(shown=shown), now=now, by=actor_of(request))
    return Response(route_row(route, now=now))


def _id_in(request: Request) -> str:
    body = ModelIdSerializer(data=request.data)
    body.is_valid(raise_exception=True)
    return str(body.validated_data["id"])
