"""Salesforce on loopback: the token endpoint, sObject Collections upserted by an External Id, queries and descriptions.

Law: every record is judged by itself and answered in order; errors are arrays; the limit of 24 hours is a 403.
"""

import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs

from aiohttp import web

from connectors.crm.port import STALE
from connectors.sandbox.base import Refusal, Sandbox, Seen, answer
from connectors.sandbox.tables import Column, Table, Taken, Wrong, shipped

CLIENT, SECRET = "client", "s3cret"
RECORDS_MAX = 200
API = "/services/data/v{version}"
_STANDARD = {
    "FirstName": Column(length=40),
    "LastName": Column(length=80, required=True),
    "Email": Column(length=80),
    "Phone": Column(length=40),
    "MailingPostalCode": Column(length=20),
    "Birthdate": Column("date"),
}
_QUERY = re.compile(r"SELECT ([\w,]+) FROM (\w+) WHERE (\w+) IN \(((?:'[^']*',?)+)\)")


class SalesforceSandbox(Sandbox):
    """An org with the objects, fields and External Ids of the shipped mapping."""

    name = "salesforce"
    title = "Salesforce"
    rate = float("inf")

    def __init__(self, *args: Any, **parts: Any) -> None:
        super().__init__(*args, **parts)
        self.mapping, self.contacts, self.interactions = shipped("salesforce", _STANDARD)
        self.objects = {table.name: table for table in (self.contacts, self.interactions)}
        self.tokens: set[str] = set()
        self.requests_left = 100_000
        """Of 24 hours."""
        self.locked: set[str] = set()
        """Contacts that somebody else is writing: rows bound to them cannot get the lock."""
        self.not_unique: set[str] = set()
        """Objects whose key field is no unique External Id."""

    def routes(self) -> Iterable[web.RouteDef]:
        """The token endpoint and the API."""
        return [
            web.post("/services/oauth2/token", self._token),
            web.patch(API + "/composite/sobjects/{object}/{field}", self._upsert),
            web.get(API + "/query", self._query),
            web.get(API + "/sobjects/{object}/describe", self._describe),
        ]

    def authorised(self, request: web.Request) -> bool:
        """A session of ours."""
        if not request.path.startswith("/services/data/"):
            return True
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        return scheme == "Bearer" and token in self.tokens

    def expire(self) -> None:
        """All sessions end."""
        self.tokens.clear()

    def problem(self, status: int, words: str) -> Any:
        """An array with one error."""
        codes = {401: "INVALID_SESSION_ID", 404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED", 503: "SERVER_UNAVAILABLE"}
        return _array(codes.get(status, "UNKNOWN_EXCEPTION" if status >= 500 else "JSON_PARSER_ERROR"), words)

    def people(self) -> Mapping[str, Mapping[str, Any]]:
        """Contacts by their External Id."""
        return {key: {self.contacts.key: key, **row} for key, row in self.contacts.rows.items()}

    def events(self) -> Sequence[Seen]:
        """Interactions."""
        name = self.mapping.interaction.name
        return [Seen(key, row[self._relationship()], row[name], row) for key, row in self.interactions.rows.items()]

    def _relationship(self) -> str:
        return self.mapping.interaction.member.partition(".")[0]

    # ------------------------------------------------------------ requests

    async def _token(self, request: web.Request) -> web.Response:
        form = {name: values[0] for name, values in parse_qs((await request.read()).decode()).items()}
        if request.content_type != "application/x-www-form-urlencoded" or form.get("grant_type") != "client_credentials":
            raise Refusal(400, {"error": "unsupported_grant_type", "error_description": "grant type not supported"})
        if form.get("client_id") != CLIENT:
            raise Refusal(400, {"error": "invalid_client_id", "error_description": "client identifier invalid"})
        if form.get("client_secret") != SECRET:
            raise Refusal(400, {"error": "invalid_client", "error_description": "invalid client credentials"})
        token = f"00D{len(self.tokens)}!{uuid.uuid4().hex}"
        self.tokens.add(token)
        return answer(
            {"access_token": token, "instance_url": str(request.url.origin()), "token_type": "Bearer", "issued_at": "0"}
        )

    def _count(self) -> None:
        if self.requests_left <= 0:
            raise Refusal(403, _array("REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded."))
        self.requests_left -= 1

    def _object(self, request: web.Request) -> Table:
        name = request.match_info["object"]
        if not re.fullmatch(r"\d{2,3}\.0", request.match_info["version"]) or name not in self.objects:
            raise Refusal(404, _array("NOT_FOUND", "The requested resource does not exist"))
        return self.objects[name]

    async def _upsert(self, request: web.Request) -> web.Response:
        self._count()
        table = self._object(request)
        if request.match_info["field"] != table.key:
            raise Refusal(404, _array("NOT_FOUND", "Provided external ID field does not exist or is not accessible"))
        body = self.json(await request.read())
        records = body.get("records") if isinstance(body, dict) and set(body) <= {"allOrNone", "records"} else None
        if (
            request.content_type != "application/json"
            or not isinstance(records, list)
            or body.get("allOrNone", False) is not False
        ):
            raise Refusal(400, _array("JSON_PARSER_ERROR", "records, and allOrNone false: the sandbox rolls nothing back"))
        if not 1 <= len(records) <= RECORDS_MAX:
            raise Refusal(
                400, _array("EXCEEDED_ID_LIMIT", f"record limit reached. cannot submit more than {RECORDS_MAX} records")
            )
        self._shape(table, records)
        keys = [record[table.key] for record in records]
        return answer([await self._record(table, record, twice=keys.count(record[table.key]) > 1) for record in records])

    def _shape(self, table: Table, records: Sequence[Any]) -> None:
        """What refuses the whole request. Raises Refusal 400."""
        for record in records:
            if not isinstance(record, dict) or (record.get("attributes") or {}).get("type") != table.name:
                raise Refusal(400, _array("INVALID_INPUT", f"attributes.type must be {table.name}"))
            if "id" in {name.lower() for name in record} or not isinstance(record.get(table.key), str) or not record[table.key]:
                raise Refusal(400, _array("MISSING_ARGUMENT", f"{table.key} not specified, or an Id besides it"))
            known = {*table.columns, table.key, "attributes", *([self._relationship()] if table is self.interactions else [])}
            if unknown := sorted(set(record) - known):
                words = f"No such column '{unknown[0]}' on sobject of type {table.name}"
                raise Refusal(400, _array("INVALID_FIELD", words))

    async def _record(self, table: Table, record: Mapping[str, Any], *, twice: bool) -> dict[str, Any]:
        key, bound = record[table.key], record.get(self._relationship())
        values = {name: value for name, value in record.items() if name in table.columns}
        creates = key not in table.rows
        error = self._error(table, key, values, bound, twice=twice)
        if error is not None:
            return {"success": False, "errors": [error]}
        try:
            async with table.creation(key):
                table.write(key, {**values, **self._binding(bound)})
        except Taken:
            words = f"duplicate value found: {table.key} duplicates value on record with id: 003000000000001"
            return {"success": False, "errors": [_row("DUPLICATE_VALUE", words, table.key)]}
        return {"id": f"a00{len(table.rows):012d}", "success": True, "created": creates, "errors": []}

    def _binding(self, bound: Any) -> dict[str, str]:
        return {self._relationship(): bound[self.contacts.key]} if bound else {}

    def _error(self, table: Table, key: str, values: Mapping[str, Any], bound: Any, *, twice: bool) -> dict[str, Any] | None:
        """Why this record is refused."""
        if twice:
            return _row("DUPLICATE_VALUE", f"Duplicate external id specified: {key}", table.key)
        if self.rejected({table.key: key, **values}) is not None:
            return _row("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", "rejected on demand")
        if table.is_stale(key, values):
            return _row("FIELD_CUSTOM_VALIDATION_EXCEPTION", f"{STALE}: the record has a later version")
        if wrong := table.wrong(values, creates=key not in table.rows):
            return _refusal(wrong)
        if table is self.contacts:
            return _row("UNABLE_TO_LOCK_ROW", "unable to obtain exclusive access to this record") if key in self.locked else None
        return self._unbound(bound)

    def _unbound(self, bound: Any) -> dict[str, Any] | None:
        member = bound.get(self.contacts.key) if isinstance(bound, dict) and set(bound) == {self.contacts.key} else None
        if member is None:
            return _row("REQUIRED_FIELD_MISSING", f"Required fields are missing: [{self._relationship()}]")
        if member in self.locked:
            return _row("UNABLE_TO_LOCK_ROW", "unable to obtain exclusive access to this record")
        if member not in self.contacts.rows:
            words = f"Foreign key external ID: {member.lower()} not found for field {self.contacts.key} in entity Contact"
            return _row("INVALID_FIELD", words)
        return None

    async def _query(self, request: web.Request) -> web.Response:
        self._count()
        found = _QUERY.fullmatch(request.query.get("q", ""))
        table = self.objects.get(found[2]) if found else None
        if found is None or table is None or found[3] != table.key:
            raise Refusal(400, _array("MALFORMED_QUERY", "the sandbox reads SELECT fields FROM object WHERE key IN (...)"))
        names = found[1].split(",")
        if unknown := set(names) - {*table.columns, table.key}:
            raise Refusal(400, _array("INVALID_FIELD", f"No such column '{min(unknown)}' on entity '{table.name}'"))
        rows = {key: {table.key: key, **table.rows[key]} for key in re.findall(r"'([^']*)'", found[4]) if key in table.rows}
        records = [{"attributes": {"type": table.name}, **{name: row.get(name) for name in names}} for row in rows.values()]
        return answer({"totalSize": len(records), "done": True, "records": records})

    async def _describe(self, request: web.Request) -> web.Response:
        self._count()
        table = self._object(request)
        unique = table.name not in self.not_unique
        fields: list[dict[str, Any]] = [{"name": name} for name in table.columns]
        fields.append({"name": table.key, "externalId": unique, "unique": unique})
        if table is self.interactions:
            fields.append({"name": f"{self._relationship()[:-1]}c", "relationshipName": self._relationship()})
        return answer({"name": table.name, "fields": fields})


def _array(code: str, words: str) -> list[dict[str, Any]]:
    return [{"message": words, "errorCode": code, "fields": []}]


def _row(code: str, words: str, *fields: str) -> dict[str, Any]:
    return {"statusCode": code, "message": words, "fields": list(fields)}


def _refusal(wrong: Wrong) -> dict[str, Any]:
    match wrong.why:
        case "length":
            return _row("STRING_TOO_LONG", f"{wrong.column}: data value too large", wrong.column)
        case "required":
            return _row("REQUIRED_FIELD_MISSING", f"Required fields are missing: [{wrong.column}]", wrong.column)
    return _row("INVALID_TYPE_ON_FIELD_IN_RECORD", f"{wrong.column}: value not of required type", wrong.column)
