"""The flows of the Infobip sink.

Law: each person and each event gets an outcome of its own; a member's events keep their order whatever happens to one of them.
"""

import time
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, cast

import orjson

from connectors.configuration import MAPPINGS
from connectors.delivery import Again, Delivered, Halt, Happening, Item, Outcome, Person, ProfileChange, Rejected, Split
from connectors.infobip.answers import ATTEMPTS_MAX, named, read_upsert, recorded
from connectors.infobip.bodies import Bodies, seconds
from connectors.infobip.config import Config
from connectors.infobip.setup import provision, provision_attributes, provision_tag
from connectors.mapping import VendorMapping, load_mapping
from connectors.sink import Answer, Call, Flow, Lost, Reply, Setup, chunks, classify, page, segment

PERSONS_MAX = 1000
EVENTS_MAX = 5000
EVENT_BYTES_MAX = 512_000
BATCH_BYTES_MAX = 15_728_640
SINGLES_MAX = 25
"""More fresh events than this at once go as a batch."""
DAY = 86_400


class Infobip:
    """The sink. Raises MappingError when the mapping asks for what Infobip cannot hold."""

    name = "infobip"

    def __init__(self, config: Config, mapping: VendorMapping | None = None, now: Callable[[], float] = time.time) -> None:
        self._config = config
        map_ = mapping or load_mapping(config.mapping or MAPPINGS / "infobip.yaml")
        self._bodies = Bodies(config, map_)
        self._map = map_
        self._now = now
        self.base_url = config.base_url
        by_id = config.identify_by == "EXTERNAL_ID"
        self.mute = "" if by_id else f"persons known by {config.identify_by} cannot be looked up by their loyalty id"
        self.rates = dict.fromkeys(_OPERATIONS, config.rps) | {"event": config.rps * 50, "flow": config.rps * 2}
        self.events = frozenset(name for name, target in map_.events.items() if target is not None)
        self._headers = {"authorization": f"App {config.api_key.get_secret_value()}"}

    @classmethod
    def load(cls, environment: Mapping[str, str]) -> "Infobip":
        """From LOY_INFOBIP_*. Raises ConfigurationError and MappingError."""
        return cls(Config.load("infobip", environment))

    def headers(self) -> Mapping[str, str]:
        return self._headers

    def prepare(self) -> Setup:
        if self._config.provision == "off":
            return None
        create = self._config.provision == "create"
        return (yield from provision(self._bodies.attributes(), self._config.tag, self._bodies.definitions(), create=create))

    # ------------------------------------------------------------ delivering

    def batches(self, items: Sequence[Item]) -> Iterator[Sequence[Item]]:
        for kind, run in groupby(items, _kind):
            yield from chunks(list(run), EVENTS_MAX if kind == "event" else PERSONS_MAX)

    def flow(self, batch: Sequence[Item]) -> Flow:
        if self._config.identify_by == "EXTERNAL_ID":
            return (yield from self._flows(batch))
        known = [bool(self._bodies.identifier(item.person)) for item in batch]
        ready = [item for item, is_known in zip(batch, known, strict=True) if is_known]
        outcomes = iter((yield from self._flows(ready)) if ready else ())
        nameless = Rejected("NO_IDENTIFIER", f"the member has no {self._config.identify_by} to be known by at Infobip")
        return [next(outcomes) if is_known else nameless for is_known in known]

    def _flows(self, batch: Sequence[Item]) -> Flow:
        match _kind(batch[0]):
            case "event":
                return (yield from self._happened(cast("Sequence[Happening]", batch)))
            case "erased":
                return (yield from self._forget(cast("Sequence[ProfileChange]", batch)))
        return (yield from self._change(cast("Sequence[ProfileChange]", batch)))

    def _change(self, batch: Sequence[ProfileChange]) -> Flow:
        outcomes = yield from self._upsert([orjson.dumps(self._bodies.person(change.person)) for change in batch])
        if self._config.tag:
            joined = [n for n, change in enumerate(batch) if (change.urgent or change.first) and _opted_in(change)]
            left = [n for n, change in enumerate(batch) if (change.urgent or change.first) and not _opted_in(change)]
            outcomes = yield from self._tagged(batch, outcomes, joined, "PATCH")
            if self._config.untag_on_opt_out:
                outcomes = yield from self._tagged(batch, outcomes, left, "DELETE")
        if self._config.replace_contacts:
            outcomes = yield from self._replaced(batch, outcomes)
        return outcomes

    def _upsert(self, persons: Sequence[bytes]) -> Generator[Call, Reply, list[Outcome]]:
        """One outcome for each person. An attribute that somebody deleted is created again, once."""
        outcomes = read_upsert((yield _upserting(persons)), len(persons))
        missing = [
            n for n, outcome in enumerate(outcomes) if isinstance(outcome, Rejected) and "customAttributes." in outcome.words
        ]
        if missing and self._config.provision == "create":
            problem = yield from provision_attributes(self._bodies.attributes(), create=True)
            if problem is not None:
                _settle(outcomes, missing, problem)
                return outcomes
            again = read_upsert((yield _upserting([persons[n] for n in missing])), len(missing))
            for n, outcome in zip(missing, again, strict=True):
                outcomes[n] = outcome
        return outcomes

    def _tagged(
        self, batch: Sequence[ProfileChange], outcomes: list[Outcome], wanted: Iterable[int], method: str
    ) -> Generator[Call, Reply, list[Outcome]]:
        """Assign or take away the tag; what stands in the way becomes the outcome of those concerned."""
        numbers = [n for n in wanted if isinstance(outcomes[n], Delivered)]
        if not numbers:
            return outcomes
        kind = self._config.identify_by
        people = [{"query": {"type": kind, "identifier": self._bodies.identifier(batch[n].person)}} for n in numbers]
        call = Call("tag" if method == "PATCH" else "untag", method, self._tag_persons(), {"people": people})
        reply, problem = (yield call), None
        if isinstance(reply, Answer) and reply.status == 404:
            problem = yield from provision_tag(self._config.tag, create=self._config.provision == "create")
            reply = reply if problem else (yield call)
        outcome = problem or recorded(reply)
        _settle(outcomes, numbers, outcome)
        return outcomes

    def _tag_persons(self) -> str:
        return f"/people/2/tags/{segment(self._config.tag)}/persons"

    def _replaced(self, batch: Sequence[ProfileChange], outcomes: list[Outcome]) -> Generator[Call, Reply, list[Outcome]]:
        """Addresses of members that moved, one call each; in this call they are an object of lists."""
        for n, change in enumerate(batch):
            contacts = self._bodies.contacts(change.person)
            if change.moved and contacts and isinstance(outcomes[n], Delivered):
                emails = [{"address": one["identifier"]} for one in contacts if one["type"] == "EMAIL"]
                phones = [{"number": one["identifier"]} for one in contacts if one["type"] == "PHONE"]
                path = "/people/2/persons/contactInformation?" + self._bodies.query(change.person)
                reply = yield Call("contacts", "PUT", path, {"email": emails, "phone": phones})
                outcomes[n] = recorded(reply)
        return outcomes

    def _forget(self, batch: Sequence[ProfileChange]) -> Flow:
        if self._config.erase == "person":
            outcomes: list[Outcome] = []
            for change in batch:
                reply = yield Call("persons.delete", "DELETE", "/people/2/persons?" + self._bodies.query(change.person))
                gone = isinstance(reply, Answer) and reply.status == 404 and not page(reply)
                outcomes.append(Delivered() if gone else recorded(reply))
            return outcomes
        outcomes = yield from self._upsert([orjson.dumps(self._bodies.forgotten(change.person)) for change in batch])
        return (yield from self._tagged(batch, outcomes, range(len(batch)), "DELETE")) if self._config.tag else outcomes

    # ------------------------------------------------------------ events

    def _happened(self, batch: Sequence[Happening]) -> Flow:
        outcomes: list[Outcome | None] = [self._too_old(happening) for happening in batch]
        left = [n for n, outcome in enumerate(outcomes) if outcome is None]
        if 0 < len(left) <= SINGLES_MAX and all(self._fresh(batch[n]) for n in left):
            yield from self._singly(batch, left, outcomes)
        else:
            yield from self._together(batch, left, outcomes)
        if self._config.flows:
            yield from self._enter(batch, outcomes)
        return [outcome or Again("not sent yet") for outcome in outcomes]

    def _together(
        self, batch: Sequence[Happening], left: list[int], outcomes: list[Outcome | None]
    ) -> Generator[Call, Reply, None]:
        """Record what is left as one batch, without those that Infobip names as wrong, until it takes the rest."""
        bodies = {n: orjson.dumps(self._bodies.event(batch[n])) for n in left}
        for n in [n for n, body in bodies.items() if len(body) > EVENT_BYTES_MAX]:
            outcomes[n] = Rejected("EVENT_TOO_LARGE", f"{len(bodies.pop(n))} bytes, Infobip takes {EVENT_BYTES_MAX}")
        left, repaired = list(bodies), set[str]()
        while left:
            if sum(len(bodies[n]) + 1 for n in left) > BATCH_BYTES_MAX:
                return _settle(outcomes, left, Split("413", "the batch is too large"))
            body = b"[" + b",".join(bodies[n] for n in left) + b"]"
            reply = yield Call("events", "POST", "/people/3/events", body=body)
            refused = named(reply, left)
            if refused is None:
                return _settle(outcomes, left, recorded(reply))
            strangers = {n for n, why in refused.items() if why.code == "400505"}
            again = {n for n in strangers if batch[n].person.loyalty_id in repaired}
            problem = yield from self._acquaint([batch[n].person for n in strangers - again])
            if problem is not None:
                return _settle(outcomes, left, problem)
            repaired |= {batch[n].person.loyalty_id for n in strangers}
            for n, why in refused.items():
                if n not in strangers:
                    outcomes[n] = why
                elif n in again:
                    outcomes[n] = Again(why.words, at_most=ATTEMPTS_MAX)
            waiting = {batch[n].person.loyalty_id for n in again}  # what follows of them must not overtake
            left = [n for n in left if outcomes[n] is None and batch[n].person.loyalty_id not in waiting]
        return None

    def _acquaint(self, persons: Iterable[Person]) -> Generator[Call, Reply, Again | Halt | None]:
        """Make persons known whose events were refused. Only named, so that nothing newer is overwritten.

        Answers why that must wait, if it must.
        """
        known = {person.loyalty_id: orjson.dumps(self._bodies.known(person)) for person in persons}
        for some in chunks(list(known.values()), PERSONS_MAX):
            problem = classify((yield _upserting(some)))
            if isinstance(problem, Again | Halt):
                return problem
        return None

    def _fresh(self, happening: Happening) -> bool:
        return self._now() - seconds(happening.occurred_at) <= self._config.single_event_max_age_s

    def _singly(
        self, batch: Sequence[Happening], left: Sequence[int], outcomes: list[Outcome | None]
    ) -> Generator[Call, Reply, None]:
        """Record a few fresh events one by one; after a failure the member's later ones wait."""
        waiting = set[str]()
        for n in left:
            happening, body = batch[n], self._bodies.event(batch[n])
            if happening.person.loyalty_id in waiting:
                continue
            who, what = segment(body["identifier"]["id"]), body["definitionId"]
            path = f"/peopleevents/2/persons/{who}/definitions/{what}/events?identifierType={self._config.identify_by}"
            reply = yield Call("event", "POST", path, {"eventId": body["eventId"], "properties": body["properties"]})
            if isinstance(reply, Answer) and reply.status == 404:
                problem = yield from self._acquaint([happening.person])
                outcomes[n] = problem or Again(f"404: {reply.text(300)}", at_most=ATTEMPTS_MAX)
            else:
                outcome = recorded(reply)
                outcomes[n] = Rejected(outcome.code, outcome.words) if isinstance(outcome, Split) else outcome
            waiting |= set() if isinstance(outcomes[n], Delivered | Rejected) else {happening.person.loyalty_id}

    def _too_old(self, happening: Happening) -> Rejected | None:
        days = self._config.event_max_age_days
        if not days or self._now() - seconds(happening.occurred_at) <= days * DAY:
            return None
        return Rejected("EVENT_TOO_OLD", f"of {happening.occurred_at}; Infobip takes events of the last {days:g} days")

    # ------------------------------------------------------------ flows of Moments

    def _enter(self, batch: Sequence[Happening], outcomes: list[Outcome | None]) -> Generator[Call, Reply, None]:
        """Let persons enter flows. There is no key to tell a repeat by: what may have entered is not sent again."""
        for kind, campaign in self._config.flows.items():
            numbers = [n for n, one in enumerate(batch) if one.type == kind and isinstance(outcomes[n], Delivered)]
            for some in chunks(numbers, PERSONS_MAX):
                participants = {n: self._bodies.participant(batch[n]) for n in some}
                able = [n for n, participant in participants.items() if participant is not None]
                for n in set(some) - set(able):
                    outcomes[n] = Rejected("NO_CONTACT", "a flow is entered by e-mail address or phone, the member has none")
                if able:
                    path = f"/moments/1/flows/{segment(campaign)}/participants"
                    reply = yield Call("flow", "POST", path, {"participants": [participants[n] for n in able]})
                    _settle(outcomes, able, self._entered(reply, campaign))

    def _entered(self, reply: Reply, campaign: str) -> Outcome:
        unknown = Rejected("FLOW_UNKNOWN", f"flow {campaign}: sent, but the answer was lost; not sent again")
        if isinstance(reply, Answer) and reply.status == 404:
            return Rejected("FLOW_NOT_ACTIVE", f"flow {campaign}: {reply.text(300)}")
        lost = isinstance(reply, Lost) and reply.sent
        strange = isinstance(reply, Answer) and reply.status < 300 and not isinstance(reply.json(), dict)
        if lost or strange:
            return Again("the answer was lost", unknown=True) if self._config.flow_retry_on_unknown else unknown
        return classify(reply) or Delivered()

    # ------------------------------------------------------------ looking back

    def read(self, loyalty_ids: Sequence[str]) -> Generator[Call, Reply, Mapping[str, Mapping[str, Any] | None]]:
        """By externalId."""
        found: dict[str, Mapping[str, Any] | None] = {}
        for loyalty_id in loyalty_ids if not self.mute else ():
            path = f"/people/2/persons?type=EXTERNAL_ID&identifier={segment(loyalty_id)}"
            reply = yield Call("persons.read", "GET", path)
            body = reply.json() if isinstance(reply, Answer) and reply.status == 200 else None
            if isinstance(body, dict):
                found[loyalty_id] = self._bodies.held(body)
            elif isinstance(reply, Answer) and reply.status == 404:
                found[loyalty_id] = None
        return found

    def expected(self, item: Item) -> Mapping[str, Any]:
        return self._bodies.expected(item)


_OPERATIONS = (
    "attributes", "attributes.create", "attribute", "tag.create", "tag", "untag", "definition", "definition.create",
    "definition.change", "upsert", "contacts", "persons.read", "persons.delete", "events",
)  # fmt: skip


def _upserting(persons: Sequence[bytes]) -> Call:
    """Each was printed when it was made: a thousand as objects would leave the processor's caches first."""
    return Call("upsert", "PATCH", "/people/3/persons/upsert", body=b'{"persons":[' + b",".join(persons) + b"]}")


def _settle(outcomes: list[Outcome] | list[Outcome | None], numbers: Collection[int], outcome: Outcome) -> None:
    for n in numbers:
        outcomes[n] = outcome


def _kind(item: Item) -> str:
    return "event" if isinstance(item, Happening) else "erased" if item.erased else "change"


def _opted_in(change: ProfileChange) -> bool:
    return bool(change.person.profile.get("opt_in_status"))
