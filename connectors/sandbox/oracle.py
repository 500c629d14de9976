"""Oracle Sales (Fusion) on loopback: contacts and activities upserted one by one or in a batch, queries and descriptions.

Law: a batch is done whole or not at all; of a failed one only the failing part is told. How a tenant shapes that answer, and what
it says when a row is just being created, is not published: this is a likely tenant.
"""

import re
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from aiohttp import web

from connectors.crm.port import STALE
from connectors.sandbox.base import Refusal, Sandbox, Seen, answer
from connectors.sandbox.tables import Column, Table, Taken, Wrong, shipped

USER, PASSWORD = "integration", "s3cret"
API = "/crmRestApi/resources/11.13.18.05"
BATCH = "application/vnd.oracle.adf.batch+json"
ACTIVITY_NUMBER_MAX = 64
PARTY_NUMBER_MAX = 30
_OPERATIONS = ("get", "create", "update", "replace", "delete", "upsert")
_STANDARD = {
    "FirstName": Column(length=150),
    "LastName": Column(length=150, required=True),
    "EmailAddress": Column(length=320),
    "DateOfBirth": Column("date"),
    "Subject": Column(length=500, required=True),
    "ActivityFunctionCode": Column(length=30, required=True),
    "ActivityDescription": Column("base64"),
}


