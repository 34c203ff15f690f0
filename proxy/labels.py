"""What a call says of itself, in headers and in its body: its customer, its tags, and its run.

Of what stands in the body, `user` goes on to the provider; `metadata.tags` is for gateways and does not.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from budgets.rules.labels import LabelError, Run, checked_tags, customer_id_of, parse_run

CUSTOMER_HEADERS = ("x-litellm-customer-id", "x-litellm-end-user-id", "x-budgetgate-customer")
TAG_HEADERS = ("x-litellm-tags", "x-budgetgate-tags")
RUN_HEADER = "x-budgetgate-run"
LABEL_HEADERS = (*CUSTOMER_HEADERS, *TAG_HEADERS, RUN_HEADER)


@dataclass(frozen=True, slots=True)
class Labels:
    """The customer's id in its bounded form, the tags that the caller gave, and the run."""

    customer_id: str | None = None
    tags: tuple[str, ...] = ()
    run: Run | None = None


NO_LABELS = Labels()
NO_HEADERS: Mapping[str, str] = {}


def labels_of(payload: Mapping[str, object], *, headers: Mapping[str, str]) -> Labels:
    """What body and headers say; `headers` has those of LABEL_HEADERS that were sent. Raises LabelError."""
    if not headers and "user" not in payload and "metadata" not in payload:
        return NO_LABELS
    run = parse_run(headers[RUN_HEADER], field=RUN_HEADER) if RUN_HEADER in headers else None
    return Labels(_customer_of(payload, headers=headers), _tags_of(payload, headers=headers), run)


def _customer_of(payload: Mapping[str, object], *, headers: Mapping[str, str]) -> str | None:
    given: dict[str, str] = {}
    user = payload.get("user")
    if user is not None and not isinstance(user, str):
        raise LabelError("user is no text; it names the customer of the call.", field="user")
    if user:
        given["user"] = customer_id_of(user)
    given |= {name: customer_id_of(text) for name in CUSTOMER_HEADERS if (text := headers.get(name))}
    if len(set(given.values())) > 1:
        message = f"{' and '.join(given)} name different customers; a call has one."
        raise LabelError(message, field=list(given)[-1])
    return next(iter(given.values()), None)


def _tags_of(payload: Mapping[str, object], *, headers: Mapping[str, str]) -> tuple[str, ...]:
    tags: tuple[str, ...] = ()
    metadata = payload.get("metadata")
    if isinstance(metadata, dict) and metadata.get("tags") is not None:
        if not isinstance(metadata["tags"], list):
            raise LabelError("metadata.tags is no list of texts.", field="metadata.tags")
        tags = checked_tags(metadata["tags"], field="metadata.tags")
    for name in TAG_HEADERS:
        if name in headers:
            texts = [text.strip() for text in headers[name].split(",")]
            tags = checked_tags([*tags, *filter(None, texts)], field=name)
    return tags


def without_our_tags(payload: dict[str, object]) -> dict[str, object] | None:
    """The payload for the provider where tags have to come out of its metadata; None where nothing has to."""
    metadata = payload.get("metadata")
    if not isinstance(metadata, dict) or "tags" not in metadata:
        return None
    rest = {name: value for name, value in metadata.items() if name != "tags"}
    others = {name: value for name, value in payload.items() if name != "metadata"}
    return {**others, "metadata": rest} if rest else others
