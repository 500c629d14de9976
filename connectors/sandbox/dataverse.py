"""Microsoft Dataverse on loopback: Entra's token endpoint and the part of Web API 9.2 that keeps rows by alternate key.

Law: as the vendor's documentation says: headers, key characters, CRLF, lengths, answers part by part, service protection.
"""

import re
import uuid
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote

import orjson
from aiohttp import web

from connectors.crm.port import STALE
from connectors.sandbox.base import Refusal, Sandbox, Seen, answer
from connectors.sandbox.tables import Column, Table, Taken, Wrong, shipped

TENANT, CLIENT, SECRET = "tenant", "client", "s3cret~+/="  # of a sandbox
API = "/api/data/v9.2/"
PARTS_MAX = 1000
URL_MAX, PART_URL_MAX = 32 << 10, 64 << 10
WINDOW, REQUESTS_MAX, AT_ONCE_MAX = 300.0, 6000, 52
_KEYED = re.compile(r"(\w+)\((\w+)='((?:[^']|'')*)'\)")
_FORBIDDEN = set("/<>*%&:\\?+")
_STANDARD = {
    "firstname": Column(length=50),
    "lastname": Column(length=50),
    "emailaddress1": Column(length=100),
    "telephone1": Column(length=50),
    "address1_postalcode": Column(length=20),
    "birthdate": Column("date"),
}


class Inner(NamedTuple):
    """One operation, by itself or out of a batch."""

    method: str
    path: str
    """Below the API's root, decoded, with its query."""
    headers: Mapping[str, str]
    body: bytes


class Told(NamedTuple):
    """The answer to one operation."""

    status: int
    body: Any = None
    headers: Mapping[str, str] = {}


