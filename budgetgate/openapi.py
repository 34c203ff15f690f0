"""The OpenAPI document: what no view says of itself, and the pages that show it.

drf-spectacular gathers the views. Added here are the error answers, the keys that are asked for, the records of
budgets/documents.py, and the LLM routes, which are no addresses of Django's.
"""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import orjson
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe
from drf_spectacular.extensions import OpenApiAuthenticationExtension, OpenApiSerializerExtension
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.openapi import AutoSchema

from budgetgate.llm_routes import LLM_PATHS
from budgets.documents import ERROR, LINKS, RECORDS, Schema
from budgets.serializers import RequestSerializer, drops_unknown_fields

NOT_ACTED_ON = "Known to clients and not acted on: only what means nothing is taken."
METHODS = frozenset({"get", "put", "post", "delete", "patch"})
SECURITY: list[Schema] = [{"bearer": []}, {"x-api-key": []}]
SECURITY_SCHEMES: Schema = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "`Authorization: Bearer sk-...`"},
    "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key", "description": "The key and nothing else."},
}

ERRORS = {
    400: "Something in the request is not allowed; the message names it.",
    401: "No key, or one that is not valid.",
    403: "The key may not do this.",
    404: "What the request names does not exist.",
    405: "The address does not know this method.",
    413: "The body is too large.",
    429: "Too many requests came at once.",
    503: "The database or the counter store does not answer; nothing was changed.",
}


class KeySecurity(OpenApiAuthenticationExtension):
    """Whatever authenticates a view wants a key, in one of two headers."""

    target_class = "rest_framework.authentication.BaseAuthentication"
    match_subclasses = True
    name = list(SECURITY_SCHEMES)

    def get_security_requirement(self, auto_schema: AutoSchema) -> Any:
        return SECURITY

    def get_security_definition(self, auto_schema: AutoSchema) -> Any:
        return list(SECURITY_SCHEMES.values())


class SessionSecurity(OpenApiAuthenticationExtension):
    """The sessions of our own pages are no way in for others, and stand in no document."""

    target_class = "budgetgate.authentication.SessionAuthentication"
    priority = 1
    name: list[str] = []

    def get_security_requirement(self, auto_schema: AutoSchema) -> Any:
        return None

    def get_security_definition(self, auto_schema: AutoSchema) -> Any:
        return []


class RequestSchema(OpenApiSerializerExtension):
    """A request as its fields say it, with those that are known and not acted on."""

    target_class = "budgets.serializers.RequestSerializer"
    match_subclasses = True

    def map_serializer(self, auto_schema: AutoSchema, direction: Any) -> Schema:
        serializer = self.target() if isinstance(self.target, type) else self.target
        assert isinstance(serializer, RequestSerializer), "the extension is for these"
        properties = {name: _field_schema(field, auto_schema, direction) for name, field in serializer.fields.items()}
        for name, default in serializer.not_yet.items():
            properties.setdefault(name, _not_acted_on(default))
        schema: Schema = {"type": "object", "properties": properties, **serializer.rules}
        if required := [name for name, field in serializer.fields.items() if field.required]:
            schema["required"] = required
        if description := (type(serializer).__doc__ or "").strip():
            schema["description"] = description
        return schema if drops_unknown_fields() else {**schema, "additionalProperties": False}


def _field_schema(field: Any, auto_schema: AutoSchema, direction: Any) -> Schema:
    schema = getattr(field, "schema", None)
    if schema is None:
        own: Schema = auto_schema._map_serializer_field(field, direction)
        return own
    return {**schema, "description": str(field.help_text)} if field.help_text else dict(schema)


def _not_acted_on(default: object) -> Schema:
    allowed: list[object] = [None, False, "", [], {}]
    if not any(default == other and type(default) is type(other) for other in allowed):  # 0 equals False
        allowed.append(default)
    return {"description": NOT_ACTED_ON, "enum": allowed}


# --- what is added to the gathered views ----------------------------------------------------------


