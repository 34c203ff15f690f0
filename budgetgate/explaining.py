"""What would become of a call: every window that it would have to fit into, and what that window would say.

Reads what admission reads, and decides with the same functions; writes nothing, neither counters nor holds nor birth
marks. A window that the counter store does not know is read from the ledger and stays unknown.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import orjson
from django.conf import settings

from budgets.errors import InputError
from budgets.gate.store import names
from budgets.gate.windows import Amounts, active_windows
from budgets.rules.admission import Verdict, verdict_of
from budgets.rules.labels import LabelError, checked_tags, customer_id_of, limits_of_run, parse_run
from budgets.rules.limits import Enforcement, LimitUnit
from budgets.rules.scopes import CUSTOMER, TAG, TEAM, GuestProfile, KeyProfile, ScopeLimits, limits_of_model
from budgets.rules.windows import END_OF_TIME_MS
from budgets.services import grants_for, ms_of
from budgets.usage import WindowUsage, usage_of_windows
from catalog.routing import ResolvedRoute
from catalog.table import RouteTable
from proxy.access import barred, guest_denied, model_denied, names_of, spellings_of, target_of
from proxy.errors import ApiError
from proxy.estimate import (
    TOKENS_MAX,
    Estimate,
    EstimateError,
    estimate_chat,
    estimate_tokens,
    output_bound_within,
)
from proxy.labels import NO_HEADERS, labels_of, without_our_tags
from proxy.payload import payload_of
from teams.models import Team
from teams.scopes import limits_of_team, load_guest


@dataclass(frozen=True, slots=True)
class Question:
    """A call that nobody makes. `body` is a chat completion's; without one the tokens count. `key_id` is empty where
    the question is asked of a whole team."""

    profile: KeyProfile
    model: str
    body: bytes | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    customers: tuple[tuple[str, str], ...] = ()
    tags: tuple[str, ...] = ()
    run: str | None = None


@dataclass(frozen=True, slots=True)
class WindowAnswer:
    """What one window would say. `amount` is what the call would hold there; None for `passes_ms` is now, or never."""

    usage: WindowUsage
    amount: int
    verdict: Verdict
    passes_ms: int | None
    output_tokens_max: int | None
    is_hidden: bool


@dataclass(frozen=True, slots=True)
class Explanation:
    """Every window with a maximum. `refusal` is what refuses the call before its windows are asked."""

    estimate: Estimate
    windows: tuple[WindowAnswer, ...]
    refusal: ApiError | None

    @property
    def would_pass(self) -> bool:
        return self.refusal is None and all(each.verdict is Verdict.ROOM for each in self.windows)

    @property
    def output_tokens_max(self) -> int | None:
        bounds = [each.output_tokens_max for each in self.windows if each.output_tokens_max is not None]
        return min(bounds, default=None)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question that was understood: scopes with their roots, and whether the caller need not know them."""

    profile: KeyProfile
    route: ResolvedRoute
    spellings: tuple[str, ...]
    spellings_of_guests: tuple[str, ...]
    payload: dict[str, object]
    estimate: Estimate
    scopes: tuple[tuple[ScopeLimits, str, bool], ...]
    refusal: ApiError | None

    @property
    def amounts(self) -> Amounts:
        return Amounts(self.estimate.cost_nanousd, self.estimate.tokens)


def profile_of_team(team: Team, *, now: datetime) -> KeyProfile:
    """A key of the team that has nothing of its own."""
    grants = grants_for({(TEAM, team.team_id)}, now=now)
    return KeyProfile(
        key_id="",
        token_hash="",
        alias=None,
        team_id=team.team_id,
        blocked=False,
        team_blocked=team.blocked,
        expires_ms=None,
        models=None,
        team_models=frozenset(team.allowed_models) or None,
        scopes=(limits_of_team(team, grants=grants),),
        aliases=team.model_aliases,
        tags=tuple(team.tags),
    )


def explain(question: Question, *, now: datetime) -> Explanation:
    """What every window would say to the call. Raises InputError where there can be no such call."""
    asked = _understood(question, now=now)
    counted = list(_each_limit(asked))
    windows = [active_windows([scope], names=names(), root=root, now_ms=ms_of(now))[0] for scope, root, _ in counted]
    answers = [
        _answer(asked, usage, scope=scope, root=root, is_hidden=is_hidden, now_ms=ms_of(now))
        for usage, (scope, root, is_hidden) in zip(usage_of_windows(windows), counted, strict=True)
    ]
    return Explanation(asked.estimate, tuple(answers), asked.refusal)


# --- the call -------------------------------------------------------------------------------------


def _understood(question: Question, *, now: datetime) -> _Asked:
    profile, routes = question.profile, RouteTable.from_settings()
    routes.reload()
    target = target_of(profile, asked=question.model)
    route = routes.resolve(target)
    if route is None:
        raise InputError(f"model: there is no model {question.model[:200]!r}", field="model")
    if route.card is None and settings.UNPRICED != "allow":
        raise InputError(f"model: {question.model!r} has no known price, so its calls are refused", field="model")
    payload, estimate = _estimate(question, route=route)
    guests = list(_guests(question, payload=payload, now=now))
    model_names = {target, route.model}
    refusals = [
        barred(profile, at_ms=ms_of(now)),
        model_denied(profile, asked=question.model, names=model_names),
        *(guest_denied(guest, asked=question.model, names=model_names) for guest, _ in guests),
    ]
    scopes = [(scope, profile.root, False) for scope in (*profile.scopes, *_run(question))]
    scopes += [(guest.limits, guest.root, is_hidden) for guest, is_hidden in guests]
    spellings = spellings_of(profile, asked=question.model, route=route, resolve=routes.resolve)
    refusal = next(filter(None, refusals), None)
    of_guests = names_of(question.model, target=target, route=route)
    return _Asked(profile, route, spellings, of_guests, payload, estimate, tuple(scopes), refusal)