class DataverseSandbox(Sandbox):
    """An environment with the tables, columns and keys of the shipped mapping."""

    name = "dataverse"
    title = "Microsoft Dataverse"
    rate = float("inf")

    def __init__(self, *args: Any, **parts: Any) -> None:
        super().__init__(*args, **parts)
        self.mapping, self.contacts, self.interactions = shipped("dataverse", _STANDARD)
        self.tables = {table.name: table for table in (self.contacts, self.interactions)}
        self.inactive_keys: set[str] = set()
        """Tables whose key is still being built."""
        self.tokens: dict[str, float] = {}
        self.token_seconds = 3599.0
        self.requests_max, self.at_once_max = REQUESTS_MAX, AT_ONCE_MAX
        self.at_once = 0
        self._window: deque[float] = deque()
        self._revisions: Counter[tuple[str, str]] = Counter()
        self._barred_until = 0.0

    def routes(self) -> Iterable[web.RouteDef]:
        """The token endpoint and the API."""
        return [
            web.post("/{tenant}/oauth2/v2.0/token", self._token),
            web.route("*", API + "{target:.+}", self._serve),
        ]

    def authorised(self, request: web.Request) -> bool:
        """A token of ours that has not run out."""
        if not request.path.startswith(API):
            return True
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        return scheme == "Bearer" and self.tokens.get(token, 0.0) > self.monotonic()

    def expire(self) -> None:
        """All tokens run out."""
        self.tokens.clear()

    def problem(self, status: int, words: str) -> Any:
        """The OData error; nothing at all for a 401."""
        return None if status == 401 else _error("", words)

    def people(self) -> Mapping[str, Mapping[str, Any]]:
        """Contacts by their alternate key."""
        return {key: {self.contacts.key: key, **row} for key, row in self.contacts.rows.items()}

    def events(self) -> Sequence[Seen]:
        """Interactions."""
        told, bound = self.mapping.interaction, f"_{self.mapping.interaction.member.lower()}_value"
        return [Seen(key, row.get(bound, ""), row[told.name], row) for key, row in self.interactions.rows.items()]

    # ------------------------------------------------------------ Entra

    async def _token(self, request: web.Request) -> web.Response:
        form = {name: values[0] for name, values in parse_qs((await request.read()).decode()).items()}
        if request.content_type != "application/x-www-form-urlencoded" or form.get("grant_type") != "client_credentials":
            raise Refusal(400, _entra("unsupported_grant_type", "AADSTS70003"))
        if not form.get("scope", "").endswith("/.default"):
            raise Refusal(400, _entra("invalid_scope", "AADSTS1002012: the scope is not valid, it must end with /.default"))
        if request.match_info["tenant"] != TENANT:
            raise Refusal(400, _entra("invalid_request", "AADSTS90002: tenant not found"))
        if (form.get("client_id"), form.get("client_secret")) != (CLIENT, SECRET):
            raise Refusal(401, _entra("invalid_client", "AADSTS7000215: invalid client secret provided"))
        token = f"t{len(self.tokens)}-{uuid.uuid4().hex}"
        self.tokens[token] = self.monotonic() + self.token_seconds
        return answer({"token_type": "Bearer", "expires_in": int(self.token_seconds), "access_token": token})

    # ------------------------------------------------------------ service protection

    def _limit(self, operation: str) -> None:
        """6000 requests in five minutes; who sends on while told to wait waits longer. Raises Refusal 429."""
        if not self.limited or API not in operation:
            return
        now = self.monotonic()
        while self._window and self._window[0] <= now - WINDOW:
            self._window.popleft()
        if now < self._barred_until:
            self._bar(min(WINDOW, self._barred_until - now + 1), "0x80072322", "Number of requests exceeded the limit")
        if len(self._window) >= self.requests_max:
            self._bar(self._window[0] + WINDOW - now, "0x80072322", "Number of requests exceeded the limit")
        self._window.append(now)

    def _bar(self, seconds: float, code: str, words: str) -> None:
        self._barred_until = self.monotonic() + seconds
        raise Refusal(429, _error(code, words), {"Retry-After": str(max(1, round(seconds)))})

    # ------------------------------------------------------------ requests

    async def _serve(self, request: web.Request) -> web.Response:
        self.at_once += 1
        try:
            if self.limited and self.at_once > self.at_once_max:
                self._bar(1, "0x80072326", "Number of concurrent requests exceeded the limit of 52")
            return await self._request(request)
        finally:
            self.at_once -= 1

    async def _request(self, request: web.Request) -> web.Response:
        body = await request.read()
        if len(request.path_qs) > URL_MAX:
            raise Refusal(414, _error("", "the URL is too long"))
        if request.headers.get("OData-Version") != "4.0" or request.headers.get("OData-MaxVersion") != "4.0":
            raise Refusal(400, _error("0x80060888", "OData-Version and OData-MaxVersion must be 4.0"))
        path = unquote(request.raw_path.removeprefix(API))
        if path == "$batch":
            return await self._batch(request, body)
        told = await self._operate(
            Inner(request.method, path, {name.lower(): value for name, value in request.headers.items()}, body)
        )
        if told.body is None:
            return web.Response(status=told.status, headers=told.headers)
        return answer(told.body, told.status)

    async def _batch(self, request: web.Request, body: bytes) -> web.Response:
        boundary = re.fullmatch(r'multipart/mixed; ?boundary="?([^"]+)"?', request.headers.get("Content-Type", ""))
        if request.method != "POST" or boundary is None:
            raise Refusal(400, _error("0x80048d19", "a batch is multipart/mixed with a boundary"))
        goes_on = "odata.continue-on-error" in request.headers.get("Prefer", "")
        status, told = 200, list[Told]()
        for inner in _parts(body, boundary.group(1).encode()):
            told.append(await self._operate(inner))
            if told[-1].status >= 400 and not goes_on:
                status = told[-1].status
                break
        return _batch_response(status, told)

    async def _operate(self, inner: Inner) -> Told:
        try:
            return await self._operation(inner)
        except Refusal as no:
            return Told(no.status, no.body)

    async def _operation(self, inner: Inner) -> Told:
        target, _, query = inner.path.partition("?")
        if target == "EntityDefinitions" and inner.method == "GET":
            return Told(200, {"value": self._definitions(query)})
        found = _KEYED.fullmatch(target)
        if found is None or inner.method not in ("GET", "PATCH"):
            raise Refusal(405, _error("0x0", f"the sandbox has no {inner.method} {target}"))
        table = self._table(found[1])
        key = found[3].replace("''", "'")
        if found[2] != table.key or table.name in self.inactive_keys:
            raise Refusal(400, _error("0x0", f"The key in the request URI is not valid for resource '{_type(table)}'."))
        if set(key) & _FORBIDDEN or not key:
            raise Refusal(400, _error("0x80060888", "Bad Request - Error in query syntax."))
        return self._get(table, key, query) if inner.method == "GET" else await self._patch(table, key, inner)

    def _table(self, name: str) -> Table:
        if name not in self.tables:
            raise Refusal(404, _error("0x8006088a", f"Resource not found for the segment '{name}'."))
        return self.tables[name]

    def _definitions(self, query: str) -> list[dict[str, Any]]:
        name = re.search(r"EntitySetName eq '(\w+)'", query)
        table = self.tables.get(name[1]) if name else None
        if table is None:
            return []
        bound = [self.mapping.interaction.member] if table is self.interactions else []
        state = "InProgress" if table.name in self.inactive_keys else "Active"
        return [
            {
                "LogicalName": table.name[:-1],
                "Attributes": [{"LogicalName": name} for name in (table.key, *table.columns)],
                "Keys": [{"KeyAttributes": [table.key], "EntityKeyIndexStatus": state}],
                "ManyToOneRelationships": [{"ReferencingEntityNavigationPropertyName": name} for name in bound],
            }
        ]

    def _get(self, table: Table, key: str, query: str) -> Told:
        if key not in table.rows:
            raise _no_such(table)
        names = parse_qs(query).get("$select", [""])[0].split(",")
        unknown = next((name for name in names if name not in (*table.columns, table.key)), None)
        if unknown is not None:
            raise Refusal(400, _error("0x80060888", f"Could not find a property named '{unknown}' on type '{_type(table)}'."))
        row = {table.key: key, **table.rows[key]}
        return Told(200, {"@odata.etag": self._etag(table, key), **{name: row.get(name) for name in names}})

    def _etag(self, table: Table, key: str) -> str:
        return f'W/"{self._revisions[table.name, key]}"'

    def _condition(self, table: Table, key: str, headers: Mapping[str, str]) -> None:
        """Only if it is there, only if it is not, only if nobody changed it since. Raises Refusal."""
        match, none = headers.get("if-match"), headers.get("if-none-match")
        if none == "*" and key in table.rows:
            raise Refusal(412, _error("0x80040237", "A record with matching key values already exists."))
        if match is not None and key not in table.rows:
            raise _no_such(table)
        if match not in (None, "*", self._etag(table, key)):
            raise Refusal(
                412, _error("0x80060882", "The version of the existing record doesn't match the RowVersion property provided.")
            )

    async def _patch(self, table: Table, key: str, inner: Inner) -> Told:
        if not inner.headers.get("content-type", "").startswith("application/json"):
            raise Refusal(415, _error("", "the body must be application/json"))
        try:
            values = orjson.loads(inner.body)
        except orjson.JSONDecodeError:
            raise Refusal(400, _error("0x80048d19", "Error identified in Payload provided by the user")) from None
        if self.rejected({table.key: key, **values}) is not None:
            raise Refusal(400, _error("0x80040265", "rejected on demand"))
        self._condition(table, key, inner.headers)
        own = values.pop(table.key, key) if key not in table.rows else (values.pop(table.key, None), key)[1]
        bound = self._bound(table, {name: values.pop(name) for name in list(values) if name.endswith("@odata.bind")})
        if wrong := table.wrong(values, creates=key not in table.rows):
            raise _refusal(table, wrong)
        if table.is_stale(key, values):
            raise Refusal(400, _error("0x80040265", f"{STALE}: the row has a later version"))
        try:
            async with table.creation(own):
                table.write(own, {**values, **bound})
                self._revisions[table.name, own] += 1
        except Taken:
            raise Refusal(412, _error("0x80060892", "A record that has the attribute values already exists.")) from None
        return Told(204, None, {"OData-EntityId": f"{API}{table.name}({table.key}='{key}')", "OData-Version": "4.0"})

    def _bound(self, table: Table, binds: Mapping[str, Any]) -> dict[str, str]:
        """The lookup's value of each binding."""
        values = {}
        for name, target in binds.items():
            navigation = name.removesuffix("@odata.bind")
            if table is not self.interactions or navigation != self.mapping.interaction.member:
                raise Refusal(
                    400, _error("0x80048d19", f"An undeclared property '{navigation}' which only has property annotations")
                )
            found = _KEYED.fullmatch(str(target).removeprefix("/"))
            if found is None or self._table(found[1]) is not self.contacts or found[2] != self.contacts.key:
                raise Refusal(400, _error("0x80048d19", f"'{target}' cannot be bound"))
            if found[3] not in self.contacts.rows:
                raise _no_such(self.contacts)
            values[f"_{navigation.lower()}_value"] = found[3]
        return values


