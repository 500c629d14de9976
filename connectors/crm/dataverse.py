"""Microsoft Dataverse (Dynamics 365), Web API 9.2: rows upserted by alternate key, a few in each `$batch`.

Law: a batch of answers is read part by part, whatever its own status says. Source: learn.microsoft.com, Power Apps developer
guide: "Upsert a table row", "Execute batch operations using the Web API", "Service protection API limits".
"""

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

from connectors.configuration import Configuration, SafeUrl, SecretStr
from connectors.crm import multipart
from connectors.crm.mapping import CrmMapping
from connectors.crm.port import InteractionFlow, InteractionRow, MemberFirst, MemberRow, Problem, Reading, body, refused, verdict
from connectors.crm.token import Token
from connectors.sink import Again, Answer, Call, Delivered, Flow, Halt, Outcome, Rejected, Reply, Setup, Split

_KEY_TAKEN = "0x80060892"
_NO_SUCH = ("0x80040217", "0x80060891")
_EXISTS = "0x80040237"
_DUPLICATE_RULE = "0x80040333"
_CHANGED = Again("another writer changed the row", at_most=20)
_TAKEN = Again("another writer created the row", at_most=5)
_DEFINITION = (
    "Attributes($select=LogicalName),Keys($select=KeyAttributes,EntityKeyIndexStatus),"
    "ManyToOneRelationships($select=ReferencingEntityNavigationPropertyName)"
)


class DataverseConfig(Configuration):
    """LOY_CRM_*, for LOY_CRM_ADAPTER=dataverse."""

    base_url: SafeUrl
    """The environment, e.g. https://contoso.crm4.dynamics.com."""
    tenant: Annotated[str, Field(min_length=1)]
    """Id or domain of the Entra tenant."""
    client_id: Annotated[str, Field(min_length=1)]
    """Of the app registration that has an application user in the environment."""
    client_secret: SecretStr
    """Of the same."""
    authority: SafeUrl = "https://login.microsoftonline.com"
    """Where tokens are had."""
    batch: Annotated[int, Field(ge=1, le=1000)] = 25
    """Rows of one `$batch`; the vendor advises to begin with 10. 1 sends single requests."""
    rate: Annotated[float, Field(gt=0)] = 20.0
    """Requests a second: the limit of a user is 6000 in five minutes."""
    read_first: bool = False
    """Read each contact before writing it: then only what changed is written, and only where it is newer, without a rule in
    the environment. Costs a second operation a contact."""
    check: bool = True
    """Whether tables, columns and keys are looked at before the first delivery."""


