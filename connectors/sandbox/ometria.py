"""Ometria's Data API v2 on loopback. It accepts first and looks afterwards: what it refuses then is at `/v2/push/_errors` only.

Where Ometria says nothing the stricter reading is served: an event of nobody is refused, so is a custom field that nobody made;
`properties` are replaced whole.
"""

import uuid
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

from connectors.sandbox import ometria_rules as rules
from connectors.sandbox.base import SHOWN, Refusal, Sandbox, Section, Seen, answer

RECORDS_MAX = 100
RECORD_BYTES_MAX = 60 * 1024
QUEUE_MAX = 50_000
EVENT_TYPE_MAX = 32
ERASURES_A_MINUTE = 6
TOO_LATE = 4 * 3600
_TYPES = {"contact", "product", "order", "custom_event"}
_DATES = (
    "anniv", "optin_on", "pts_exp_on", "tier_on", "act_first", "act_last", "buy_first", "buy_last",
)  # fmt: skip
_NUMBERS = ("pts", "pts_earned", "pts_used", "pts_hold", "pts_exp_next", "pts_expired", "tier_gap", "reward_gap")
_TEXTS = ("id", "zip", "tier", "tier_next", "rewards", "reward_top")
CUSTOM_FIELDS = {
    **{f"loy_{name}": "date" for name in _DATES},
    **{f"loy_{name}": "number" for name in _NUMBERS},
    **{f"loy_{name}": "string" for name in _TEXTS},
    "loy_active": "boolean",
    "loy_optin": "boolean",
}
"""The 24 fields that somebody has made in this account."""
_WHO = {"loyalty_id": "string"}
_IN = {**_WHO, "current_tier": "string"}
_POINTS = {**_WHO, "points": "number", "balance": "number"}
CUSTOM_EVENTS: dict[str, dict[str, str]] = {
    "loy_opt_in": _IN,
    "loy_opt_out": _WHO,
    "loy_point_accrual": {**_POINTS, "transaction_id": "string", "current_tier": "string"},
    "loy_point_redeem": {**_POINTS, "transaction_id": "string", "reward_name": "string"},
    "tier_upgrade": {**_IN, "previous_tier": "string", "next_tier": "string"},
    "tier_downgrade": {**_IN, "previous_tier": "string"},
    "tier_anniversary": {**_IN, "tier_achieved_on": "date", "years": "number"},
    "close_to_tier_upgrade": {
        **_IN, "next_tier": "string", "points_to_next_tier": "number", "balance": "number", "metric": "string",
    },
    "tier_downgrade_warning": {**_IN, "lower_tier": "string", "due_on": "date"},
    "loy_point_expiring_soon": {**_POINTS, "expires_on": "date"},
    "loy_point_expired": _POINTS,
    "loy_anniversary": {**_IN, "years": "number"},
    "loy_birthday": _IN,
    "loy_offer_result": {**_IN, "offer": "string", "result": "string"},
}  # fmt: skip
"""The event types that somebody has set up, with their properties."""
Key = tuple[str, str]


@dataclass
class Segment:
    """A list, as the API calls it."""

    title: str
    type: str = "STATIC"
    members: set[str] = field(default_factory=set)
    """Ids of contacts."""


def _segments() -> dict[int, Segment]:
    return {
        8400: Segment("Loyalty Gold"),
        8401: Segment("Loyalty Silver"),
        8402: Segment("Loyalty members"),
        8499: Segment("Spends a lot", "DYNAMIC"),
    }