def _parts(body: bytes, boundary: bytes) -> list[Inner]:
    """The operations of a batch. Raises Refusal 400."""
    if b"\n" in body.replace(b"\r\n", b"") or not body.endswith(b"--" + boundary + b"--\r\n"):
        raise Refusal(400, _error("0x80048d19", "Error identified in Payload provided by the user: Stream was not readable."))
    parts = body.split(b"--" + boundary)[1:-1]
    if len(parts) > PARTS_MAX:
        raise Refusal(400, _error("0x0", "The maximum number of operations of a batch is 1000"))
    return [_part(part.removeprefix(b"\r\n")) for part in parts]


def _part(part: bytes) -> Inner:
    outer, _, inner = part.partition(b"\r\n\r\n")
    if _headers(outer) != {"content-type": "application/http", "content-transfer-encoding": "binary"}:
        raise Refusal(400, _error("0x80048d19", "a part must be application/http, binary"))
    head, _, body = inner.partition(b"\r\n\r\n")
    line, _, rest = head.partition(b"\r\n")
    found = re.fullmatch(rb"(GET|POST|PATCH|DELETE) (\S+) HTTP/1\.1", line)
    if found is None or len(found[2]) > PART_URL_MAX or not found[2].startswith(API.encode()) or b"$batch" in found[2]:
        raise Refusal(400, _error("0x80048d19", f"no operation: {line[:200]!r}"))
    path = unquote(found[2].decode().removeprefix(API))
    return Inner(found[1].decode(), path, _headers(rest), body.removesuffix(b"\r\n"))


