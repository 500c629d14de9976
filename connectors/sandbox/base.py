"""What every sandbox shares: a vendor's API on loopback, strict as the vendor, with faults on demand and a page to look at.

Law: it validates, it does not nod. What the vendor would refuse is refused here, in the vendor's shape; what it would
answer 429 to is answered 429; and everything that came in can be looked at (`GET /`, `GET /_seen`).
"""

import asyncio
import html
import logging
import time
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import orjson
from aiohttp import web
from pydantic import BaseModel, ConfigDict, ValidationError

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Clock = Literal["wall", "data"]
log = logging.getLogger(__name__)
BODY_MAX = 64 << 20
"""Larger bodies are none of any vendor's; smaller limits are the vendor's own to check."""
WINDOW = 1.0
SHOWN = 50


class Fault(BaseModel):
    """Something that goes wrong on demand: what is posted to `/_faults`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["status", "garbage", "cut", "slow", "revoke", "restore", "reject", "clear"]
    status: int = 503
    """For `status`."""
    retry_after: float | str | None = None
    """For `status`: the header's value, seconds or an HTTP date."""
    count: int = 1
    """How many requests it strikes."""
    when: Literal["before", "after"] = "before"
    """Before the request is acted on, or after it: then the vendor has it and the caller does not know."""
    seconds: float = 1.0
    """For `slow`."""
    match: str = ""
    """For `reject`: each item whose JSON holds this text is refused, until `clear`."""
    named: bool = True
    """For `reject`: whether the answer says which item it was, where the vendor has both."""
    path: str = ""
    """Only requests whose path holds this."""


class Refusal(Exception):  # noqa: N818  # an answer, not an accident
    """The vendor's no: status, body and headers of the answer."""

    def __init__(self, status: int, body: Any = None, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"{status} {body}")
        self.status = status
        self.body = body
        self.headers = dict(headers or {})


class Arrived(NamedTuple):
    """One request of the log."""

    method: str
    path: str
    status: int
    """0 when the connection was cut."""
    at: float
    """Of the monotonic clock."""
    body: bytes
    traceparent: str = ""
    """The trace that the caller said it was of."""

    def json(self) -> Any:
        """The body as JSON; None when it is none."""
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return None


class Seen(NamedTuple):
    """One event as the vendor has recorded it."""

    key: str
    """What the vendor tells repeats by; its own number where there is nothing of the kind."""
    member: str
    """Loyalty id."""
    name: str
    """The vendor's name of the event."""
    properties: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Section:
    """A table of the page."""

    title: str
    columns: Sequence[str]
    rows: Iterable[Sequence[Any]]


