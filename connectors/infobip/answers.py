"""What Infobip answers, read leniently: one outcome for each item."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from connectors.delivery import Again, Delivered, Outcome, Rejected, Split
from connectors.sink import Answer, Reply, classify, page

ATTEMPTS_MAX = 3
"""For an item that the answer does not mention, and an event whose person is not found."""


def read_upsert(reply: Reply, count: int) -> list[Outcome]:
    """One outcome for each person, from an answer whose errors and results are lists, or objects."""
    problem = classify(reply)
    body = reply.json() if isinstance(reply, Answer) else None
    if problem is not None or not isinstance(body, dict):
        return [problem or Again("an answer that cannot be read", unknown=True)] * count
    outcomes: dict[int, Outcome] = {
        n: Delivered() for result in _listed(body.get("results")) if (n := _index(result)) is not None
    }
    for error in _listed(body.get("errors")):
        n, outcome = _index(error), _item_outcome(error)
        if n is None or n >= count:
            return [outcome if isinstance(outcome, Again) else Split(str(error.get("code")), _words(error))] * count
        outcomes[n] = outcome
    unmentioned = Again("the answer does not mention this person", at_most=ATTEMPTS_MAX)
    return [outcomes.get(n, unmentioned) for n in range(count)]


def _item_outcome(error: Mapping[str, Any]) -> Outcome:
    """By the first three digits: 500 is Infobip's fault, everything else the item's."""
    code = str(error.get("code"))
    return Again(f"{code}: {_words(error)}") if code.startswith("5") else Rejected(code, _words(error))


def named(reply: Reply, left: Sequence[int]) -> dict[int, Rejected] | None:
    """The events that a refused batch is refused for; None when it is not refused, or does not say for which."""
    body = reply.json() if isinstance(reply, Answer) and reply.status == 400 else None
    errors = _listed(body.get("errors")) if isinstance(body, dict) else []
    numbers = [_index(error) for error in errors]
    if not errors or any(n is None or n >= len(left) for n in numbers):
        return None
    return {left[cast("int", n)]: Rejected(str(e.get("code")), _words(e)) for n, e in zip(numbers, errors, strict=True)}


def recorded(reply: Reply) -> Outcome:
    """202 has no body; a page is a gateway's, not an answer."""
    return classify(reply) or page(reply) or Delivered()


def _listed(value: Any) -> list[Mapping[str, Any]]:
    """A list, or the one object in its place."""
    if isinstance(value, Mapping):
        value = [value] if "index" in value or "code" in value else list(value.values())
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []


def _index(entry: Mapping[str, Any]) -> int | None:
    index = entry.get("index")
    return index if isinstance(index, int) and index >= 0 else None


def _words(error: Mapping[str, Any]) -> str:
    details = [one for one in error.get("details") or [] if isinstance(one, Mapping)]
    return "; ".join([str(error.get("message")), *(f"{one.get('property')}: {one.get('message')}" for one in details)])
