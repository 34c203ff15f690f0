"""Addresses of the API for models and credentials."""

from django.urls import path

from catalog.views import (
    BlockModel,
    ChangeCredential,
    CredentialByName,
    Credentials,
    DeleteModel,
    ModelGroupInfo,
    ModelInfo,
    NewModel,
    PatchModel,
    TestConnection,
    UpdateModel,
)

urlpatterns = [
    path("model/new", NewModel.as_view()),
    path("model/update", UpdateModel.as_view()),
    path("model/delete", DeleteModel.as_view()),
    path("model/block", BlockModel.as_view(blocked=True)),
    path("model/unblock", BlockModel.as_view(blocked=False)),
    path("model/info", ModelInfo.as_view()),
    path("model/<str:public_id>/update", PatchModel.as_view()),
    path("v1/model/info", ModelInfo.as_view()),
    path("model_group/info", ModelGroupInfo.as_view()),
    path("health/test_connection", TestConnection.as_view()),
    path("credentials", Credentials.as_view()),
    path("credentials/by_name/<path:name>", CredentialByName.as_view()),
    path("credentials/<path:name>", ChangeCredential.as_view()),
]
