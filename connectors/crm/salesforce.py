"""Salesforce, REST API: records upserted by an External Id field, up to 200 of one object in each request.

Law: every record is answered by itself, in order. Limits are 403, not 429. Source: developer.salesforce.com, REST API guide:
"Upsert Records Using sObject Collections", "Status Codes and Error Responses", "Duplicate Rule Header".
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

from connectors.configuration import Configuration, SafeUrl, SecretStr
from connectors.crm.mapping import CrmMapping
from connectors.crm.port import InteractionFlow, InteractionRow, MemberFirst, MemberRow, Problem, Reading, body, refused, verdict
from connectors.crm.token import Token
from connectors.mapping import nested
from connectors.sink import Again, Answer, Call, Delivered, Flow, Halt, Outcome, Rejected, Reply, Setup, Split, segment

_LATER = ("UNABLE_TO_LOCK_ROW", "REQUEST_LIMIT_EXCEEDED", "SERVER_UNAVAILABLE", "QUERY_TIMEOUT", "UNKNOWN_EXCEPTION")
_STOP = ("STORAGE_LIMIT_EXCEEDED", "API_DISABLED_FOR_ORG", "API_CURRENTLY_DISABLED", "FUNCTIONALITY_NOT_ENABLED")
_LIMIT = "REQUEST_LIMIT_EXCEEDED"


class SalesforceConfig(Configuration):
    """LOY_CRM_*, for LOY_CRM_ADAPTER=salesforce."""

    base_url: SafeUrl
    """My Domain, e.g. https://contoso.my.salesforce.com."""
    client_id: Annotated[str, Field(min_length=1)]
    """Consumer key of the connected app, whose client credentials flow runs as an integration user."""
    client_secret: SecretStr
    """Consumer secret of the same."""
    version: Annotated[str, Field(pattern=r"^\d{2,3}\.0$")] = "61.0"
    """Of the API."""
    batch: Annotated[int, Field(ge=1, le=200)] = 200
    """Records of one request."""
    rate: Annotated[float, Field(gt=0)] = 5.0
    """Requests a second. What is limited is their number in 24 hours: look it up in Company Information."""
    limit_wait: Annotated[float, Field(ge=0, le=3600)] = 300.0
    """Seconds to wait when that number is used up."""
    save_duplicates: bool = True
    """Whether a contact is saved that a duplicate rule only warns of: people of one household share a telephone."""
    check: bool = True
    """Whether objects, fields and External Ids are looked at before the first delivery."""