class OracleSandbox(Sandbox):
    """A tenant with the resources and attributes of the shipped mapping, where PartyNumber may be given."""

    name = "oracle"
    title = "Oracle Sales"
    rate = float("inf")

    def __init__(self, *args: Any, **parts: Any) -> None:
        super().__init__(*args, **parts)
        self.mapping, self.contacts, self.activities = shipped("oracle", _STANDARD)
        self.resources = {table.name: table for table in (self.contacts, self.activities)}
        self.knows_upsert = True
        """False: a tenant whose batches know no upsert."""

    def routes(self) -> Iterable[web.RouteDef]:
        """The root, which takes batches, and the resources."""
        return [
            web.post(API, self._batch),
            web.post(API + "/{resource}", self._post),
            web.get(API + "/{resource}", self._query),
            web.get(API + "/{resource}/describe", self._describe),
        ]

    def authorised(self, request: web.Request) -> bool:
        """Basic credentials."""
        expected = b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        return request.headers.get("Authorization") == f"Basic {expected}"

    def problem(self, status: int, words: str) -> Any:
        """The error of framework 4."""
        return _error(status, words)

    def people(self) -> Mapping[str, Mapping[str, Any]]:
        """Contacts by PartyNumber."""
        return {key: {self.contacts.key: key, **row} for key, row in self.contacts.rows.items()}

    def events(self) -> Sequence[Seen]:
        """Activities."""
        child, column = self._binding()
        name = self.mapping.interaction.name
        return [Seen(key, row[child][0][column], row[name], row) for key, row in self.activities.rows.items()]

    def _binding(self) -> tuple[str, str]:
        child, _, column = self.mapping.interaction.member.partition(".")
        return child, column

    # ------------------------------------------------------------ requests

    def _framework(self, request: web.Request) -> None:
        """Before framework 4 errors are plain text, which nobody should have to read. Raises Refusal 400."""
        version = request.headers.get("REST-Framework-Version", "")
        if not version.isdigit() or int(version) < 4:
            raise Refusal(400, _error(400, "the sandbox wants REST-Framework-Version 4 or later"))

    def _resource(self, name: str) -> Table:
        if name not in self.resources:
            raise Refusal(404, _error(404, "Not Found"))
        return self.resources[name]

    async def _post(self, request: web.Request) -> web.Response:
        self._framework(request)
        table = self._resource(request.match_info["resource"])
        if request.content_type not in ("application/json", "application/vnd.oracle.adf.resourceitem+json"):
            raise Refusal(415, _error(415, "Unsupported Media Type"))
        payload = self.json(await request.read())
        upsert = request.headers.get("Upsert-Mode") == "true"
        await self._write(table, payload, upsert=upsert)
        return answer({table.key: payload[table.key], **table.rows[payload[table.key]]}, 200 if upsert else 201)

    async def _batch(self, request: web.Request) -> web.Response:
        """Parts in order; after a failure everything is as it was."""
        self._framework(request)
        if request.content_type != BATCH:
            raise Refusal(415, _error(415, f"the root takes {BATCH}"))
        parts = self._parts(self.json(await request.read()))
        undo: list[tuple[Table, str, dict[str, Any] | None]] = []
        for part in parts:
            try:
                table = self._resource(part["path"].removeprefix("/"))
                key = str(part["payload"].get(table.key))
                undo.append((table, key, table.rows.get(key)))
                await self._write(table, part["payload"], upsert=part["operation"] == "upsert")
            except Refusal as no:
                _undo(undo)
                raise self._failed(part, no) from None
        told = [{name: part[name] for name in ("id", "path", "operation")} | {"payload": part["payload"]} for part in parts]
        return answer({"parts": told})

    def _parts(self, body: Any) -> list[dict[str, Any]]:
        parts = body.get("parts") if isinstance(body, dict) else None
        if not isinstance(parts, list) or not parts:
            raise Refusal(400, _error(400, "parts"))
        for part in parts:
            known = isinstance(part, dict) and isinstance(part.get("path"), str) and isinstance(part.get("payload"), dict)
            if (
                not known
                or part.get("operation") not in ("create", "upsert")
                or set(part) != {"id", "path", "operation", "payload"}
            ):
                raise Refusal(
                    400, _error(400, f"a part has id, path, payload and one of {', '.join(_OPERATIONS)}; no reads here")
                )
            if part["operation"] == "upsert" and not self.knows_upsert:
                raise Refusal(400, _error(400, "The operation upsert is not valid"))
        if len({part["id"] for part in parts}) < len(parts):
            raise Refusal(400, _error(400, "each part has an id of its own"))
        return parts

    def _failed(self, part: Mapping[str, Any], no: Refusal) -> Refusal:
        """Only the failing part is told; or, on demand, not even that."""
        fault = self.rejected(part["payload"])
        if fault is not None and not fault.named:
            return no
        listed = {name: part[name] for name in ("id", "path", "operation")}
        return Refusal(no.status, {"parts": [{**listed, **no.body}]})

    async def _write(self, table: Table, payload: Any, *, upsert: bool) -> None:
        key = payload.get(table.key) if isinstance(payload, dict) else None
        most = PARTY_NUMBER_MAX if table is self.contacts else ACTIVITY_NUMBER_MAX
        if not isinstance(key, str) or not 1 <= len(key) <= most:
            raise _bad(f"{table.key}: a text of 1 to {most} characters", table.key)
        values = {name: value for name, value in payload.items() if name != table.key}
        child, _ = self._binding()
        bound = {child: values.pop(child, None)} if table is self.activities else {}
        self._judge(table, key, values)
        if bound:
            self._bound(bound[child])
        if key in table.rows and not upsert:
            raise _bad(f"JBO-25013: Too many objects match the primary key {key}", table.key)
        try:
            async with table.creation(key):
                table.write(key, {**values, **bound})
        except Taken:
            raise _bad(f"JBO-26048: Constraint of {table.key} is violated", table.key) from None

    def _judge(self, table: Table, key: str, values: Mapping[str, Any]) -> None:
        if self.rejected({table.key: key, **values}) is not None:
            raise _bad("rejected on demand")
        if wrong := table.wrong(values, creates=key not in table.rows):
            raise _refusal(wrong)
        if table.is_stale(key, values):
            raise _bad(f"JBO-FND:::: {STALE}: the record has a later version")

    def _bound(self, children: Any) -> None:
        """The contacts of an activity must be there. Raises Refusal 400."""
        child, column = self._binding()
        one = children[0] if isinstance(children, list) and len(children) == 1 else None
        if not isinstance(one, dict) or set(one) != {column}:
            raise _bad(f"{child}: a list of one contact", child)
        if one[column] not in self.contacts.rows:
            raise _bad(f"JBO-27023: The contact {one[column]} is not valid", f"{child}/{column}")

    async def _query(self, request: web.Request) -> web.Response:
        self._framework(request)
        table = self._resource(request.match_info["resource"])
        found = re.fullmatch(rf"{table.key} in \(((?:'[^']*',?)+)\)", request.query.get("q", ""))
        if found is None:
            raise Refusal(400, _error(400, "the sandbox reads q=KEY in ('a','b')"))
        names = request.query.get("fields", "").split(",")
        if unknown := set(names) - {*table.columns, table.key}:
            raise Refusal(400, _error(400, f"URL request parameter fields cannot be used: {min(unknown)}"))
        rows = [{table.key: key, **table.rows[key]} for key in re.findall(r"'([^']*)'", found[1]) if key in table.rows]
        items = [{name: row.get(name) for name in names} for row in rows][: int(request.query.get("limit", "25"))]
        return answer({"items": items, "count": len(items), "hasMore": len(items) < len(rows)})

    async def _describe(self, request: web.Request) -> web.Response:
        self._framework(request)
        table = self._resource(request.match_info["resource"])
        attributes = [{"name": name, "mandatory": column.required} for name, column in table.columns.items()]
        children: dict[str, Any] = {self._binding()[0]: {}} if table is self.activities else {}
        return answer({"Resources": {table.name: {"attributes": [*attributes, {"name": table.key}], "children": children}}})


def _undo(done: Sequence[tuple[Table, str, dict[str, Any] | None]]) -> None:
    for table, key, row in reversed(done):
        table.rows.pop(key, None)
        if row is not None:
            table.rows[key] = row


def _error(status: int, words: str, path: str = "") -> dict[str, Any]:
    detail = {"detail": words, "o:errorCode": "27004", **({"o:errorPath": f"/{path}"} if path else {})}
    return {"title": "Bad Request", "status": str(status), "o:errorDetails": [detail]}


def _bad(words: str, path: str = "") -> Refusal:
    return Refusal(400, _error(400, words, path))


def _refusal(wrong: Wrong) -> Refusal:
    words = {
        "unknown": f"URL request or payload has an unknown attribute {wrong.column}",
        "length": f"JBO-27010: Attribute set with value for {wrong.column} has invalid precision/scale",
        "required": f"JBO-27014: Attribute {wrong.column} is required",
        "type": f"JBO-25009: Cannot create an object of the type of {wrong.column}",
    }
    return _bad(words[wrong.why], wrong.column)
