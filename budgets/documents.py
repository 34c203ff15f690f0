"""How an endpoint is documented, beside the method that answers: `documented`, and small builders of answer schemas.

A schema is plain OpenAPI 3.1. Every field of a record is described: `record` refuses one that is not. Records become
components under their names; budgetgate/openapi.py puts those that are used into the document.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar

from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.serializers import BaseSerializer

from budgets.queries import Parameter, QuerySerializer
from budgets.serializers import LIMIT_ENTRY

Schema = dict[str, Any]
Links = Mapping[str, Mapping[str, object]]
ViewT = TypeVar("ViewT", bound=Callable[..., Any])

_REFERENCE = "#/components/schemas/"
LINKS = "x-links"
RECORDS: dict[str, Schema] = {"BudgetLimitEntry": LIMIT_ENTRY}
"""Every record by its name."""


def documented(
    summary: str,
    *,
    request: type[BaseSerializer[Any]] | Schema | None = None,
    query: type[QuerySerializer] | None = None,
    answer: Schema | None = None,
    path: Mapping[str, str | Schema] | None = None,
    description: str = "",
    tag: str | None = None,
    status: int = 200,
    media_type: str = "application/json",
    also: Mapping[int, Schema] | None = None,
    or_as: Mapping[str, Schema] | None = None,
    links: Links | None = None,
) -> Callable[[ViewT], ViewT]:
    """Documents the method of a view (`get`, `post` and so on) that it stands above.

    `path` names the parts of the address with a description or a schema each. Error answers come by themselves; `also`
    has answers of other statuses whose forms are their own, `or_as` the forms of the good answer in other media types.
    `links` says what can be asked next with parts of the answer, which go into the path, the query or the body:
    `{"get /key/info": {"key": "$response.body#/key"}}`.
    """
    parts = [_path_parameter(name, said) for name, said in (path or {}).items()]
    names = [] if query is None else _query_parameters(query)
    answers = {(code, media_type): schema for code, schema in (also or {}).items()}
    answers[status, media_type] = answer or anything("Nothing that matters.")
    answers |= {(status, other): schema for other, schema in (or_as or {}).items()}
    decorate: Callable[[ViewT], ViewT] = extend_schema(
        summary=summary,
        description=description or None,
        request=_request_of(request),
        parameters=[*parts, *names],
        responses={form: OpenApiResponse(schema, description="The answer.") for form, schema in answers.items()},
        tags=None if tag is None else [tag],
        extensions=None if links is None else {LINKS: links},
    )
    return decorate


def _request_of(request: type[BaseSerializer[Any]] | Schema | None) -> Any:
    return None if request is None else {"application/json": request}


def _path_parameter(name: str, said: str | Schema) -> OpenApiParameter:
    schema = {"type": "string", "minLength": 1} if isinstance(said, str) else said
    description = said if isinstance(said, str) else said["description"]
    return OpenApiParameter(name, schema, OpenApiParameter.PATH, required=True, description=description)


def _query_parameters(query: type[QuerySerializer]) -> list[OpenApiParameter]:
    passed_over = "Not acted on: refused where it says anything but what it says by itself."
    return [
        *(_query_parameter(name, field) for name, field in query().fields.items()),
        *(
            OpenApiParameter(name, {"type": "string", "maxLength": 0}, OpenApiParameter.QUERY, description=passed_over)
            for name in query.not_yet
        ),
    ]


def _query_parameter(name: str, field: Any) -> OpenApiParameter:
    assert isinstance(field, Parameter), f"{name} of a query is a Parameter"
    schema = dict(field.schema)
    if not field.required and field.get_default() is not None:
        schema["default"] = field.get_default()
    return OpenApiParameter(
        name, schema, OpenApiParameter.QUERY, required=field.required, description=str(field.help_text)
    )


def nothing(values: Mapping[str, object]) -> dict[str, Schema]:
    """The fields of an answer that clients read and that mean nothing here, with the value that each always has."""
    return {name: anything(f"Means nothing here: always {json.dumps(value)}.") for name, value in values.items()}


# --- schemas of answers ---------------------------------------------------------------------------


def text(d: str, *, choices: Sequence[str] | None = None, example: str | None = None) -> Schema:
    """A text; with `choices` one of these."""
    return _without_none({"type": "string", "description": d, "enum": _listed(choices), "example": example})


def integer(d: str, *, minimum: int | None = None, maximum: int | None = None) -> Schema:
    """A whole number."""
    return _without_none({"type": "integer", "description": d, "minimum": minimum, "maximum": maximum})


def number(d: str, *, minimum: int | None = None) -> Schema:
    """A number with a fraction; dollars are exact to nine decimals."""
    return _without_none({"type": "number", "description": d, "minimum": minimum})


def flag(d: str) -> Schema:
    """true or false."""
    return {"type": "boolean", "description": d}


def instant(d: str) -> Schema:
    """An instant in UTC: `2026-11-23T14:00:00Z`."""
    return {"type": "string", "format": "date-time", "description": d}


def names(d: str) -> Schema:
    """A list of texts."""
    return {"type": "array", "items": {"type": "string"}, "description": d}


def anything(d: str) -> Schema:
    """Any JSON value."""
    return {"description": d}


def nullable(schema: Schema) -> Schema:
    """The same, or null."""
    kind = schema.get("type")
    if kind is None:
        return schema if "$ref" not in schema and "anyOf" not in schema else {"anyOf": [schema, {"type": "null"}]}
    either = schema | {"type": [*([kind] if isinstance(kind, str) else kind), "null"]}
    return either | {"enum": [*schema["enum"], None]} if "enum" in schema else either


def listing(schema: Schema, d: str = "") -> Schema:
    """A list of such values. What it lists describes it, where `d` does not."""
    return {"type": "array", "items": schema, "description": d or f"A list: {described(schema)}"}


def mapping(schema: Schema, d: str) -> Schema:
    """An object whose names are the caller's and whose values are such."""
    return {"type": "object", "additionalProperties": schema, "description": d}