class Dataverse:
    """The adapter of Dataverse."""

    def __init__(self, config: DataverseConfig, mapping: CrmMapping, clock: Callable[[], float] = time.monotonic) -> None:
        self._mapping = mapping
        self._check = config.check
        self._read_first = config.read_first
        self._api = "/api/data/v9.2/"
        self.base_url = config.base_url.rstrip("/")
        self.rates: Mapping[str, float] = {
            "api": config.rate,
            "token": 5.0,
        }  # one limit for all: a pause of one is a pause of all
        self.most = config.batch
        form = {
            "grant_type": "client_credentials",
            "client_id": config.client_id,
            "client_secret": config.client_secret.get_secret_value(),
            "scope": f"{self.base_url}/.default",
        }
        self._token = Token(f"{config.authority.rstrip('/')}/{config.tenant}/oauth2/v2.0/token", form, clock)

    def headers(self) -> Mapping[str, str]:
        """The token and the protocol's version."""
        return {"authorization": self._token.bearer, "odata-version": "4.0", "odata-maxversion": "4.0"}

    # ------------------------------------------------------------ writing

    def members(self, rows: Sequence[MemberRow]) -> Flow:
        """Upsert contacts. The key is in the address alone: in the body it would win over it on create."""
        if self._read_first:
            return (yield from self._guarded(rows))
        table = self._mapping.member
        outcomes = yield from self._upsert([self._patch(table.table, table.key, row.loyalty_id, row.columns) for row in rows])
        return [_member(outcome) for outcome in outcomes]

    def interactions(self, rows: Sequence[InteractionRow]) -> InteractionFlow:
        """Upsert interactions, each bound to its contact by the contact's key."""
        table, member = self._mapping.interaction, self._mapping.member
        calls = []
        for row in rows:
            bind = {f"{table.member}@odata.bind": f"/{member.table}({member.key}='{row.loyalty_id}')"}
            calls.append(self._patch(table.table, table.key, row.key, {**row.columns, **bind}))
        return (yield from self._upsert(calls))

    def _guarded(self, rows: Sequence[MemberRow]) -> Flow:
        """Write on top of what was read and of nothing else: who changed it meanwhile makes us read again."""
        parts = yield from self._parts([self._get(row.loyalty_id, sorted(self._mapping.member_columns())) for row in rows])
        if not isinstance(parts, list):
            return [parts] * len(rows)
        plans = [self._plan(row, part) for row, part in zip(rows, parts, strict=False)]
        calls = [plan for plan in plans if isinstance(plan, Call)]
        written = (yield from self._parts(calls)) if calls else []
        told = iter([_guarded(part) for part in written] if isinstance(written, list) else [written] * len(calls))
        late = Again("the batch was answered in part", unknown=True)
        outcomes = [next(told, late) if isinstance(plan, Call) else plan for plan in plans]
        return outcomes + [late] * (len(rows) - len(plans))

    def _plan(self, row: MemberRow, part: Answer) -> Call | Outcome:
        """What to write, given what is there."""
        table, held = self._mapping.member, part.json()
        if part.status == 404 and _error(part)[0] in _NO_SUCH:
            return self._patch(table.table, table.key, row.loyalty_id, row.columns, {"if-none-match": "*"})
        if part.status != 200 or not isinstance(held, dict) or "@odata.etag" not in held:
            return _member(_outcome(part))
        if table.version is not None and (held.get(table.version) or 0) > row.columns[table.version]:
            return Delivered()
        changed = {name: value for name, value in row.columns.items() if held.get(name) != value}
        if not changed:
            return Delivered()
        return self._patch(table.table, table.key, row.loyalty_id, changed, {"if-match": held["@odata.etag"]})

    def _patch(
        self, table: str, key: str, value: str, columns: Mapping[str, Any], condition: Mapping[str, str] | None = None
    ) -> Call:
        return Call("api", "PATCH", f"{self._api}{table}({key}='{value}')", json=dict(columns), headers=condition or {})

    def _get(self, loyalty_id: str, columns: Sequence[str]) -> Call:
        table = self._mapping.member
        return Call("api", "GET", f"{self._api}{table.table}({table.key}='{loyalty_id}')?$select={','.join(columns)}")

    def _upsert(self, calls: Sequence[Call]) -> InteractionFlow:
        """Two writers may create the same row at once: the one who lost writes again, and updates."""
        outcomes = list((yield from self._batch(calls)))
        taken = [number for number, outcome in enumerate(outcomes) if outcome == _TAKEN]
        if taken:
            repeated = yield from self._batch([calls[number] for number in taken])
            for number, outcome in zip(taken, repeated, strict=True):
                outcomes[number] = outcome
        return outcomes

    def _batch(self, calls: Sequence[Call]) -> InteractionFlow:
        parts = yield from self._parts(calls)
        if not isinstance(parts, list):
            return [parts] * len(calls)
        missing = Again("the batch was answered in part", unknown=True)
        return [_outcome(part) for part in parts] + [missing] * (len(calls) - len(parts))

    def _parts(self, calls: Sequence[Call]) -> Generator[Call, Reply, list[Answer] | Outcome]:
        """The answers to these calls, or what became of all of them."""
        if len(calls) == 1:
            reply = yield from self._token.send(calls[0])
            return [reply] if isinstance(reply, Answer) and reply.status not in (401, 429) else _whole(reply)
        headers = {"content-type": multipart.CONTENT_TYPE, "prefer": "odata.continue-on-error", "accept": "multipart/mixed"}
        batch = Call("api", "POST", f"{self._api}$batch", body=multipart.printed(calls), headers=headers)
        reply = yield from self._token.send(batch)
        parts = multipart.answers(reply) if isinstance(reply, Answer) else None
        if parts is None or len(parts) > len(calls):
            return _whole(reply)
        return parts

    # ------------------------------------------------------------ looking

    def read(self, loyalty_ids: Sequence[str], columns: Sequence[str]) -> Reading:
        """Each contact by its key, many in a batch."""
        parts = yield from self._parts([self._get(key, columns) for key in loyalty_ids])
        found = parts if isinstance(parts, list) else []
        return {key: _row(part, columns) for key, part in zip(loyalty_ids, found, strict=False) if part.status in (200, 404)}

    def prepare(self) -> Setup:
        """A token, and each table's columns and active key."""
        problem = yield from self._token.ready()
        if problem is not None or not self._check:
            return problem
        member, interaction = self._mapping.member, self._mapping.interaction
        problem = yield from self._table(member.table, member.key, self._mapping.member_columns())
        columns = {*self._mapping.interaction_columns(), interaction.member}
        return problem or (yield from self._table(interaction.table, interaction.key, columns))

    def _table(self, table: str, key: str, columns: set[str]) -> Setup:
        query = f"$select=LogicalName&$filter=EntitySetName%20eq%20'{table}'&$expand={_DEFINITION}"
        reply = yield from self._token.send(Call("api", "GET", f"{self._api}EntityDefinitions?{query}"))
        told = body(reply)
        if isinstance(told, Again | Halt):
            return told
        return _lacking(table, key, columns, told["value"][0]) if told.get("value") else Halt(f"there is no table {table!r}")