def _headers(lines: bytes) -> dict[str, str]:
    pairs = (line.partition(":") for line in lines.decode().split("\r\n") if line)
    return {name.lower(): value.strip() for name, _, value in pairs}


def _batch_response(status: int, told: Sequence[Told]) -> web.Response:
    boundary = f"batchresponse_{uuid.uuid4()}"
    body = "".join(
        f"--{boundary}\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n{_printed(one)}\r\n"
        for one in told
    )
    headers = {"Content-Type": f"multipart/mixed; boundary={boundary}", "OData-Version": "4.0"}
    return web.Response(status=status, body=f"{body}--{boundary}--\r\n".encode(), headers=headers)


def _printed(told: Told) -> str:
    kind = {} if told.body is None else {"Content-Type": "application/json; odata.metadata=minimal"}
    headers = "".join(f"{name}: {value}\r\n" for name, value in {**kind, **told.headers}.items())
    return f"HTTP/1.1 {told.status} Status\r\n{headers}\r\n{'' if told.body is None else orjson.dumps(told.body).decode()}"


def _error(code: str, words: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": words}}


def _entra(error: str, words: str) -> dict[str, Any]:
    return {"error": error, "error_description": words, "error_codes": [], "trace_id": "t", "correlation_id": "c"}


def _type(table: Table) -> str:
    return f"Microsoft.Dynamics.CRM.{table.name[:-1]}"


def _no_such(table: Table) -> Refusal:
    return Refusal(
        404, _error("0x80060891", f"A record with the specified key values does not exist in {table.name[:-1]} entity")
    )


def _refusal(table: Table, wrong: Wrong) -> Refusal:
    match wrong.why:
        case "unknown":
            return Refusal(400, _error("0x0", f"Invalid property '{wrong.column}' was found in entity '{_type(table)}'."))
        case "length":
            return Refusal(
                400, _error("0x80044331", f"A validation error occurred. The length of '{wrong.column}' exceeded its maximum.")
            )
    return Refusal(400, _error("0x80048d19", f"Cannot convert the value of '{wrong.column}' to the expected type."))
