"""Oracle Sales (Fusion), REST: upserts, several in a batch that is done whole or not at all.

Law: of a refused batch nothing was done; the part that is named is left out and the rest is sent again, and when none is named
the batch is halved. Source: docs.oracle.com, Sales REST API: "Perform Batch Actions", "Create an activity", "Create a contact".
"""

import re
from base64 import b64encode
from collections.abc import Generator, Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

from connectors.configuration import Configuration, SafeUrl, SecretStr
from connectors.crm.mapping import CrmMapping
from connectors.crm.port import InteractionFlow, InteractionRow, MemberFirst, MemberRow, Reading, body, refused, verdict
from connectors.mapping import nested
from connectors.sink import Again, Answer, Call, Delivered, Flow, Halt, Outcome, Rejected, Reply, Setup, segment

_BATCH = "application/vnd.oracle.adf.batch+json"
_ACCEPT = "application/json, application/vnd.oracle.adf.error+json"
_TAKEN = re.compile(r"JBO-25013|JBO-26048|ORA-00001|already exists|must be unique", re.IGNORECASE)
"""Words of a row that another writer has just created. Inferred: no list of them is published."""


class OracleConfig(Configuration):
    """LOY_CRM_*, for LOY_CRM_ADAPTER=oracle."""

    base_url: SafeUrl
    """The host, e.g. https://contoso.fa.em2.oraclecloud.com."""
    username: Annotated[str, Field(min_length=1)]
    """Of the integration user."""
    password: SecretStr
    """Of the same."""
    resources: str = "11.13.18.05"
    """Version of the resources in the path."""
    framework: Annotated[str, Field(pattern=r"^\d+$")] = "4"
    """REST-Framework-Version: errors have details from 4 on."""
    batch: Annotated[int, Field(ge=1, le=1000)] = 25
    """Rows of one batch; 1 sends single requests, for tenants whose batches know no upsert."""
    rate: Annotated[float, Field(gt=0)] = 5.0
    """Requests a second. The vendor publishes no limit."""
    check: bool = True
    """Whether the attributes are looked at before the first delivery."""


class Oracle:
    """The adapter of Oracle Sales."""

    def __init__(self, config: OracleConfig, mapping: CrmMapping) -> None:
        self._mapping = mapping
        self._config = config
        self._api = f"/crmRestApi/resources/{config.resources}"
        self.base_url = config.base_url.rstrip("/")
        self.rates: Mapping[str, float] = {"api": config.rate}
        self.most = config.batch

    def headers(self) -> Mapping[str, str]:
        """Basic credentials, and what makes a POST an upsert."""
        user = f"{self._config.username}:{self._config.password.get_secret_value()}"
        return {
            "authorization": f"Basic {b64encode(user.encode()).decode()}",
            "rest-framework-version": self._config.framework,
            "upsert-mode": "true",
            "accept": _ACCEPT,
        }

    # ------------------------------------------------------------ writing

    def members(self, rows: Sequence[MemberRow]) -> Flow:
        """Upsert contacts."""
        table = self._mapping.member
        outcomes = yield from self._upsert(table.table, [{table.key: row.loyalty_id, **nested(row.columns)} for row in rows])
        return [_member(outcome) for outcome in outcomes]

    def interactions(self, rows: Sequence[InteractionRow]) -> InteractionFlow:
        """Upsert activities. `member` is a child and its column, e.g. `ActivityContact.ContactPartyNumber`."""
        table = self._mapping.interaction
        child, _, column = table.member.partition(".")
        payloads = []
        for row in rows:
            bind: Any = [{column: row.loyalty_id}] if column else row.loyalty_id
            payloads.append({table.key: row.key, **nested(row.columns), child: bind})
        outcomes = yield from self._upsert(table.table, payloads)
        return (yield from self._sure(rows, payloads, list(outcomes)))

    def _sure(
        self, rows: Sequence[InteractionRow], payloads: Sequence[Mapping[str, Any]], outcomes: list[Outcome | MemberFirst]
    ) -> InteractionFlow:
        """What a refusal says of a missing contact is not published, so it is asked for. If it is there (by now), once more."""
        doubted = {row.loyalty_id for row, outcome in zip(rows, outcomes, strict=True) if isinstance(outcome, MemberFirst)}
        if not doubted:
            return outcomes
        there = yield from self.read(sorted(doubted), [])
        outcomes = [_asked(outcome, row.loyalty_id in there) for row, outcome in zip(rows, outcomes, strict=True)]
        again = [n for n, row in enumerate(rows) if isinstance(outcomes[n], MemberFirst) and there[row.loyalty_id] is not None]
        if again:
            repeated = yield from self._upsert(self._mapping.interaction.table, [payloads[number] for number in again])
            for number, outcome in zip(again, repeated, strict=True):
                outcomes[number] = _member(outcome)
        return outcomes

    def _upsert(self, table: str, payloads: Sequence[Mapping[str, Any]]) -> InteractionFlow:
        if len(payloads) == 1:
            reply = yield Call("api", "POST", f"{self._api}/{table}", json=dict(payloads[0]))
            return [_single(reply)]
        parts = {
            f"p{number}": {"id": f"p{number}", "path": f"/{table}", "operation": "upsert", "payload": dict(payload)}
            for number, payload in enumerate(payloads)
        }
        outcomes = yield from self._batch(parts)
        return [outcomes[part] for part in parts]

    def _batch(self, parts: Mapping[str, Any]) -> Generator[Call, Reply, dict[str, Outcome | MemberFirst]]:
        """Send, and again without the parts that are refused by name."""
        outcomes: dict[str, Outcome | MemberFirst] = {}
        left = dict(parts)
        while left:
            headers = {"content-type": _BATCH, "accept": f"{_BATCH}, {_ACCEPT}"}
            reply = yield Call("api", "POST", self._api, json={"parts": list(left.values())}, headers=headers)
            failed = {part: outcome for part, outcome in _failed(reply).items() if part in left}
            if not failed:
                return outcomes | dict.fromkeys(left, _batch_outcome(reply))
            outcomes |= failed
            left = {part: content for part, content in left.items() if part not in failed}
        return outcomes

    # ------------------------------------------------------------ looking

    def read(self, loyalty_ids: Sequence[str], columns: Sequence[str]) -> Reading:
        """Contacts by a query. Ids are letters, digits, `_` and `-`: nothing to escape."""
        table = self._mapping.member
        ids = ",".join(f"'{key}'" for key in loyalty_ids)
        fields = ",".join([table.key, *columns])
        query = f"q={segment(f'{table.key} in ({ids})')}&fields={fields}&onlyData=true&limit={len(loyalty_ids)}"
        told = body((yield Call("api", "GET", f"{self._api}/{table.table}?{query}")))
        if isinstance(told, Again | Halt):
            return {}
        rows = {str(row.get(table.key)): {column: row.get(column) for column in columns} for row in told.get("items", ())}
        return {key: rows.get(key) for key in loyalty_ids}

    def prepare(self) -> Setup:
        """Each resource's attributes, which also tells whether the credentials are right."""
        if not self._config.check:
            return None
        member, interaction = self._mapping.member, self._mapping.interaction
        problem = yield from self._resource(member.table, {member.key, *self._mapping.member_columns()})
        columns = {interaction.key, *self._mapping.interaction_columns(), interaction.member}
        return problem or (yield from self._resource(interaction.table, columns))

    def _resource(self, table: str, columns: set[str]) -> Setup:
        told = body((yield Call("api", "GET", f"{self._api}/{table}/describe")))
        if isinstance(told, Again | Halt):
            return told
        resource = told.get("Resources", {}).get(table, {})
        known = {one.get("name") for one in resource.get("attributes", ())} | set(resource.get("children", ()))
        missing = {name.partition(".")[0] for name in columns} - known
        return Halt(f"resource {table!r} has no {', '.join(sorted(missing))}") if missing else None