def _estimate(question: Question, *, route: ResolvedRoute) -> tuple[dict[str, object], Estimate]:
    if question.body is None:
        tokens = estimate_tokens(
            card=route.card, input_tokens=question.input_tokens, output_tokens=question.output_tokens
        )
        return {}, tokens
    parsed = payload_of(question.body)
    if isinstance(parsed, ApiError):
        raise _inside_body(parsed.message, field=parsed.param)
    payload, body = parsed
    try:
        if (sent := without_our_tags(payload)) is not None:
            body = orjson.dumps(sent)
        default = settings.OUTPUT_TOKENS_DEFAULT
        return payload, estimate_chat(payload, body=body, route=route, output_tokens_default=default)
    except EstimateError as error:
        raise _inside_body(str(error), field=error.field) from None


def _inside_body(message: str, *, field: str | None) -> InputError:
    path = f"body.{field}" if field else "body"
    return InputError(f"{path}: {message}", field=path)


def _guests(question: Question, *, payload: dict[str, object], now: datetime) -> Iterator[tuple[GuestProfile, bool]]:
    """Those that have limits or forbid something, and whether the caller must know them."""
    try:
        said = labels_of(payload, headers=NO_HEADERS)
        tags = checked_tags([*said.tags, *question.tags], field="tags")
    except LabelError as error:
        raise InputError(str(error), field=error.field) from None
    named = {field: customer_id_of(text) for field, text in question.customers}
    customers = {**named, **({} if said.customer_id is None else {"body.user": said.customer_id})}
    if len(set(customers.values())) > 1:
        fields = list(customers)
        raise InputError(f"{' and '.join(fields)} name different customers; a call has one", field=fields[0])
    for customer_id in set(customers.values()):
        if (guest := load_guest(CUSTOMER, customer_id, now=now)) is not None:
            yield guest, False
    for tag in dict.fromkeys((*question.profile.tags, *tags)):
        if (guest := load_guest(TAG, tag, now=now)) is not None:
            yield guest, tag not in tags


def _run(question: Question) -> Sequence[ScopeLimits]:
    if question.run is None:
        return ()
    if not question.profile.key_id:
        raise InputError("run: a run belongs to a key; give key instead of team_id", field="run")
    try:
        return (limits_of_run(parse_run(question.run, field="run"), key_id=question.profile.key_id),)
    except LabelError as error:
        raise InputError(str(error), field=error.field) from None


# --- its windows ----------------------------------------------------------------------------------


def _each_limit(asked: _Asked) -> Iterator[tuple[ScopeLimits, str, bool]]:
    """Each limit that can refuse, as a scope that has no other."""
    for scope, root, is_hidden in asked.scopes:
        spellings = asked.spellings if root == asked.profile.root else asked.spellings_of_guests
        of_model = limits_of_model(scope, spellings=spellings, model=asked.route.model)
        for limits in (scope, *(() if of_model is None else (of_model,))):
            for counted in limits.limits:
                if counted.limit.maximum is not None:
                    yield replace(limits, limits=(counted,), by_model={}), root, is_hidden


def _answer(
    asked: _Asked, usage: WindowUsage, *, scope: ScopeLimits, root: str, is_hidden: bool, now_ms: int
) -> WindowAnswer:
    claim = usage.active.claim(asked.amounts)
    verdict = verdict_of(claim, spent=usage.spent, held=usage.held)
    passes_ms = None
    if verdict is not Verdict.ROOM:
        passes_ms = _passes_ms(usage, scope=scope, root=root, amounts=asked.amounts, now_ms=now_ms)
    return WindowAnswer(usage, claim.amount, verdict, passes_ms, _output_tokens_max(asked, usage), is_hidden)


def _passes_ms(usage: WindowUsage, *, scope: ScopeLimits, root: str, amounts: Amounts, now_ms: int) -> int | None:
    """The first reset or beginning of a grant after which the window would have room, if nothing else happens."""
    [counted] = scope.limits
    instants = [each.start_ms for each in counted.raises if each.start_ms > now_ms]
    if usage.active.window.end_ms != END_OF_TIME_MS:
        instants.append(usage.active.window.end_ms)
    for at_ms in sorted(instants):
        [later] = active_windows([scope], names=names(), root=root, now_ms=at_ms)
        is_same = later.counter == usage.active.counter
        spent, held = (usage.spent, usage.held) if is_same else (0, 0)
        if verdict_of(later.claim(amounts), spent=spent, held=held) is Verdict.ROOM:
            return at_ms
    return None


def _output_tokens_max(asked: _Asked, usage: WindowUsage) -> int | None:
    """The largest output bound of each choice that the window would let pass; None where any would, 0 where none."""
    limit, estimate = usage.active.limit, asked.estimate
    assert limit.maximum is not None, "windows that only count are left out"
    room = limit.maximum - usage.spent - usage.held
    if limit.enforcement is not Enforcement.STRICT or limit.unit not in (LimitUnit.USD, LimitUnit.TOKENS):
        return None if room > 0 else 0
    if limit.unit is LimitUnit.TOKENS:
        return max(room - estimate.input_tokens, 0) // estimate.choices
    bound = output_bound_within(estimate, payload=asked.payload, card=asked.route.card, room_nanousd=room)
    return None if bound is None or bound > TOKENS_MAX else bound
