"""Infobip People and Moments on loopback, as its published OpenAPI document 3.210.0 says.

Where the document is silent, the stricter reading is served: an event of an unknown person is refused, a phone with a plus too.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
from aiohttp import web

from connectors.sandbox import infobip_rules as rules
from connectors.sandbox.base import Refusal, Sandbox, Section, Seen, answer
from connectors.sandbox.infobip_persons import Person, Persons, refused

PERSONS_MAX = 1000
EVENTS_MAX = 5000
EVENT_BYTES_MAX = 512_000
BATCH_BYTES_MAX = 15_728_640
AGE_MAX = 30 * 86_400
_WORDS = {401: "UNAUTHORIZED", 403: "FORBIDDEN", 404: "NOT_FOUND", 429: "TOO_MANY_REQUESTS"}


class InfobipSandbox(Sandbox):
    name = "infobip"
    title = "Infobip People (sandbox)"
    rate = 5.0
    rates = {  # noqa: RUF012  # data of the class, never changed
        "POST /people/2/persons": 10.0,
        "POST /peopleevents/2/persons/{person}/definitions/{definition}/events": 250.0,
        "POST /moments/1/flows/{campaign}/participants": 10.0,
        "GET /moments/1/flows/{campaign}/participants/report": 10.0,
    }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.attributes: dict[str, dict[str, str]] = {}
        self.tags: dict[str, str] = {}
        self.definitions: dict[str, dict[str, Any]] = {}
        self.persons = Persons()
        self.recorded: dict[tuple[int, str], Seen] = {}
        self.participants: list[tuple[str, dict[str, Any]]] = []
        self.closed_flows: set[str] = set()
        """Campaigns that are not active; all others are."""
        self.creates_persons = False
        """Whether an event of an unknown person makes one: the document says both."""

    def routes(self) -> Iterable[web.RouteDef]:
        return [
            web.get("/people/2/customAttributes", self._list_attributes),
            web.post("/people/2/customAttributes", self._create_attribute),
            web.get("/people/2/customAttributes/{name}", self._get_attribute),
            web.delete("/people/2/customAttributes/{name}", self._get_attribute),
            web.get("/people/2/tags", self._list_tags),
            web.post("/people/2/tags", self._create_tag),
            web.get("/people/2/tags/{name}", self._get_tag),
            web.patch("/people/2/tags/{name}/persons", self._tag_persons),
            web.delete("/people/2/tags/{name}/persons", self._tag_persons),
            web.patch("/people/3/persons/upsert", self._upsert),
            web.get("/people/2/persons", self._get_person),
            web.delete("/people/2/persons", self._delete_person),
            web.put("/people/2/persons/contactInformation", self._replace_contacts),
            web.get("/peopleevents/2/definitions", self._list_definitions),
            web.post("/peopleevents/2/definitions", self._create_definition),
            web.get("/peopleevents/2/definitions/{definition}", self._get_definition),
            web.post("/peopleevents/2/definitions/{definition}", self._extend_definition),
            web.post("/people/3/events", self._record),
            web.post("/peopleevents/2/persons/{person}/definitions/{definition}/events", self._record_one),
            web.post("/moments/1/flows/{campaign}/participants", self._enter),
        ]

    def authorised(self, request: web.Request) -> bool:
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        return scheme == "App" and bool(key)

    def problem(self, status: int, words: str) -> Any:
        return {"requestError": {"serviceException": {"messageId": _WORDS.get(status, "BAD_REQUEST"), "text": words}}}

    def people(self) -> Mapping[str, Mapping[str, Any]]:
        return {person.member: person.flat() for person in self.persons.all()}

    def events(self) -> Sequence[Seen]:
        return list(self.recorded.values())

    def sections(self) -> Iterable[Section]:
        yield from super().sections()
        if self.participants:
            rows = [[campaign, one["identifyBy"], one.get("variables")] for campaign, one in reversed(self.participants[-50:])]
            yield Section(f"{len(self.participants)} participants of flows", ["campaign", "who", "variables"], rows)
        names = [[one["name"], one["dataType"]] for one in self.attributes.values()]
        yield Section(f"{len(names)} custom attributes", ["name", "type"], names)

    # ------------------------------------------------------------ reading requests

    async def _body(self, request: web.Request, code: int | None = None) -> Any:
        """JSON by name and by content; `code` is that of v3's flat envelope for what is not."""
        raw = await request.read()
        if request.content_type != "application/json":
            raise Refusal(400, self.problem(400, f"content type {request.content_type}"))
        try:
            return orjson.loads(raw)
        except orjson.JSONDecodeError:
            if code is None:
                raise Refusal(400, self.problem(400, "Malformed JSON")) from None
            raise Refusal(400, {"code": code, "message": "Malformed JSON body, wrong syntax"}) from None

    def _missing(self, what: str) -> Refusal:
        return Refusal(404, self.problem(404, f"{what} not found"))

    # ------------------------------------------------------------ attributes and tags

    async def _list_attributes(self, request: web.Request) -> web.Response:
        limit, page = int(request.query.get("limit", 20)), int(request.query.get("page", 1))
        if not 1 <= limit <= 1000 or page < 1:
            raise Refusal(400, self.problem(400, "limit is at most 1000, pages begin at 1"))
        listed = list(self.attributes.values())[(page - 1) * limit : page * limit]
        return answer({"limit": limit, "page": page, "customAttributes": listed})

    async def _create_attribute(self, request: web.Request) -> web.Response:
        body = await self._body(request)
        name, kind = (str(body.get("name") or ""), body.get("dataType")) if isinstance(body, dict) else ("", None)
        if not 0 < len(name) <= 256 or set(name) & set("{}[]") or kind not in rules.DATA_TYPES:
            raise Refusal(400, self.problem(400, "bad name or dataType"))
        if name.casefold() in self.attributes:
            raise Refusal(400, {"value": 40002, "message": "Duplicate"})
        self.attributes[name.casefold()] = {"name": name, "dataType": kind}
        return answer(self.attributes[name.casefold()])

    async def _get_attribute(self, request: web.Request) -> web.Response:
        key = request.match_info["name"].casefold()
        if key not in self.attributes:
            raise self._missing("custom attribute")
        return answer(self.attributes.pop(key) if request.method == "DELETE" else self.attributes[key])

    async def _list_tags(self, _: web.Request) -> web.Response:
        return answer({"tags": [{"name": name} for name in self.tags.values()]})

    async def _create_tag(self, request: web.Request) -> web.Response:
        body = await self._body(request)
        name = body.get("name") if isinstance(body, dict) else None
        if not isinstance(name, str) or not 0 < len(name) <= 256:
            raise Refusal(400, self.problem(400, "bad name"))
        if name.casefold() in self.tags:
            raise Refusal(400, {"value": 40002, "message": "Duplicate"})
        self.tags[name.casefold()] = name
        return answer({"name": name})

    async def _get_tag(self, request: web.Request) -> web.Response:
        if (name := self.tags.get(request.match_info["name"].casefold())) is None:
            raise self._missing("tag")
        return answer({"name": name})

    async def _tag_persons(self, request: web.Request) -> web.Response:
        body = await self._body(request)
        if (name := self.tags.get(request.match_info["name"].casefold())) is None:
            raise self._missing("tag")
        people = body.get("people") if isinstance(body, dict) else None
        if not isinstance(people, list) or not 1 <= len(people) <= PERSONS_MAX:
            raise Refusal(400, self.problem(400, "people: 1 to 1000"))
        for one in people:
            query = one.get("query") if isinstance(one, dict) else None
            if not isinstance(query, dict) or query.get("type") not in rules.IDENTIFIERS or not query.get("identifier"):
                raise Refusal(400, self.problem(400, "bad query"))
            if (person := self.persons.find(query["type"], query["identifier"])) is not None:
                person.tags = [tag for tag in person.tags if tag != name] + ([name] if request.method == "PATCH" else [])
        return web.Response()

    # ------------------------------------------------------------ persons

    def _named(self, request: web.Request) -> Person:
        kind, identifier = request.query.get("type"), request.query.get("identifier")
        if kind not in rules.IDENTIFIERS or not identifier:
            raise Refusal(400, self.problem(400, "type and identifier"))
        if (person := self.persons.find(kind, identifier)) is None:
            raise self._missing("person")
        return person

    async def _upsert(self, request: web.Request) -> web.Response:
        body = await self._body(request, 400103)
        persons = body.get("persons") if isinstance(body, dict) else None
        if persons is None:
            details = [{"property": "persons", "message": "Required, but value is missing"}]
            raise Refusal(400, {"code": 400104, "message": "Missing required property 'persons'", "details": details})
        if not isinstance(persons, list) or not 1 <= len(persons) <= PERSONS_MAX:
            raise Refusal(400, {"code": 400100, "message": f"persons: 1 to {PERSONS_MAX}"})
        types = {key: one["dataType"] for key, one in self.attributes.items()}
        errors: list[dict[str, Any]] = []
        results: list[dict[str, Any]] = []
        for index, person in enumerate(persons):
            try:
                if self.rejected(person) is not None:
                    raise refused(400100, [rules.Wrong("", "rejected on demand")])
                results.append({**self.persons.upsert(person, types), "index": index})
            except Refusal as no:
                errors.append({**no.body, "index": index})
        return answer({"errors": errors, "results": results}, 207)

    async def _get_person(self, request: web.Request) -> web.Response:
        return answer(self._named(request).v2())

    async def _delete_person(self, request: web.Request) -> web.Response:
        self.persons.delete(self._named(request))
        return web.Response()

    async def _replace_contacts(self, request: web.Request) -> web.Response:
        person, body = self._named(request), await self._body(request)
        if not isinstance(body, dict) or set(body) - {"email", "phone"}:
            raise Refusal(400, self.problem(400, "an object of lists: email, phone"))
        emails = [one.get("address") for one in body.get("email") or []]
        phones = [one.get("number") for one in body.get("phone") or []]
        pairs = [("EMAIL", one) for one in emails] + [("PHONE", one) for one in phones]
        if not all(rules.is_contact(kind, one) for kind, one in pairs):
            raise Refusal(400, self.problem(400, "invalid address"))
        self.persons.move(person, emails, phones)
        return answer(person.v2())

    # ------------------------------------------------------------ events

    async def _list_definitions(self, _: web.Request) -> web.Response:
        return answer(list(self.definitions.values()))

    async def _create_definition(self, request: web.Request) -> web.Response:
        body = await self._body(request)
        if wrong := rules.wrong_in_definition(body):
            raise Refusal(400, self.problem(400, wrong))
        if body["definitionId"] in self.definitions:
            raise Refusal(409)
        self.definitions[body["definitionId"]] = body
        return answer(body, 201)

    def _definition(self, request: web.Request) -> dict[str, Any]:
        if (found := self.definitions.get(request.match_info["definition"])) is None:
            raise self._missing("definition")
        return found

    async def _get_definition(self, request: web.Request) -> web.Response:
        return answer(self._definition(request))

    async def _extend_definition(self, request: web.Request) -> web.Response:
        """Additive only: every field there before must be there again, with its type."""
        definition, body = self._definition(request), await self._body(request)
        wrong = rules.wrong_in_fields(body.get("fields")) if isinstance(body, dict) else "no object"
        if wrong:
            raise Refusal(400, self.problem(400, wrong))
        now = {field["name"]: field["type"] for field in body["fields"]}
        if any(now.get(field["name"]) != field["type"] for field in definition["fields"]):
            raise Refusal(400, self.problem(400, "a field cannot be removed or change its type"))
        definition |= {name: body[name] for name in ("title", "description", "fields") if name in body}
        return answer(definition)

    async def _record(self, request: web.Request) -> web.Response:
        """All or nothing; 202 without a body."""
        raw = await request.read()
        if len(raw) > BATCH_BYTES_MAX:
            raise Refusal(413, self.problem(413, "the batch is too large"))
        try:
            events = await self._body(request)
        except Refusal:
            events = None
        if not isinstance(events, list):
            raise _problem(-1, 400500, "Invalid request. Please ensure the request body is a properly structured JSON array.")
        if not events:
            raise _problem(-1, 400502, "The batch cannot be empty.")
        if len(events) > EVENTS_MAX:
            raise _problem(-1, 400503, f"The batch count exceeds the allowed limit of {EVENTS_MAX} items.")
        self._check(events)
        for event in events:
            self._keep(event)
        return web.Response(status=202)

    def _check(self, events: Sequence[Any]) -> None:
        """Raises Refusal with the errors of the batch: those that name their items, or the one that does not."""
        for event in events:
            if isinstance(event, dict) and isinstance(event.get("occurredTime"), str):
                self._note(event["occurredTime"])
        oldest = self.now() - AGE_MAX
        errors = [error for index, event in enumerate(events) if (error := self._bad_item(index, event, oldest))]
        if errors:
            raise Refusal(400, _envelope(errors))
        for event in events:
            fault = self.rejected(event)
            definition = self.definitions.get(str(event.get("definitionId")))
            words = "rejected on demand" if fault else "unknown definition" if definition is None else None
            fields = {field["name"]: field["type"] for field in definition["fields"]} if definition else {}
            if words := words or rules.wrong_in_properties(event.get("properties") or {}, fields):
                raise _problem(-1, 400501, f"The event schema is invalid. Details: {words}.")

    def _bad_item(self, index: int, event: Any, oldest: float) -> dict[str, Any] | None:
        wrong = list(rules.wrong_in_event(event, oldest))
        if not wrong and len(orjson.dumps(event)) > EVENT_BYTES_MAX:
            wrong = [rules.Wrong("", f"more than {EVENT_BYTES_MAX} bytes")]
        fault = self.rejected(event)
        if fault is not None and fault.named:
            wrong = [rules.Wrong("", "rejected on demand")]
        if wrong:
            details = [one._asdict() for one in wrong]
            return {
                "index": index,
                "code": 400504,
                "message": "One or more batch items contain invalid properties.",
                "details": details,
            }
        who = event["identifier"]
        if not self.creates_persons and self.persons.find(who["type"], who["id"]) is None:
            return {"index": index, "code": 400505, "message": "Person with such identifier doesn't exist."}
        return None

    def _note(self, occurred: str) -> None:
        try:
            self.note_time(datetime.fromisoformat(occurred).timestamp())
        except ValueError:
            return

    def _keep(self, event: Mapping[str, Any]) -> None:
        kind, identifier = event["identifier"]["type"], event["identifier"]["id"]
        person = self.persons.find(kind, identifier) or self.persons.create(kind, identifier)
        key = event.get("eventId") or f"{len(self.recorded) + 1}"
        seen = Seen(key, person.member, event["definitionId"], event.get("properties") or {})
        self.recorded.setdefault((person.id, key), seen)

    async def _record_one(self, request: web.Request) -> web.Response:
        body, definition = await self._body(request), self._definition(request)
        kind, identifier = request.query.get("identifierType", ""), request.match_info["person"]
        if kind not in rules.IDENTIFIERS or not isinstance(body, dict) or set(body) - {"eventId", "properties"}:
            raise Refusal(400, self.problem(400, "identifierType, eventId, properties"))
        if self.persons.find(kind, identifier) is None and request.query.get("createPerson") != "true":
            raise self._missing("person")
        fields = {field["name"]: field["type"] for field in definition["fields"]}
        wrong = rules.wrong_in_properties(body.get("properties") or {}, fields)
        if words := "rejected on demand" if self.rejected(body) else wrong:
            raise Refusal(400, self.problem(400, words))
        self._keep({**body, "definitionId": definition["definitionId"], "identifier": {"type": kind, "id": identifier}})
        now = datetime.fromtimestamp(self.now(), UTC).isoformat()
        return answer({"eventId": body.get("eventId"), "definitionId": definition["definitionId"], "occurredTime": now}, 201)

    # ------------------------------------------------------------ flows

    async def _enter(self, request: web.Request) -> web.Response:
        body, campaign = await self._body(request), request.match_info["campaign"]
        if campaign in self.closed_flows:
            raise Refusal(404, {"errorCode": "40401", "errorMessage": "There is no active flow with this campaignId"})
        participants = body.get("participants") if isinstance(body, dict) else None
        if not isinstance(participants, list) or not 1 <= len(participants) <= PERSONS_MAX:
            raise Refusal(400, {"errorCode": "400", "errorMessage": "participants: 1 to 1000"})
        for one in participants:
            who = one.get("identifyBy") if isinstance(one, dict) else None
            if not isinstance(who, dict) or not rules.is_contact(str(who.get("type")), who.get("identifier")):
                raise Refusal(400, {"errorCode": "400", "errorMessage": "identifyBy: EMAIL or PHONE and an identifier"})
        self.participants += [(campaign, one) for one in participants]
        return answer({"operationId": f"operation-{len(self.participants)}"})


def _envelope(errors: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    kind = "https://tools.ietf.org/html/rfc9110#section-15.5.1"
    return {"errors": errors, "traceId": "t", "type": kind, "title": "One or more validation errors occurred.", "status": 400}


def _problem(index: int, code: int, message: str) -> Refusal:
    return Refusal(400, _envelope([{"index": index, "code": code, "message": message}]))
