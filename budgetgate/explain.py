"""`POST /budget/explain`: what every window would say to a call, without making it."""

from datetime import datetime
from typing import Any

import orjson
from django.utils import timezone
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from budgetgate.explaining import Explanation, Question, WindowAnswer, explain, profile_of_team
from budgets.actors import Actor
from budgets.documents import documented, flag, instant, integer, listing, nullable, number, record, text
from budgets.errors import InputError, NotFoundError
from budgets.requests import actor_of
from budgets.rules.limits import LimitUnit
from budgets.rules.money import usd_from_nanousd
from budgets.rules.scopes import CUSTOMER, TAG, KeyProfile
from budgets.rules.windows import END_OF_TIME_MS
from budgets.serializers import NamesField, RequestSerializer, Schema, TextField
from budgets.services import instant_of
from keys.access import key_for
from keys.lookup import key_not_found
from keys.profiles import load_profile
from proxy.errors import REASONS
from proxy.estimate import TOKENS_MAX
from teams.models import Team
from teams.services import team_for

KEY_LENGTH_MAX = 256
CUSTOMER_LENGTH_MAX = 10_000
RUN_LENGTH_MAX = 500

_WINDOW = record(
    "ExplainedWindow",
    {
        "scope": text("What the window belongs to: key, team, member, user, customer, tag or run."),
        "scope_id": nullable(text("Its id. Null for a tag that the key has and the question did not name.")),
        "model": nullable(text("The model whose calls it counts; null for all.")),
        "budget_duration": text("The duration of the limit, as it was spelled; `lifetime` without one."),
        "unit": text("What it counts.", choices=[unit.value for unit in LimitUnit]),
        "limit": nullable(
            number(
                "The maximum that holds now, with grants; USD, or a whole number. This and the next three are null for "
                "customers and tags, whose spend only admins see."
            )
        ),
        "granted": nullable(number("The part of it that grants add now.")),
        "spent": nullable(number("What was spent in this window.")),
        "held": nullable(number("What calls in flight hold.")),
        "estimate": number("What this call would hold."),
        "would_pass": flag("Whether the window has room for the call."),
        "reason": nullable(text("Why it has none.", choices=list(REASONS.values()))),
        "passes_at": nullable(
            instant(
                "When it would have room at the latest, if nothing else is spent; null where it has, or never will."
            )
        ),
        "reset_at": nullable(instant("When the window ends; null for a lifetime.")),
        "output_tokens_max": nullable(
            integer("The largest output bound that it would let pass: null where any would, 0 where none.", minimum=0)
        ),
    },
    d="A window that the call would have to fit into.",
)
EXPLANATION = record(
    "Explanation",
    {
        "would_pass": flag("Whether the call would be made."),
        "refusal": nullable(
            record(
                "ExplainedRefusal",
                {
                    "status": integer("The HTTP status of the answer."),
                    "type": text("The type of the error."),
                    "message": text("What the caller would read."),
                },
                d="What refuses the call before any window is asked, such as a blocked key.",
            )
        ),
        "estimate": record(
            "ExplainedEstimate",
            {
                "cost": number("The most that the call can cost, in USD."),
                "input_tokens": integer("The most input tokens."),
                "output_tokens": integer("The most output tokens, over all choices."),
            },
            d="The bounds that admission works with.",
        ),
        "windows": listing(_WINDOW, "Every window with a maximum."),
        "output_tokens_max": nullable(
            integer("The largest output bound that fits in all windows; null where any does, 0 where none.", minimum=0)
        ),
    },
    d="What would become of a call.",
)


class BodyField(serializers.Field[Any, Any, Any, Any]):
    """The body of a chat completion, as the bytes that a client would send."""

    schema: Schema = {"type": ["object", "null"]}

    def __init__(self, *, help_text: str) -> None:
        super().__init__(required=False, allow_null=True, help_text=help_text)

    def to_internal_value(self, data: Any) -> bytes:
        if not isinstance(data, dict):
            raise serializers.ValidationError("it is not an object; allowed is the body of a chat completion")
        try:
            return orjson.dumps(data, default=lambda value: orjson.Fragment(str(value)))
        except orjson.JSONEncodeError as error:
            raise serializers.ValidationError(f"it cannot be read: {error}") from None


class CountField(serializers.Field[Any, Any, Any, Any]):
    """A whole number of tokens."""

    schema: Schema = {"type": ["integer", "null"], "minimum": 0, "maximum": TOKENS_MAX}

    def __init__(self, *, help_text: str) -> None:
        super().__init__(required=False, allow_null=True, help_text=help_text)

    def to_internal_value(self, data: Any) -> int:
        if isinstance(data, bool) or not isinstance(data, int) or not 0 <= data <= TOKENS_MAX:
            message = f"{str(data)[:64]!r} is not allowed; allowed is a whole number from 0 to {TOKENS_MAX}"
            raise serializers.ValidationError(message)
        return data


class ExplainSerializer(RequestSerializer):
    """A call that is not made."""

    key = TextField(max_length=KEY_LENGTH_MAX, help_text="Whose call: the text of a key or its hash.")
    team_id = TextField(
        max_length=128, help_text="Or a call of any key of this team, against the team's windows alone."
    )
    model = TextField(help_text="The model, as callers name it; needed unless `body` names it.")
    body = BodyField(help_text="The body of a chat completion; its bytes bound the input. Instead of the token counts.")
    input_tokens = CountField(help_text="The most input tokens; 0 if left out.")
    output_tokens = CountField(help_text="The most output tokens; 0 if left out.")
    customer = TextField(max_length=CUSTOMER_LENGTH_MAX, help_text="The customer of the call.")
    user = TextField(max_length=CUSTOMER_LENGTH_MAX, help_text="The same, as bodies of calls name it.")
    tags = NamesField(max_length=20, help_text="Tags of the call, besides those of its key.")
    run = TextField(max_length=RUN_LENGTH_MAX, help_text="The run, as in `x-budgetgate-run`: `<id>; max=0.50`.")