class Salesforce:
    """The adapter of Salesforce."""

    def __init__(self, config: SalesforceConfig, mapping: CrmMapping, clock: Callable[[], float] = time.monotonic) -> None:
        self._mapping = mapping
        self._config = config
        self._login = config.base_url.rstrip("/")
        self._api = f"/services/data/v{config.version}"
        self.rates: Mapping[str, float] = {"api": config.rate, "token": 5.0}
        self.most = config.batch
        form = {
            "grant_type": "client_credentials",
            "client_id": config.client_id,
            "client_secret": config.client_secret.get_secret_value(),
        }
        self._token = Token(f"{self._login}/services/oauth2/token", form, clock)

    @property
    def base_url(self) -> str:
        """The instance that the token names."""
        instance = self._token.answer.get("instance_url")
        return instance if isinstance(instance, str) and instance.startswith("http") else self._login

    def headers(self) -> Mapping[str, str]:
        """The token, and what to do about duplicates."""
        return {
            "authorization": self._token.bearer,
            "sforce-duplicate-rule-header": f"allowSave={str(self._config.save_duplicates).lower()}",
        }

    # ------------------------------------------------------------ writing

    def members(self, rows: Sequence[MemberRow]) -> Flow:
        """Upsert contacts."""
        table = self._mapping.member
        records = [_record(table.table, {table.key: row.loyalty_id, **row.columns}) for row in rows]
        outcomes = yield from self._upsert(table.table, table.key, records)
        return [Rejected(outcome.code, outcome.words) if isinstance(outcome, MemberFirst) else outcome for outcome in outcomes]

    def interactions(self, rows: Sequence[InteractionRow]) -> InteractionFlow:
        """Upsert interactions, each bound to its contact by the contact's External Id, e.g. `Contact__r.Loyalty_Id__c`."""
        table = self._mapping.interaction
        records = [_record(table.table, {table.key: row.key, **row.columns, table.member: row.loyalty_id}) for row in rows]
        return (yield from self._upsert(table.table, table.key, records))

    def _upsert(self, table: str, key: str, records: Sequence[Mapping[str, Any]]) -> InteractionFlow:
        call = Call(
            "api",
            "PATCH",
            f"{self._api}/composite/sobjects/{segment(table)}/{segment(key)}",
            json={"allOrNone": False, "records": records},
        )
        reply = yield from self._token.send(call)
        results = reply.json() if isinstance(reply, Answer) and reply.status == 200 else None
        if not isinstance(results, list) or len(results) != len(records):
            return [self._whole(reply)] * len(records)
        return [self._outcome(result, key) for result in results]

    def _whole(self, reply: Reply | Problem) -> Outcome:
        """What an answer that is no list of results means for every record."""
        if isinstance(reply, Answer):
            code, words = _error(reply.json())
            if code == _LIMIT:
                return Again(words, self._config.limit_wait)
            if reply.status == 300:
                return Split("300", "several records have this External Id")
            if reply.status == 400 and code in _LATER:
                return Again(code)
        return verdict(reply) or Again("the answer is no list of results", unknown=True)

    def _outcome(self, result: Any, key: str) -> Outcome | MemberFirst:  # noqa: PLR0911  # one return a case
        """What one result means for its record."""
        if not isinstance(result, dict):
            return Again("a result is missing", unknown=True)
        if result.get("success") is True:
            return Delivered()
        code, words = _error(result.get("errors"))
        if code in _LATER:
            return Again(f"{code}: {words}", self._config.limit_wait if code == _LIMIT else None)
        if code in _STOP:
            return Halt(f"{code}: {words}")
        if code == "DUPLICATE_VALUE" and key.lower() in words.lower():
            return Again(f"another writer created the record: {words}", at_most=5)
        if "foreign key external id" in words.lower():
            return MemberFirst(code, words)
        return refused(code, words)

    # ------------------------------------------------------------ looking

    def read(self, loyalty_ids: Sequence[str], columns: Sequence[str]) -> Reading:
        """Contacts by a query. Ids are letters, digits, `_` and `-`: nothing to escape."""
        table = self._mapping.member
        ids = ",".join(f"'{key}'" for key in loyalty_ids)
        query = f"SELECT {','.join([table.key, *columns])} FROM {table.table} WHERE {table.key} IN ({ids})"  # noqa: S608  # see above
        found: dict[str, Mapping[str, Any] | None] = dict.fromkeys(loyalty_ids)
        path: Any = f"{self._api}/query?q={segment(query)}"
        while isinstance(path, str):
            told = body((yield from self._token.send(Call("api", "GET", path))))
            if isinstance(told, Again | Halt):
                return {key: row for key, row in found.items() if row is not None}
            for record in told.get("records", ()):
                found[str(record.get(table.key))] = {column: record.get(column) for column in columns}
            path = told.get("nextRecordsUrl")
        return found

    def prepare(self) -> Setup:
        """A token, and each object's fields and unique External Id."""
        problem = yield from self._token.ready()
        if problem is not None or not self._config.check:
            return problem
        member, interaction = self._mapping.member, self._mapping.interaction
        problem = yield from self._object(member.table, member.key, self._mapping.member_columns())
        columns = {*self._mapping.interaction_columns(), interaction.member.partition(".")[0]}
        return problem or (yield from self._object(interaction.table, interaction.key, columns))

    def _object(self, table: str, key: str, columns: set[str]) -> Setup:
        reply = yield from self._token.send(Call("api", "GET", f"{self._api}/sobjects/{segment(table)}/describe"))
        told = body(reply)
        if isinstance(told, Again | Halt):
            return told
        fields = {one.get("name"): one for one in told.get("fields", ())}
        if missing := columns - {*fields, *(one.get("relationshipName") for one in fields.values())}:
            return Halt(f"object {table!r} has no {', '.join(sorted(missing))}, or the integration user may not see it")
        one = fields.get(key, {})
        if not (one.get("externalId") and one.get("unique")):
            return Halt(f"{table}.{key} is no unique External Id")
        return None


def _record(table: str, columns: Mapping[str, Any]) -> dict[str, Any]:
    return {"attributes": {"type": table}, **nested(columns)}


def _error(told: Any) -> tuple[str, str]:
    """Code and words of the first of `[{"errorCode" or "statusCode", "message"}]`."""
    first = told[0] if isinstance(told, list) and told else None
    if not isinstance(first, dict):
        return "", ""
    return str(first.get("errorCode") or first.get("statusCode") or ""), str(first.get("message", ""))[:2000]