def complete(result: Schema, **kwargs: object) -> Schema:
    """drf-spectacular's hook: the whole document from the gathered one."""
    for operations in result["paths"].values():
        for method in METHODS & operations.keys():
            operations[method] = _with_empty_values(operations[method])
    paths = result["paths"] = {**result["paths"], **LLM_PATHS}
    for path, operations in paths.items():
        for method in METHODS & operations.keys():
            paths[path] = {**paths[path], method: _operation(operations[method], path=path, method=method)}
    components = result.setdefault("components", {})
    components["securitySchemes"] = SECURITY_SCHEMES
    components["responses"] = {f"Error{status}": _error_answer(said) for status, said in ERRORS.items()}
    components["schemas"] = dict(sorted((_records_of(result) | components.get("schemas", {})).items()))
    return result


def _with_empty_values(operation: Schema) -> Schema:
    """In a query an empty text means that nothing was given."""
    if "parameters" not in operation:
        return operation
    parameters = [
        {**each, "allowEmptyValue": True} if _may_be_empty(each) else each for each in operation["parameters"]
    ]
    return {**operation, "parameters": parameters}


def _may_be_empty(parameter: Schema) -> bool:
    """A list is written as one text too, an empty one as none."""
    is_list = parameter["schema"].get("type") == "array"
    return parameter["in"] == "query" and not parameter.get("required") and not is_list


def _operation(operation: Schema, *, path: str, method: str) -> Schema:
    links = operation.get(LINKS)
    answers = {**operation["responses"], **_errors_of(operation)}
    if links is not None:
        answers = {status: _linked(answer, links) if status < "300" else answer for status, answer in answers.items()}
    kept = {name: value for name, value in operation.items() if name != LINKS}
    return {**kept, "operationId": operation_id(method, path), "responses": dict(sorted(answers.items()))}


def operation_id(method: str, path: str) -> str:
    """`get_key_info` for GET /key/info."""
    return "_".join([method, *re.findall(r"[A-Za-z0-9]+", path)])


def _errors_of(operation: Schema) -> dict[str, Schema]:
    """What the operation may answer instead; an address that is open to everybody asks nothing of anybody."""
    statuses = {405}
    if "security" in operation:
        statuses |= {401, 403, 503}
    if "requestBody" in operation:
        statuses |= {400, 404, 413}
    if "parameters" in operation:
        statuses |= {400, 404}
    missing = {str(status) for status in statuses} - operation["responses"].keys()
    return {status: {"$ref": f"#/components/responses/Error{status}"} for status in missing}


def _error_answer(description: str) -> Schema:
    return {"description": description, "content": {"application/json": {"schema": ERROR}}}


def _linked(answer: Schema, links: Mapping[str, Mapping[str, object]]) -> Schema:
    """What a target has no place for in its address goes into its query, or into its body."""
    made = {}
    for target, values in links.items():
        method, _, path = target.partition(" ")
        in_path = {name: value for name, value in values.items() if f"{{{name}}}" in path}
        others = {name: value for name, value in values.items() if name not in in_path}
        parameters, body = (in_path | others, {}) if method in ("get", "delete") else (in_path, others)
        link: Schema = {"operationId": operation_id(method, path)}
        link |= {"parameters": parameters} if parameters else {}
        made[operation_id(method, path)] = link | ({"requestBody": body} if body else {})
    return {**answer, "links": made}


def _records_of(document: object) -> dict[str, Schema]:
    """The records that the document refers to, and those that these refer to."""
    found: dict[str, Schema] = {}
    waiting = list(_references(document))
    while waiting:
        name = waiting.pop()
        if name in RECORDS and name not in found:
            found[name] = RECORDS[name]
            waiting += _references(RECORDS[name])
    return found


def _references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        reference = value.get("$ref")
        if isinstance(reference, str):
            yield reference.rpartition("/")[2]
        for item in value.values():
            yield from _references(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _references(item)


# --- the pages ------------------------------------------------------------------------------------


@cache
def document() -> bytes:
    """The document as JSON; made once in a process."""
    return orjson.dumps(SchemaGenerator().get_schema(public=True))


@require_safe
def openapi_json(request: HttpRequest) -> HttpResponse:
    """`GET /openapi.json`, open to everybody."""
    return HttpResponse(document(), content_type="application/json")


@require_safe
def docs(request: HttpRequest) -> HttpResponse:
    """`GET /docs`: the document as a page, from files of this server only."""
    return render(request, "docs.html")