class Explain(APIView):
    """Answers whoever may see the key or the team."""

    @documented(
        "Explain what would become of a call",
        request=ExplainSerializer,
        answer=EXPLANATION,
        tag="budget",
        description="Decides as admission does; writes nothing. Give `key` or `team_id`, and `body` or token counts.",
    )
    def post(self, request: Request) -> Response:
        body, now = ExplainSerializer(data=request.data), timezone.now()
        body.is_valid(raise_exception=True)
        asked, actor = body.validated_data, actor_of(request)
        profile = _profile(asked, actor=actor, now=now)
        explanation = explain(_question(asked, profile=profile), now=now)
        return Response(_rendered(explanation, shows_guests=actor.sees_all))


def _profile(asked: dict[str, Any], *, actor: Actor, now: datetime) -> KeyProfile:
    if (asked.get("key") is None) == (asked.get("team_id") is None):
        raise InputError("key: give either key or team_id", field="key")
    if asked.get("team_id") is not None:
        team = team_for(asked["team_id"])
        if not _sees_team(actor, team):
            raise NotFoundError(f"Team not found, passed team id: {team.team_id}.", field="team_id")
        return profile_of_team(team, now=now)
    key = key_for(actor, asked["key"], now=now)
    profile = load_profile(key.token_hash, now=now)
    if profile is None:  # deleted meanwhile
        raise key_not_found("key")
    return profile


def _sees_team(actor: Actor, team: Team) -> bool:
    return actor.sees_team(team.team_id) or team.team_id in actor.admin_of


def _question(asked: dict[str, Any], *, profile: KeyProfile) -> Question:
    body: bytes | None = asked.get("body")
    model: str | None = asked.get("model")
    counts = [name for name in ("input_tokens", "output_tokens") if asked.get(name) is not None]
    if (body is None) == (not counts):
        raise InputError("body: give either body or input_tokens and output_tokens", field="body")
    if body is not None:
        body, model = _with_model(body, model=model)
    if model is None:
        raise InputError("model: it is needed, here or in body", field="model")
    return Question(
        profile=profile,
        model=model,
        body=body,
        input_tokens=asked.get("input_tokens") or 0,
        output_tokens=asked.get("output_tokens") or 0,
        customers=tuple((name, asked[name]) for name in ("customer", "user") if asked.get(name)),
        tags=tuple(asked.get("tags") or ()),
        run=asked.get("run"),
    )


def _with_model(body: bytes, *, model: str | None) -> tuple[bytes, str | None]:
    """The body with its model, which may stand in either place."""
    try:
        payload = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InputError(f"body: it cannot be read: {error}", field="body") from None
    named = payload.get("model")
    if named is None:
        return (body if model is None else orjson.dumps({**payload, "model": model})), model
    if not isinstance(named, str):
        raise InputError("body.model: it is no text", field="body.model")
    if model is not None and named != model:
        raise InputError(f"model: {model!r} and body.model {named[:200]!r} differ; give one", field="model")
    return body, named


def _rendered(explanation: Explanation, *, shows_guests: bool) -> dict[str, object]:
    estimate, refusal = explanation.estimate, explanation.refusal
    return {
        "would_pass": explanation.would_pass,
        "refusal": None
        if refusal is None
        else {"status": refusal.status, "type": refusal.type, "message": refusal.message},
        "estimate": {
            "cost": usd_from_nanousd(estimate.cost_nanousd),
            "input_tokens": estimate.input_tokens,
            "output_tokens": estimate.output_tokens,
        },
        "windows": [_window(answer, shows_guests=shows_guests) for answer in explanation.windows],
        "output_tokens_max": explanation.output_tokens_max,
    }


def _window(answer: WindowAnswer, *, shows_guests: bool) -> dict[str, object]:
    """What guests spend crosses teams: without the right to see it one learns only whether the call would pass."""
    active, usage = answer.usage.active, answer.usage
    unit, end_ms = active.limit.unit, active.window.end_ms
    amounts = {
        "limit": active.limit.maximum or 0,
        "granted": active.granted,
        "spent": usage.spent,
        "held": usage.held,
    }
    is_shown = shows_guests or active.scope.kind not in (CUSTOMER, TAG)
    return {
        "scope": active.scope.kind,
        "scope_id": None if answer.is_hidden else active.scope.id,
        "model": active.scope.model,
        "budget_duration": str(active.limit),
        "unit": unit.value,
        **{name: _amount(amount, unit=unit) if is_shown else None for name, amount in amounts.items()},
        "estimate": _amount(answer.amount, unit=unit),
        "would_pass": answer.verdict not in REASONS,
        "reason": REASONS.get(answer.verdict),
        "passes_at": None if answer.passes_ms is None else instant_of(answer.passes_ms),
        "reset_at": None if end_ms == END_OF_TIME_MS else instant_of(end_ms),
        "output_tokens_max": answer.output_tokens_max if is_shown else None,
    }


def _amount(amount: int, *, unit: LimitUnit) -> object:
    return usd_from_nanousd(amount) if unit is LimitUnit.USD else amount
