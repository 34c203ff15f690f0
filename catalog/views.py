"""The management API for models and credentials. Who may call what is decided elsewhere; no answer holds a secret."""

from __future__ import annotations

from typing import cast

from django.utils import timezone
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from budgets.errors import NotFoundError
from budgets.serializers import refusals
from catalog.answers import credential_answer, group_answer, route_entry, route_row
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

FLAGS = {"true": True, "1": True, "false": False, "0": False, "": False}


class NewModel(APIView):
    """Makes a route."""

    def post(self, request: Request) -> Response:
        body = NewModelSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        now = timezone.now()
        return Response(route_row(create_route(body.route_fields(), now=now), now=now))


class UpdateModel(APIView):
    """Changes what the body names, of the route whose id is in `model_info`."""

    def post(self, request: Request) -> Response:
        info = cast("dict[str, object]", request.data).get("model_info")
        public_id = info.get("id") if isinstance(info, dict) else None
        if not isinstance(public_id, str):
            raise serializers.ValidationError({"model_info.id": "it is missing; allowed is the id of a model"})
        return _updated(request, public_id)


class PatchModel(APIView):
    """Changes what the body names, of the route whose id is in the address."""

    def patch(self, request: Request, public_id: str) -> Response:
        return _updated(request, public_id)


class DeleteModel(APIView):
    """Deletes a route."""

    def post(self, request: Request) -> Response:
        public_id = _id_in(request)
        delete_route(public_id)
        return Response({"message": f"Model: {public_id} deleted successfully"})


class BlockModel(APIView):
    """Switches a route off or on; off, its name answers like a model that does not exist."""

    blocked = True

    def post(self, request: Request) -> Response:
        now = timezone.now()
        return Response(route_row(update_route(_id_in(request), {"enabled": not self.blocked}, now=now), now=now))


class ModelInfo(APIView):
    """Lists the models, or shows the one of an id."""

    def get(self, request: Request) -> Response:
        query = _query(
            request, known=("litellm_model_id", "include_team_models", "healthy_only"), not_yet={"teamId": ""}
        )
        healthy_only = _flag(query, "healthy_only")
        _flag(query, "include_team_models")  # no model is for some teams only, so all are included already
        entries = [entry for entry in model_entries(now=timezone.now()) if entry.works or not healthy_only]
        if wanted := query.get("litellm_model_id"):
            entries = [entry for entry in entries if entry.answer["model_info"]["id"] == wanted][:1]
            if not entries:
                raise NotFoundError(f"Model id = {wanted} not found", field="litellm_model_id")
        return Response({"data": [entry.answer for entry in entries]})


class ModelGroupInfo(APIView):
    """Lists the models that can be called."""

    def get(self, request: Request) -> Response:
        wanted = _query(request, known=("model_group",), not_yet={}).get("model_group")
        groups = [group_answer(entry) for entry in model_entries(now=timezone.now()) if entry.works]
        return Response({"data": [group for group in groups if not wanted or group["model_group"] == wanted]})


class TestConnection(APIView):
    """Sends one smallest call to where a route with these parameters would go."""

    def post(self, request: Request) -> Response:
        body = ConnectionSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        fields = body.route_fields()
        fields["model_name"] = "connection-test"
        return Response(try_route(planned_route(fields)))


class Credentials(APIView):
    """Lists the credentials, makes one."""

    def get(self, request: Request) -> Response:
        _query(request, known=(), not_yet={})
        answers = [credential_answer(credential) for credential in Credential.objects.order_by("name")]
        return Response({"success": True, "credentials": answers})

    def post(self, request: Request) -> Response:
        body = NewCredentialSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        create_credential(body.credential_fields(), now=timezone.now())
        return Response({"success": True, "message": "Credential created successfully"})


class CredentialByName(APIView):
    """Shows a credential without its key."""

    def get(self, request: Request, name: str) -> Response:
        return Response(credential_answer(credential_for(name)))


class ChangeCredential(APIView):
    """Changes what the body names, or deletes the credential."""

    def patch(self, request: Request, name: str) -> Response:
        body = CredentialSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        update_credential(name, body.credential_fields(), now=timezone.now())
        return Response({"success": True, "message": "Credential updated successfully"})

    def delete(self, request: Request, name: str) -> Response:
        delete_credential(name)
        return Response({"success": True, "message": "Credential deleted successfully"})


def _updated(request: Request, public_id: str) -> Response:
    body = UpdateModelSerializer(data=request.data)
    body.is_valid(raise_exception=True)
    now = timezone.now()
    shown = route_entry(route_for(public_id), now=now)
    return Response(route_row(update_route(public_id, body.route_fields(shown=shown), now=now), now=now))


def _id_in(request: Request) -> str:
    body = ModelIdSerializer(data=request.data)
    body.is_valid(raise_exception=True)
    return str(body.validated_data["id"])


def _query(request: Request, *, known: tuple[str, ...], not_yet: dict[str, object]) -> dict[str, str]:
    """The parameters of the address. Raises ValidationError for one that is unknown."""
    query = request.query_params.dict()
    if refused := refusals(query, known=known, not_yet=not_yet):
        raise serializers.ValidationError(refused)
    return query


def _flag(query: dict[str, str], name: str) -> bool:
    text = query.get(name, "")
    if text.lower() not in FLAGS:
        raise serializers.ValidationError({name: f"{text!r} is not allowed; allowed are true and false"})
    return FLAGS[text.lower()]
