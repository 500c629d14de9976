"""What must exist at Ometria, all of it made by people: its API creates no custom field, no event type and no segment."""

from collections.abc import Generator, Iterator, Mapping
from typing import Any

from connectors.ometria.config import Config
from connectors.ometria.mapping import FIELD_TYPES
from connectors.ometria.records import Records
from connectors.sink import Again, Answer, Call, Halt, Lost, Reply, Setup, classify

Asked = Generator[Call, Reply, "Answer | Halt | Again"]


def requirements(config: Config, records: Records) -> Iterator[str]:
    """One line for each thing that a person must create."""
    yield "API key: Settings > API keys, allowed to push" + (", and to ask for data deletion" if config.erase else "")
    for name, kind in records.custom_fields().items():
        yield f"Custom field (Settings > Custom fields, of contacts): {name}, {kind}"
    for event in records.event_types():
        properties = ", ".join(f"{prop.to} {FIELD_TYPES[prop.type]}" for prop in event.properties)
        yield f"Custom event (Settings > Custom events): {event.name} with {properties}"
    for number, whom in segments(config).items():
        yield f"Static segment: {number} for {whom}"


def segments(config: Config) -> dict[int, str]:
    """The static segments in use, and whom each is for."""
    tiers = {number: f"tier {tier}" for tier, number in config.segments.items()}
    return tiers | ({config.member_segment: "all members"} if config.member_segment else {})


def check_segments(wanted: Mapping[int, str]) -> Setup:
    """Each segment exists, and is not one that Ometria computes itself."""
    if not wanted:
        return None
    answer = yield from _ask(Call("data", "GET", "/v2/lists"))
    if not isinstance(answer, Answer):
        return answer
    listed = answer.json()
    if not isinstance(listed, list):
        return Again("the list of segments cannot be read")
    known = {str(one.get("id")): one for one in listed if isinstance(one, dict)}
    for number, whom in wanted.items():
        problem = _unfit(number, whom, known[str(number)]) if str(number) in known else (yield from _check(number, whom))
        if problem is not None:
            return problem
    return None


def _check(number: int, whom: str) -> Setup:
    """A segment that the list does not show may be on a further page."""
    answer = yield from _ask(Call("data", "GET", f"/v2/lists/{number}"))
    if not isinstance(answer, Answer):
        return answer
    if answer.status == 404:
        return Halt(f"segment {number} for {whom} does not exist")
    found = answer.json()
    return _unfit(number, whom, found) if isinstance(found, dict) else Again(f"segment {number} cannot be read")


def _unfit(number: int, whom: str, found: Mapping[str, Any]) -> Halt | None:
    if str(found.get("type")).upper() != "DYNAMIC":
        return None
    return Halt(f"segment {number} for {whom} ({found.get('title')}) is dynamic: only static ones can be filled")


def _ask(call: Call) -> Asked:
    """An answer worth looking at, or why there is none: later, or not before somebody acts."""
    reply = yield call
    if isinstance(reply, Lost):
        return Again(reply.why, unknown=reply.sent)
    problem = None if reply.status == 404 and call.path != "/v2/lists" else classify(reply)
    if isinstance(problem, Halt | Again):
        return problem
    return Halt(f"{call.path}: {reply.status} {reply.text(300)}") if problem else reply