# ---------------------------------------------------------------- reading answers


def _single(reply: Reply) -> Outcome | MemberFirst:
    """What the answer to one upsert means."""
    if isinstance(reply, Answer) and reply.status in (400, 409, 412, 422):
        return _refusal(*_error(reply.json(), reply))
    told = body(reply)
    return (verdict(reply) or told) if isinstance(told, Again | Halt) else Delivered()


def _asked(outcome: Outcome | MemberFirst, told: bool) -> Outcome | MemberFirst:  # noqa: FBT001  # one fact
    """The outcome of a row, given whether its member could be asked for."""
    if isinstance(outcome, MemberFirst) and not told:
        return Again(f"refused, and whether its member is there could not be asked: {outcome.words[:300]}")
    return outcome


def _member(outcome: Outcome | MemberFirst) -> Outcome:
    """A refusal where no member is missing."""
    return Rejected(outcome.code, outcome.words) if isinstance(outcome, MemberFirst) else outcome


def _batch_outcome(reply: Reply) -> Outcome:
    """What an answer that names no part means for all of them."""
    outcome = verdict(reply)
    if outcome is not None:
        return outcome
    told = reply.json() if isinstance(reply, Answer) else None
    if isinstance(told, dict) and isinstance(told.get("parts"), list):
        return Delivered()
    return Again("the answer is no batch", unknown=True)


def _failed(reply: Reply) -> dict[str, Outcome | MemberFirst]:
    """The parts that are refused by name. Only failing parts are listed, and then nothing was done."""
    told = reply.json() if isinstance(reply, Answer) else None
    parts = told.get("parts") if isinstance(told, dict) else None
    listed = [part for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []
    return {str(part.get("id")): _refusal(*_error(part, reply)) for part in listed if "o:errorDetails" in part}


def _refusal(code: str, words: str) -> Outcome | MemberFirst:
    """A row that is refused: another writer was first, the member is missing, or it is what it says."""
    if _TAKEN.search(words):
        return Again(f"another writer created the row: {words[:300]}", at_most=5)
    outcome = refused(code, words)
    return MemberFirst(outcome.code, outcome.words) if isinstance(outcome, Rejected) else outcome


def _error(told: Any, reply: Reply) -> tuple[str, str]:
    """Code and words of `{"title", "status", "o:errorDetails": [{"detail", "o:errorCode", "o:errorPath"}]}`, or plain text."""
    details = told.get("o:errorDetails") if isinstance(told, dict) else None
    if not isinstance(details, list) or not details:
        return (str(reply.status), reply.text()) if isinstance(reply, Answer) else ("", "")
    known = [one for one in details if isinstance(one, dict)]
    code = next((str(one["o:errorCode"]) for one in known if one.get("o:errorCode")), str(told.get("status", "400")))
    return code, "; ".join(f"{one.get('o:errorPath', '')} {one.get('detail', '')}".strip() for one in known)[:2000]