# ---------------------------------------------------------------- reading answers


def _whole(reply: Reply | Problem) -> Outcome:
    """What an answer that is no list of answers means for every row."""
    return verdict(reply) or Again("the answer is no batch", unknown=True)


def _outcome(part: Answer) -> Outcome | MemberFirst:  # noqa: PLR0911  # one return a case
    """What one answer means for its row: the table of the contract."""
    if part.status == 204:
        return Delivered()
    code, words = _error(part)
    match part.status:
        case 400 if words.startswith("The key in the request URI is not valid"):
            return Halt(f"400: {words[:300]}")
        case 400:
            return refused(code, words)
        case 404 if code in _NO_SUCH:
            return MemberFirst(code, words)
        case 404:
            return Halt(f"404: {words[:300]}")
        case 412 if code == _EXISTS:
            return Delivered()
        case 412 if code == _KEY_TAKEN:
            return _TAKEN
        case 412:
            return Rejected(code, words)
    outcome = verdict(part) or Again("not the answer to an upsert", unknown=True)
    return Rejected(code, words) if isinstance(outcome, Split) else outcome


def _member(outcome: Outcome | MemberFirst) -> Outcome:
    """A member that wants another one first is refused: we bind it to none."""
    return Rejected(outcome.code, outcome.words) if isinstance(outcome, MemberFirst) else outcome


def _guarded(part: Answer) -> Outcome:
    """The outcome of a conditional write."""
    if part.status == 412 and _error(part)[0] != _DUPLICATE_RULE:
        return _CHANGED
    return _member(_outcome(part))


def _error(part: Answer) -> tuple[str, str]:
    """Code and words of `{"error": {...}}`; the status when there is no code."""
    told = part.json()
    error = told.get("error") if isinstance(told, dict) else None
    if not isinstance(error, dict):
        return str(part.status), part.text()
    return str(error.get("code") or part.status), str(error.get("message", ""))[:2000]


def _row(part: Answer, columns: Sequence[str]) -> dict[str, Any] | None:
    told = part.json()
    return {column: told.get(column) for column in columns} if part.status == 200 and isinstance(told, dict) else None


def _lacking(table: str, key: str, columns: set[str], told: Mapping[str, Any]) -> Halt | None:
    """What the table has not that the mapping needs."""
    known = {one.get("LogicalName") for one in told.get("Attributes", ())}
    known |= {one.get("ReferencingEntityNavigationPropertyName") for one in told.get("ManyToOneRelationships", ())}
    if missing := columns - known:
        return Halt(f"table {table!r} has no {', '.join(sorted(missing))}")
    states = [one.get("EntityKeyIndexStatus") for one in told.get("Keys", ()) if one.get("KeyAttributes") == [key]]
    if "Active" not in states:
        return Halt(f"table {table!r} has no active alternate key on {key!r} alone: {states[0] if states else 'none at all'}")
    return None