class Sandbox(ABC):
    """One vendor. Everything is kept in memory; tests may look into it directly, people look at the page."""

    name: str
    title: str
    rates: Mapping[str, float] = {}
    """Requests a second by operation, as `METHOD /path/{with}/names`; what is not listed has `rate`."""
    rate: float = 1000.0
    unauthorised: int = 401
    """What wrong credentials are answered."""
    deduplicates_events: bool = True
    """Whether the vendor records an event once however often it comes."""

    def __init__(
        self,
        clock: Clock = "wall",
        *,
        limited: bool = True,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`clock` data: now is the newest time of any record, so that history is not too old. `limited` False: no 429."""
        self.clock = clock
        self.limited = limited
        self.monotonic = monotonic
        self._wall = wall
        self._newest = 0.0
        self.revoked = False
        self.faults: list[Fault] = []
        self.rejects: list[Fault] = []
        self.log: deque[Arrived] = deque(maxlen=10_000)
        self.answers: Counter[tuple[str, int]] = Counter()
        """How many of each operation and status, 0 for a cut connection."""
        self.bugs: list[BaseException] = []
        """What broke in here: a sandbox that fails must not look like a vendor that does."""
        self._calls: dict[str, deque[float]] = {}

    # ------------------------------------------------------------ what a vendor defines

    @abstractmethod
    def routes(self) -> Iterable[web.RouteDef]:
        """The vendor's API."""

    @abstractmethod
    def authorised(self, request: web.Request) -> bool:
        """Whether the credentials are right (`revoked` is looked at elsewhere)."""

    @abstractmethod
    def problem(self, status: int, words: str) -> Any:
        """The vendor's body for an error of the whole request: 400, 401, 404, 405, 413, 415, 429, 5xx."""

    @abstractmethod
    def people(self) -> Mapping[str, Mapping[str, Any]]:
        """By loyalty id: what the vendor holds of each member, by the vendor's names."""

    @abstractmethod
    def events(self) -> Sequence[Seen]:
        """The events recorded, in the order of their arrival."""

    def sections(self) -> Iterable[Section]:
        """The page's tables."""
        people = list(self.people().items())
        names = list(dict.fromkeys(name for _, person in people[-SHOWN:] for name in person))
        yield Section(
            f"{len(people)} people",
            ["loyalty id", *names],
            ([key, *(person.get(name) for name in names)] for key, person in reversed(people[-SHOWN:])),
        )
        events = self.events()
        yield Section(
            f"{len(events)} events",
            ["member", "event", "properties", "key"],
            ([seen.member, seen.name, dict(seen.properties), seen.key] for seen in reversed(events[-SHOWN:])),
        )

    # ------------------------------------------------------------ what a vendor uses

    def now(self) -> float:
        """Epoch seconds: the wall's, or the newest time any record named."""
        return self._wall() if self.clock == "wall" else self._newest

    def note_time(self, seconds: float) -> None:
        """A record names this time."""
        self._newest = max(self._newest, seconds)

    def json(self, body: bytes) -> Any:
        """A request's body. Raises Refusal 400 in the vendor's shape."""
        try:
            return orjson.loads(body)
        except orjson.JSONDecodeError as failure:
            raise Refusal(400, self.problem(400, f"malformed JSON: {failure}")) from None

    def rejected(self, item: Any) -> Fault | None:
        """The fault on demand that this item meets, if any."""
        text = orjson.dumps(item).decode() if self.rejects else ""
        return next((fault for fault in self.rejects if fault.match in text), None)

    def fault(self, **parts: Any) -> None:
        """Order a fault, as `POST /_faults` does. Raises ValidationError."""
        fault = Fault.model_validate(parts)
        match fault.kind:
            case "revoke" | "restore":
                self.revoked = fault.kind == "revoke"
            case "reject":
                self.rejects.append(fault)
            case "clear":
                self.faults.clear()
                self.rejects.clear()
                self.revoked = False
            case _:
                self.faults.extend([fault] * fault.count)

    def requests(self, operation: str = "") -> list[Arrived]:
        """The requests of the log whose `METHOD /path` begins so."""
        return [one for one in self.log if f"{one.method} {one.path}".startswith(operation)]

    # ------------------------------------------------------------ serving

    def application(self) -> web.Application:
        """To serve with aiohttp."""
        app = web.Application(client_max_size=BODY_MAX, middlewares=[self._gate])
        app.router.add_routes(
            [
                web.get("/", self._page),
                web.get("/_seen", self._seen),
                web.post("/_faults", self._order),
                *self.routes(),
            ]
        )
        return app

    @web.middleware
    async def _gate(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path == "/" or request.path.startswith("/_"):
            return await handler(request)
        operation, body = _operation(request), await request.read()
        struck = self._strike(request)
        response = await self._struck(request, handler, operation, struck)
        cut = struck is not None and struck.kind == "cut"
        status = 0 if cut else response.status
        trace = request.headers.get("traceparent", "")
        self.log.append(Arrived(request.method, request.path_qs, status, self.monotonic(), body, trace))
        self.answers[operation, status] += 1
        if cut and request.transport is not None:
            request.transport.abort()
        return response

    def _strike(self, request: web.Request) -> Fault | None:
        for number, fault in enumerate(self.faults):
            if fault.path in request.path:
                return self.faults.pop(number)
        return None

    async def _struck(self, request: web.Request, handler: Handler, operation: str, fault: Fault | None) -> web.StreamResponse:
        if fault is not None and fault.kind == "slow":
            await asyncio.sleep(fault.seconds)
        elif fault is not None:
            if fault.when == "after":
                await self._answer(request, handler, operation)
            return self._faulty(fault)
        return await self._answer(request, handler, operation)

    def _faulty(self, fault: Fault) -> web.Response:
        if fault.kind == "status":
            headers = {} if fault.retry_after is None else {"Retry-After": _plain(fault.retry_after)}
            return _response(fault.status, self.problem(fault.status, "ordered"), headers)
        return web.Response(text="<html><body>Our gateway is having a moment</body></html>", content_type="text/html")

    async def _answer(self, request: web.Request, handler: Handler, operation: str) -> web.StreamResponse:
        if self.revoked or not self.authorised(request):
            return _response(self.unauthorised, self.problem(self.unauthorised, "Invalid login details"), {})
        try:
            self._limit(operation)
            return await handler(request)
        except Refusal as no:
            return _response(no.status, no.body, no.headers)
        except web.HTTPException as no:  # no such route, wrong method, too large
            return _response(no.status, self.problem(no.status, no.reason), {})
        except Exception as bug:
            log.exception("the sandbox of %s failed", self.name)
            self.bugs.append(bug)
            return _response(500, self.problem(500, f"sandbox: {bug}"), {})

    def _limit(self, operation: str) -> None:
        """At most so many in any one second. Raises Refusal 429."""
        if not self.limited:
            return
        calls, now = self._calls.setdefault(operation, deque()), self.monotonic()
        while calls and calls[0] <= now - WINDOW:
            calls.popleft()
        if len(calls) >= self.rates.get(operation, self.rate):
            raise Refusal(429, self.problem(429, "Too many requests"))
        calls.append(now)

    # ------------------------------------------------------------ looking at it

    async def _order(self, request: web.Request) -> web.Response:
        try:
            self.fault(**orjson.loads(await request.read()))
        except (ValidationError, orjson.JSONDecodeError, TypeError) as failure:
            return _response(400, {"error": str(failure)}, {})
        return _response(200, {"faults": [fault.model_dump() for fault in self.faults + self.rejects]}, {})

    def seen(self) -> dict[str, Any]:
        """Everything that arrived, as `/_seen` answers it."""
        return {
            "people": self.people(),
            "events": [seen._asdict() for seen in self.events()],
            "answers": {f"{operation} {status}": count for (operation, status), count in sorted(self.answers.items())},
            "bugs": [repr(bug) for bug in self.bugs],
        }

    async def _seen(self, _: web.Request) -> web.Response:
        return _response(200, self.seen(), {})

    async def _page(self, _: web.Request) -> web.Response:
        recent = list(self.log)[-SHOWN:]
        requests = Section(
            f"{sum(self.answers.values())} requests",
            ["status", "method", "path", "bytes"],
            ([one.status or "cut", one.method, one.path, len(one.body)] for one in reversed(recent)),
        )
        sections = "".join(_table(section) for section in (*self.sections(), requests))
        return web.Response(text=_PAGE.format(title=html.escape(self.title), sections=sections), content_type="text/html")


_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="5">
<title>{title}</title><style>
body {{ font: 14px system-ui, sans-serif; margin: 2rem; color: #222; background: #fff }}
table {{ border-collapse: collapse; margin-bottom: 2rem; display: block; overflow-x: auto; max-height: 32rem }}
th, td {{ border-bottom: 1px solid #ddd; padding: .25rem .6rem; text-align: left; white-space: nowrap; vertical-align: top }}
th {{ background: #f3f3f6; position: sticky; top: 0 }}
</style></head><body><h1>{title}</h1><p>What arrived, newest first. All of it: <a href="/_seen">/_seen</a>.</p>
{sections}</body></html>"""


def _table(section: Section) -> str:
    head = "".join(f"<th>{html.escape(str(name))}</th>" for name in section.columns)
    rows = "".join("<tr>" + "".join(f"<td>{_cell(value)}</td>" for value in row) + "</tr>" for row in section.rows)
    return f"<h2>{html.escape(section.title)}</h2><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return html.escape(value if isinstance(value, str) else orjson.dumps(value, default=str).decode())


def _response(status: int, body: Any, headers: Mapping[str, str]) -> web.Response:
    if body is None:
        return web.Response(status=status, headers=headers)
    return web.Response(body=orjson.dumps(body), status=status, headers=headers, content_type="application/json")


def answer(body: Any = None, status: int = 200) -> web.Response:
    """A vendor's yes: JSON, or no body at all."""
    return _response(status, body, {})


def _plain(value: float | str) -> str:
    return f"{value:g}" if isinstance(value, float) else value


def _operation(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return f"{request.method} {resource.canonical if resource is not None else request.path}"


@asynccontextmanager
async def running(sandbox: Sandbox, port: int = 0) -> AsyncIterator[str]:
    """Serve it on loopback for as long as the block runs; yields its base URL. Port 0 takes a free one."""
    runner = web.AppRunner(sandbox.application(), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        host, taken = runner.addresses[0][:2]
        yield f"http://{host}:{taken}"
    finally:
        await runner.cleanup()