def one_of(*schemas: Schema, d: str = "") -> Schema:
    """One of several forms."""
    return {"anyOf": list(schemas), "description": d or " Or: ".join(map(described, schemas))}


def record(
    name: str, fields: Mapping[str, Schema], *, required: Literal["all"] | Sequence[str] = "all", d: str = ""
) -> Schema:
    """An object with these fields, as a component of that name; answers with a reference to it."""
    for field, schema in fields.items():
        if not described(schema):
            raise ValueError(f"{field} of {name} has no description")
    needed = list(fields) if required == "all" else list(required)
    if unknown := set(needed) - fields.keys():
        raise ValueError(f"{name} requires {', '.join(sorted(unknown))}, which it has not")
    made: Schema = {"type": "object", "description": d or name, "properties": dict(fields)}
    if needed:
        made["required"] = needed
    if RECORDS.setdefault(name, made) != made:
        raise ValueError(f"there are two different records named {name}")
    return {"$ref": _REFERENCE + name}


def extend(
    base: Schema,
    name: str,
    fields: Mapping[str, Schema],
    *,
    required: Literal["all"] | Sequence[str] = "all",
    d: str = "",
) -> Schema:
    """A record with the fields of another one and more; `required` is said of the new fields only."""
    known = RECORDS[base["$ref"].removeprefix(_REFERENCE)]
    own = list(fields) if required == "all" else list(required)
    before = [field for field in known.get("required", []) if field not in fields]
    return record(name, {**known["properties"], **fields}, required=[*before, *own], d=d)


def described(schema: Schema) -> str:
    """The description of a schema, of a reference that of its record."""
    if "$ref" in schema:
        return str(RECORDS[schema["$ref"].removeprefix(_REFERENCE)]["description"])
    if "description" not in schema and "anyOf" in schema:
        return next(filter(None, map(described, schema["anyOf"])), "")
    return str(schema.get("description", ""))


def _listed(values: Sequence[str] | None) -> list[str] | None:
    return None if values is None else list(values)


def _without_none(schema: Schema) -> Schema:
    return {name: value for name, value in schema.items() if value is not None}


ERROR = record(
    "Error",
    {
        "error": record(
            "ErrorFields",
            {
                "message": text("What is wrong, with the value and what is allowed."),
                "type": text("The kind of the error, stable; docs/errors.md lists them."),
                "param": nullable(text("The field that is wrong, with its path; null where it is none.")),
                "code": text("The HTTP status, as text."),
                "budget": anything("On a refusal by a budget: the window that refuses, and why."),
            },
            required=["message", "type", "param", "code"],
            d="What went wrong.",
        )
    },
    d="Every error has this form.",
)
