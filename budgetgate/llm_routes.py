"""The LLM routes in the OpenAPI document. They are no addresses of Django's (proxy/entry.py answers them).

A body goes to the provider as it is, so that only what the gateway itself reads is described.
"""

from typing import Any

from budgets.documents import ERROR, Schema, anything, integer, listing, names, nullable, record, text

_ANSWERS_OF_CALLS = {
    "400": "The body makes no sense, or the model is not known or has no price.",
    "401": "No key, or one that is unknown, blocked or expired; or its team, user or customer is blocked.",
    "403": "The key may not call this model or this address, or is the master key.",
    "405": "The address does not know this method.",
    "413": "The body is too large.",
    "429": "A window of the call has no room, or a rate is exceeded; `error.budget` names it.",
    "502": "The provider could not be reached, or broke off.",
    "503": "Budgets cannot be checked: the counter store or the database does not answer.",
    "504": "The provider did not answer in time.",
}
_HEADERS = {
    "x-budgetgate-customer": "The customer of the call, as the body's `user`. Also `x-litellm-customer-id`.",
    "x-budgetgate-tags": "Tags of the call, separated by commas. Also `x-litellm-tags`.",
    "x-budgetgate-run": "The run that the call belongs to, and what it may spend in USD: `<id>; max=0.50`.",
}
_MODEL_NAME = "The public name of the model."

CHAT_REQUEST: Schema = {
    "type": "object",
    "description": "OpenAI's request. What is not named here goes to the provider as it is.",
    "required": ["model", "messages"],
    "properties": {
        "model": {"type": "string", "minLength": 1, "maxLength": 200, "description": _MODEL_NAME},
        "messages": {
            "type": "array",
            "minItems": 1,
            "description": "The conversation so far.",
            "items": {
                "type": "object",
                "required": ["role", "content"],
                "properties": {
                    "role": text("Who speaks.", choices=("system", "developer", "user", "assistant", "tool")),
                    "content": text("What is said; providers take lists of parts too."),
                },
            },
        },
        "stream": {"type": ["boolean", "null"], "description": "Whether the answer comes as server-sent events."},
        "max_tokens": nullable(integer("The longest answer, in tokens.", minimum=1, maximum=1_000_000)),
        "max_completion_tokens": nullable(integer("The same, as newer clients send it.", minimum=1, maximum=1_000_000)),
        "n": nullable(integer("How many answers are wanted.", minimum=1, maximum=128)),
        "user": nullable(text("The customer of the call, whose limits hold too.")),
        "metadata": {
            "type": ["object", "null"],
            "description": "Goes to the provider, without `tags`.",
            "properties": {"tags": nullable(names("Tags of the call, whose limits hold too; at most 20."))},
        },
    },
}
_MODEL = record(
    "Model",
    {
        "id": text(_MODEL_NAME),
        "object": text("Always `model`.", choices=("model",)),
        "created": integer("A fixed instant, in seconds since 1970."),
        "owned_by": text("Always `budgetgate`."),
    },
    d="A model that the key may call.",
)
MODELS_ANSWER = record(
    "Models", {"data": listing(_MODEL), "object": text("Always `list`.", choices=("list",))}, d="The models of a key."
)


def _answers(good: Schema, *, error: Schema, without: frozenset[str] = frozenset()) -> Schema:
    refused = {
        status: {"description": description, "content": {"application/json": {"schema": error}}}
        for status, description in _ANSWERS_OF_CALLS.items()
        if status not in without
    }
    return {"200": good, **refused}


def _operation(summary: str, answers: Schema, **more: Any) -> Schema:
    return {"summary": summary, "tags": ["llm"], "security": [{"bearer": []}, {"x-api-key": []}], **more, **answers}


def _chat() -> Schema:
    content = {
        "application/json": {"schema": {"type": "object", "description": "The provider's answer, as it came."}},
        "text/event-stream": {"schema": anything("The provider's events, with `stream`.")},
    }
    own = {"type": "object", "description": "An error of the provider's own, as it came."}
    answers = _answers({"description": "The provider's answer.", "content": content}, error={"anyOf": [ERROR, own]})
    answers["default"] = {"description": "Whatever else the provider answers, as it came."}
    body = {"required": True, "content": {"application/json": {"schema": CHAT_REQUEST}}}
    description = "Admitted against every window of the call, forwarded, metered and charged."
    headers = [
        {"name": name, "in": "header", "required": False, "schema": {"type": "string"}, "description": meaning}
        for name, meaning in _HEADERS.items()
    ]
    more = {"requestBody": body, "parameters": headers, "description": description}
    return {"post": _operation("Call a chat model", {"responses": answers}, **more)}


PASSED_OVER = (
    "return_wildcard_routes",
    "team_id",
    "include_model_access_groups",
    "only_model_access_groups",
    "include_metadata",
    "fallback_type",
    "scope",
    "healthy_only",
    "client_version",
)
"""What clients may ask of the list of models; it changes nothing: the list is that of the key."""


def _models() -> Schema:
    good = {"description": "The models.", "content": {"application/json": {"schema": MODELS_ANSWER}}}
    calls_only = frozenset({"400", "413", "429", "502", "504"})
    answers = _answers(good, error=ERROR, without=calls_only)
    said = "Changes nothing: the list is that of the key."
    parameters = [
        {"name": name, "in": "query", "required": False, "description": said, "schema": {"type": "string"}}
        for name in PASSED_OVER
    ]
    return {
        "get": _operation(
            "List the models that the key may call; for the master key all",
            {"responses": answers},
            parameters=parameters,
        )
    }


LLM_PATHS: Schema = {
    "/chat/completions": _chat(),
    "/v1/chat/completions": _chat(),
    "/models": _models(),
    "/v1/models": _models(),
}
