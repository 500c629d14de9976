"""The flows of the Ometria sink.

Law: one kind of record a request, contacts before events; an answer of Ometria is about all of a request or about nobody.
"""

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from connectors.configuration import MAPPINGS
from connectors.delivery import Again, Delivered, Happening, Item, Outcome, Person, ProfileChange, Rejected, Split
from connectors.mapping import load_mapping
from connectors.ometria.config import Config
from connectors.ometria.mapping import OmetriaMapping
from connectors.ometria.records import Record, Records
from connectors.ometria.setup import check_segments, requirements, segments
from connectors.sink import Answer, Call, Flow, Reply, Setup, chunks, classify, page, segment

RECORDS_MAX = 100
ERASURES_MAX = 10
"""They may go one by one, six a minute."""
ERASURES_PER_S = 0.1


class Ometria:
    """The sink. Raises MappingError when the mapping asks for what Ometria cannot hold."""

    name = "ometria"
    mute = ""

    def __init__(self, config: Config, mapping: OmetriaMapping | None = None, now: Callable[[], float] = time.time) -> None:
        map_ = mapping or load_mapping(config.mapping or MAPPINGS / "ometria.yaml", OmetriaMapping)
        self._config = config
        self._records = Records(config, map_)
        self._now = now
        self._headers = {"x-ometria-auth": config.api_key.get_secret_value()}
        self.base_url = config.base_url
        self.rates: Mapping[str, float] = {"push": config.rps, "data": config.data_rps, "erase": ERASURES_PER_S}
        self.events = frozenset(name for name, target in map_.events.items() if target is not None)
        self.audit_seconds = config.audit_s
        self.room = ("x-queuesize-remaining", 10_000)

    @classmethod
    def load(cls, environment: Mapping[str, str]) -> "Ometria":
        """From LOY_OMETRIA_*, and LOY_REGION. Raises ConfigurationError and MappingError."""
        region = {"LOY_OMETRIA_REGION": environment["LOY_REGION"]} if "LOY_REGION" in environment else {}
        return cls(Config.load("ometria", region | dict(environment)))

    def headers(self) -> Mapping[str, str]:
        return self._headers

    def requirements(self) -> list[str]:
        """What people must create at Ometria first."""
        return list(requirements(self._config, self._records))

    def prepare(self) -> Setup:
        """The segments are there and static. Fields and event types cannot be asked for: `requirements` names them."""
        return (yield from check_segments(segments(self._config)))

    # ------------------------------------------------------------ delivering

    def batches(self, items: Sequence[Item]) -> Iterator[Sequence[Item]]:
        for kind, run in groupby(items, _kind):
            yield from chunks(list(run), ERASURES_MAX if kind == "erased" else RECORDS_MAX)

    def flow(self, batch: Sequence[Item]) -> Flow:
        records = [self._record(item) for item in batch]
        bodies = [record.body for record in records if isinstance(record, Record)]
        answered = read_push((yield Call("push", "POST", "/v2/push", body=b"[" + b",".join(bodies) + b"]"))) if bodies else None
        outcomes = [_outcome(record, answered) for record in records]
        if self._config.erase and _kind(batch[0]) == "erased":
            yield from self._erase(batch, outcomes)
        return outcomes

    def _record(self, item: Item) -> Record | Rejected:
        return self._records.contact(item) if isinstance(item, ProfileChange) else self._records.event(item, self._now())

    def _erase(self, batch: Sequence[Item], outcomes: list[Outcome]) -> Generator[Call, Reply, None]:
        """Ask for the deletion of each; what stands in the way of one holds up the rest."""
        by_email = "{email}" in self._config.erase_body.values()
        for n, item in enumerate(batch):
            email = self._records.email(item.person)
            if not isinstance(outcomes[n], Delivered):
                continue
            if email is not None or not by_email:
                body = _filled(self._config.erase_body, item.person, email)
                reply = yield Call("erase", "POST", "/v2/data-deletion-requests", body)
                problem = classify(reply) or page(reply)
                if problem is not None:
                    outcomes[n] = Rejected(problem.code, problem.words) if isinstance(problem, Split) else problem
            elif item.person.contact is None:
                outcomes[n] = Rejected("NO_EMAIL", "emptied, but not asked to be deleted: the address is not known any more")

    # ------------------------------------------------------------ looking back

    def read(self, loyalty_ids: Sequence[str]) -> Generator[Call, Reply, Mapping[str, Mapping[str, Any] | None]]:
        """The contacts of our collection, one call each."""
        found: dict[str, Mapping[str, Any] | None] = {}
        for loyalty_id in loyalty_ids:
            reply = yield Call("data", "GET", f"/v2/contacts/{segment(self._config.collection)}/{segment(loyalty_id)}")
            body = reply.json() if isinstance(reply, Answer) and reply.status == 200 else None
            if isinstance(body, dict):
                found[loyalty_id] = self._records.held(body)
            elif isinstance(reply, Answer) and reply.status == 404:
                found[loyalty_id] = None
        return found

    def expected(self, item: Item) -> Mapping[str, Any]:
        return self._records.expected(item.person)

    def audit(self) -> Generator[Call, Reply, Sequence[str] | None]:
        """The latest 100 refusals of what was accepted before, of every sender: Ometria names neither record nor request."""
        reply = yield Call("data", "GET", "/v2/push/_errors")
        listed = reply.json() if isinstance(reply, Answer) and reply.status == 200 else None
        if not isinstance(listed, list):
            return None
        return [f"{one.get('error_path')}: {one.get('error_message')}" for one in listed if isinstance(one, dict)]


def read_push(reply: Reply) -> Outcome:
    """What an answer means for every record of the request."""
    problem = classify(reply)
    if problem is not None or not isinstance(reply, Answer):
        return problem or Delivered()
    told = reply.json()
    if not isinstance(told, dict):
        return Again("an answer that cannot be read", unknown=True)
    rejected = told.get("rejected") or 0
    if rejected:
        return Split("REJECTED", f"{rejected} rejected: {reply.text()}")
    return Delivered()


def _outcome(record: Record | Rejected, answered: Outcome | None) -> Outcome:
    if isinstance(record, Rejected) or answered is None:
        return record if isinstance(record, Rejected) else Again("nothing was sent")
    return Delivered(record.notes) if isinstance(answered, Delivered) else answered


def _kind(item: Item) -> str:
    return "event" if isinstance(item, Happening) else "erased" if item.erased else "change"


def _filled(template: Mapping[str, Any], person: Person, email: str | None) -> dict[str, Any]:
    """The template with who it is about."""
    words = {"{email}": email, "{loyalty_id}": person.loyalty_id}
    return {name: words.get(value, value) if isinstance(value, str) else value for name, value in template.items()}
