"""What a sink is: a name, limits, and flows. No I/O here or in any vendor's file.

A flow is a generator: it yields calls, is sent an answer (or the news that there is none), and returns one outcome for each item.
It never raises on a strange answer. `courier.py` drives it, keeps the limits, repeats, splits and waits.
"""

import json
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar, runtime_checkable
from urllib.parse import quote

import orjson

from connectors.delivery import Again, Delivered, Halt, Happening, Item, Outcome, Rejected, Split

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP request. `operation` names the limit it counts against, and the metric."""

    operation: str
    method: str
    path: str
    """Below the sink's base URL; or a whole URL, e.g. of a token endpoint."""
    json: Any = field(default=None, repr=False)
    body: bytes | None = field(default=None, repr=False)
    """Instead of `json`, when it is none."""
    headers: Mapping[str, str] = field(default_factory=dict)
    stamp: Callable[[int, bytes], Mapping[str, str]] | None = field(default=None, repr=False)
    """Headers that depend on the time of sending, e.g. a signature: given the epoch seconds and the bytes to send."""
    secret: bool = False
    """It asks for a token: asked once for all who ask at the same time, and its body is shown to nobody."""

    def content(self) -> bytes | None:
        """The bytes to send."""
        return self.body if self.json is None else orjson.dumps(self.json)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. Bodies are read leniently: gateways answer HTML, some answer nothing."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes
    retry_after: float | None = None
    """Seconds the vendor asks us to wait, from a number or an HTTP date, at most 300 (RFC 9110, section 10.2.3)."""

    def json(self) -> Any:
        """The body as JSON, or None. What is not quite JSON (NaN, half of a surrogate pair) is read as well."""
        for read in (orjson.loads, json.loads):
            with suppress(ValueError, RecursionError):
                return read(self.body)
        return None

    def text(self, most: int = 2000) -> str:
        """The beginning of the body, for a dead letter."""
        return self.body[: most * 4].decode(errors="replace")[:most]


@dataclass(frozen=True, slots=True)
class Lost:
    """No answer. `sent` when the vendor may have acted on the request all the same."""

    why: str
    sent: bool


Reply = Answer | Lost
Flow = Generator[Call, Reply, Sequence[Outcome]]
Setup = Generator[Call, Reply, Halt | Again | None]


class Sink(Protocol):
    """One vendor. Written once, in a file of its own."""

    name: str
    events: frozenset[str]
    """The LOY_ events that the vendor is told of."""
    mute: str
    """Why the vendor cannot be asked what it holds, empty when it can: nothing is compared with a mute one."""

    @property
    def rates(self) -> Mapping[str, float]:
        """Requests a second for each operation, of the whole account; shared out over the workers by partitions."""
        ...

    @property
    def base_url(self) -> str:
        """Where the vendor's API answers; some tell with the token."""
        ...

    def headers(self) -> Mapping[str, str]:
        """For every call below the base URL, and for no other address; secrets live here and nowhere else."""
        ...

    def prepare(self) -> Setup:
        """Check and provision the vendor's side at start. Returns why it cannot work (Halt) or not yet (Again), or None."""
        ...

    def batches(self, items: Sequence[Item]) -> Iterator[Sequence[Item]]:
        """Cut into what one flow takes: by count, bytes and kind, in the order given: changes, events, erasures."""
        ...

    def flow(self, batch: Sequence[Item]) -> Flow:
        """Deliver one batch. Safe to repeat: ids derive from ours."""
        ...

    def read(self, loyalty_ids: Sequence[str]) -> Generator[Call, Reply, Mapping[str, Mapping[str, Any] | None]]:
        """What the vendor holds, for `loy reconcile`: by member the mapped fields, None when there is no such person.

        Members about whom it gave no answer are left out.
        """
        ...

    def expected(self, item: Item) -> Mapping[str, Any]:
        """What `read` should answer for this person."""
        ...


# ---------------------------------------------------------------- what some vendors need besides


@runtime_checkable
class Audited(Protocol):
    """A vendor that accepts first and refuses afterwards: it is asked from time to time what it refused."""

    audit_seconds: float

    def audit(self) -> Generator[Call, Reply, Sequence[str] | None]:
        """All that the vendor lists as wrong, in its words; None when it did not say."""
        ...


@runtime_checkable
class Queueing(Protocol):
    """A vendor that queues, and may say with each answer how much room is left."""

    room: tuple[str, int]
    """The header's name in lower case, and the number below which the sink goes at half its rate."""


@runtime_checkable
class Demanding(Protocol):
    """A vendor where people must create things first, because its API cannot."""

    def requirements(self) -> Sequence[str]:
        """What must be there, one line each."""
        ...


def classify(reply: Reply) -> Outcome | None:  # noqa: PLR0911  # one return a case
    """What an ordinary answer means for everything in the request; None for a 2xx, whose body must tell."""
    match reply:
        case Lost():
            return Again(reply.why, unknown=reply.sent)
        case Answer(status=401 | 403):
            return Halt(f"{reply.status}: {reply.text(300)}")
        case Answer(status=413):
            return Split("413", "the request is too large")
        case Answer(status=404 | 405):
            return Halt(f"{reply.status} for this address: is the base URL right?")
        case Answer(status=status) if status in (408, 425, 429) or status >= 500:
            return Again(str(status), reply.retry_after)
        case Answer(status=status) if status >= 400:
            return Split(str(status), reply.text())
        case Answer(status=status) if status >= 300:
            return Halt(f"{status}: redirected; is the base URL right?")
    return None


def page(reply: Reply) -> Again | None:
    """A gateway's page in place of an answer whose body has nothing to tell."""
    if isinstance(reply, Answer) and ("html" in reply.headers.get("content-type", "") or reply.body.lstrip()[:1] == b"<"):
        return Again("a page in place of an answer", unknown=True)
    return None


def everyone(batch: Sequence[Item], outcome: Outcome) -> list[Outcome]:
    """The same outcome for all."""
    return [outcome] * len(batch)


def chunks(items: Sequence[T], most: int) -> Iterator[Sequence[T]]:
    """Pieces of at most so many."""
    return (items[start : start + most] for start in range(0, len(items), most))


def segment(text: str) -> str:
    """One segment of a path."""
    return quote(text, safe="")


__all__ = [
    "Again",
    "Answer",
    "Audited",
    "Call",
    "Delivered",
    "Demanding",
    "Flow",
    "Halt",
    "Happening",
    "Item",
    "Lost",
    "Outcome",
    "Queueing",
    "Rejected",
    "Reply",
    "Setup",
    "Sink",
    "Split",
    "chunks",
    "classify",
    "everyone",
    "page",
    "segment",
]