class OmetriaSandbox(Sandbox):
    name = "ometria"
    title = "Ometria (sandbox)"
    rate = 4.0
    rates = {"POST /v2/push": 8.0}  # noqa: RUF012  # data of the class, never changed
    unauthorised = 403

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields = dict(CUSTOM_FIELDS)
        self.event_types = dict(CUSTOM_EVENTS)
        self.lists = _segments()
        self.errors: deque[dict[str, str]] = deque(maxlen=100)
        self.queue: deque[dict[str, Any]] = deque()
        self.ahead = 0
        """Records of others in the account's queue."""
        self.says_room = True
        """Whether answers say how much room the queue has."""
        self.paused = False
        """Whether the queue stands still."""
        self.requires_email = False
        """Whether a contact must have an address: other tools say so, Ometria does not."""
        self.contacts: dict[Key, dict[str, Any]] = {}
        self._at: defaultdict[str, dict[Key, None]] = defaultdict(dict)
        """Who has, or once had, an address."""
        self.recorded: dict[str, Seen] = {}
        self.started: list[Seen] = []
        """Events that started an automation: of a type set up, and not too late."""
        self.forgotten: list[str] = []
        self._erasures: deque[float] = deque()

    def routes(self) -> Iterable[web.RouteDef]:
        return [
            web.post("/v2/push", self._push),
            web.get("/v2/push/_errors", self._errors),
            web.get("/v2/lists", self._lists),
            web.get("/v2/lists/{list}", self._list),
            web.get("/v2/contacts", self._by_email),
            web.get("/v2/contacts/{collection}/{contact}", self._contact),
            web.get("/v2/profiles", self._by_email),
            web.post("/v2/data-deletion-requests", self._erase),
        ]

    def authorised(self, request: web.Request) -> bool:
        return bool(request.headers.get("X-Ometria-Auth"))

    def problem(self, status: int, words: str) -> Any:
        return {"message": "API key is not authorised to access this resource" if status == 403 else words}

    def people(self) -> Mapping[str, Mapping[str, Any]]:
        self._work()
        return {member: self._flat(member, contact) for (_, member), contact in self.contacts.items()}

    def _flat(self, member: str, contact: Mapping[str, Any]) -> dict[str, Any]:
        standard = {name: value for name, value in contact.items() if name not in ("properties", "id", "@type")}
        lists = [one.title for one in self.lists.values() if member in one.members]
        return {**standard, **contact.get("properties", {}), "segments": lists}

    def events(self) -> Sequence[Seen]:
        self._work()
        return list(self.recorded.values())

    def sections(self) -> Iterable[Section]:
        yield from super().sections()
        errors = [[one["error_path"], one["error_message"]] for one in self.errors]
        yield Section(f"{len(errors)} refused after they were accepted", ["path", "message"], errors)
        lists = [[number, one.title, one.type, len(one.members)] for number, one in self.lists.items()]
        yield Section("segments", ["id", "title", "type", "size"], lists)
        started = [[one.name, one.member] for one in reversed(self.started[-SHOWN:])]
        yield Section(f"{len(self.started)} automations started", ["event", "member"], started)

    # ------------------------------------------------------------ accepting

    async def _push(self, request: web.Request) -> web.Response:
        records = self._records(request, await request.read())
        if len(self.queue) + self.ahead + len(records) > QUEUE_MAX:
            raise Refusal(429, self.problem(429, "the queue is full"))
        taken = [record for record in records if self._is_record(record)]
        self.queue.extend(taken)
        told = {"status": "OK", "request_id": str(uuid.uuid4()), "accepted": len(taken), "rejected": len(records) - len(taken)}
        response = answer(told, status=202)
        if self.says_room:
            room = QUEUE_MAX - len(self.queue) - self.ahead
            response.headers.update({"X-QueueSize-Limit": str(QUEUE_MAX), "X-QueueSize-Remaining": str(room)})
        self._work()
        return response

    def _records(self, request: web.Request, body: bytes) -> list[Any]:
        """The records of a request that is in order as a whole."""
        if request.content_type != "application/json":
            raise Refusal(415, self.problem(415, "Payload invalid: not JSON"))
        records = self.json(body)
        if not isinstance(records, list) or not 0 < len(records) <= RECORDS_MAX:
            raise self._invalid(f"an array of 1 to {RECORDS_MAX} records")
        if any(len(orjson.dumps(record)) > RECORD_BYTES_MAX for record in records):
            raise self._invalid("Record is too large.")
        types = {record.get("@type") if isinstance(record, dict) else None for record in records}
        if len(types) > 1 or not types <= _TYPES:
            raise self._invalid("one object type of contact, product, order, custom_event")
        return records

    def _invalid(self, words: str) -> Refusal:
        return Refusal(400, self.problem(400, f"Payload invalid: {words}"))

    def _is_record(self, record: Any) -> bool:
        identified = isinstance(record, dict) and isinstance(record.get("id"), str) and bool(record["id"])
        return identified and self.rejected(record) is None

    # ------------------------------------------------------------ looking afterwards

    def _work(self) -> None:
        """Take what waits in the queue, in its order."""
        while self.queue and not self.paused:
            record = self.queue.popleft()
            if record["@type"] == "contact":
                self._store(record)
            elif record["@type"] == "custom_event":
                self._happen(record)

    def _complain(self, complaints: Iterable[rules.Complaint]) -> bool:
        found = [{"error_message": message, "error_path": path} for path, message in complaints]
        self.errors.extendleft(found)
        return bool(found)

    def _store(self, record: dict[str, Any]) -> None:
        statics = {number for number, one in self.lists.items() if one.type != "DYNAMIC"}
        if self._complain(rules.contact(record, self.fields, statics)):
            return
        known = self.contacts.get((record["@collection"], record["id"]), {})
        given = {name: value for name, value in record.items() if name not in ("@merge", "@add_to_lists", "@remove_from_lists")}
        if self.requires_email and not (known | given).get("email"):
            self._complain([("root > email", "missing")])
            return
        properties = {
            name: value for name, value in given.get("properties", known.get("properties", {})).items() if value is not None
        }
        kept = {name: value for name, value in (known | given).items() if value is not None}
        key = record["@collection"], record["id"]
        self.contacts[key] = kept | {"properties": properties}
        self._at[str(kept.get("email")).casefold()][key] = None
        for number in record.get("@add_to_lists", ()):
            self.lists[number].members.add(record["id"])
        for number in record.get("@remove_from_lists", ()):
            self.lists[number].members.discard(record["id"])

    def _happen(self, record: dict[str, Any]) -> None:
        kind = str(record.get("event_type"))[:EVENT_TYPE_MAX]
        if self._complain(rules.event(record, self.event_types.get(kind))):
            return
        contact = self._owner(record)
        if contact is None:
            self._complain([("root > identity_email", "no such contact")])
            return
        at = rules.zoned(record["timestamp"]) or 0.0
        self.note_time(at)
        is_new = record["id"] not in self.recorded
        self.recorded[record["id"]] = seen = Seen(record["id"], contact["id"], kind, record.get("properties", {}))
        if is_new and kind in self.event_types and self.now() - at <= TOO_LATE:
            self.started.append(seen)

    def _owner(self, record: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The contact that all of an event's identities name; several may share an address."""
        named = self._of_email(record["identity_email"])
        account = record.get("identity_account_id")
        fitting = [one for one in named if account in (None, one.get("customer_id"))]
        told = record.get("properties", {}).get("loyalty_id")
        return next((one for one in fitting if one["id"] == told), fitting[0] if fitting else None)

    def _of_email(self, email: str) -> list[dict[str, Any]]:
        return [self.contacts[key] for key in self._keys_at(email)]

    def _keys_at(self, email: str) -> list[Key]:
        wanted = email.casefold()
        there = (key for key in self._at.get(wanted, ()) if key in self.contacts)
        return [key for key in there if str(self.contacts[key].get("email")).casefold() == wanted]

    # ------------------------------------------------------------ reading

    async def _errors(self, _: web.Request) -> web.Response:
        self._work()
        return answer(list(self.errors))

    def _listed(self, number: int) -> dict[str, Any]:
        one = self.lists[number]
        return {
            "@type": "list", "id": str(number), "title": one.title, "type": one.type, "status": "READY",
            "size": len(one.members),
        }  # fmt: skip

    async def _lists(self, _: web.Request) -> web.Response:
        return answer([self._listed(number) for number in self.lists])

    async def _list(self, request: web.Request) -> web.Response:
        number = request.match_info["list"]
        if not number.isdecimal() or int(number) not in self.lists:
            raise Refusal(404, self.problem(404, "List with specified ID was not found"))
        return answer(self._listed(int(number)))

    async def _by_email(self, request: web.Request) -> web.Response:
        self._work()
        if (email := request.query.get("email")) is None:
            raise self._invalid("this sandbox lists contacts by email only")
        return answer(self._of_email(email))

    async def _contact(self, request: web.Request) -> web.Response:
        self._work()
        found = self.contacts.get((request.match_info["collection"], request.match_info["contact"]))
        if found is None:
            raise Refusal(404, self.problem(404, "Contact with specified ID was not found"))
        return answer(found)

    async def _erase(self, request: web.Request) -> web.Response:
        now = self.monotonic()
        while self._erasures and self._erasures[0] <= now - 60:
            self._erasures.popleft()
        if self.limited and len(self._erasures) >= ERASURES_A_MINUTE:
            raise Refusal(429, self.problem(429, "Too many requests"))
        self._erasures.append(now)
        body = self.json(await request.read())
        email = body.get("email") if isinstance(body, dict) else None
        if not isinstance(email, str):
            raise self._invalid("email is missing")
        self.forgotten.append(email)
        for key in self._keys_at(email):
            del self.contacts[key]
        return answer({"status": "OK"}, status=202)
