"""Tryton, REST: parties found by their code, notes found by a mark in their words, since Tryton has no upsert.

Law: who refuses is looked at again. If the party has changed meanwhile, another writer was first; else the row is at fault.
Source: trytond 8.2, "User Application" and "REST" of docs.tryton.org, and a real server.
"""

import re
from base64 import urlsafe_b64encode
from collections import defaultdict
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from html import unescape
from typing import Annotated, Any
from urllib.parse import urlencode

import orjson
from pydantic import Field

from connectors.configuration import Configuration, SafeUrl, SecretStr
from connectors.crm.port import InteractionFlow, InteractionRow, MemberFirst, MemberRow, Problem, Reading
from connectors.crm.tryton_party import Party, Path, Shape, TrytonMapping, written
from connectors.delivery import Person
from connectors.sink import Again, Answer, Call, Delivered, Flow, Halt, Outcome, Rejected, Reply, Setup, Split, classify, segment

Asked = Generator[Call, Reply, list[Any] | Problem]
_ROUNDS = 4
_MARK = re.compile(r"\[evt [^\]]*\]")
_FAULTY = 4
"""So many times a row is tried at which the server fails, while it answers everything else."""


@dataclass(frozen=True, slots=True)
class _Changed:
    """Another writer was first: the party as it is now."""

    party: Party | None


class TrytonConfig(Configuration):
    """LOY_CRM_*, for LOY_CRM_ADAPTER=tryton."""

    base_url: SafeUrl
    """The host, e.g. https://tryton.example.org."""
    database: Annotated[str, Field(min_length=1)]
    """Name of the database."""
    key: SecretStr
    """Key of a user application of kind `rest`."""
    batch: Annotated[int, Field(ge=1, le=50)] = 20
    """Rows looked for at once, and notes created in one request."""
    rate: Annotated[float, Field(gt=0)] = 50.0
    """Requests a second: what the server is to be burdened with."""
    check: bool = True
    """Whether columns are looked at before the first delivery."""


class Tryton:
    """The adapter of Tryton."""

    def __init__(self, config: TrytonConfig, mapping: TrytonMapping) -> None:
        self._config = config
        self._mapping = mapping
        self._shape = Shape(mapping)
        self._members, self._notes = mapping.member.table, mapping.interaction.table
        self._categories: dict[Path, int] = {}
        self.base_url = config.base_url.rstrip("/")
        self.rates: Mapping[str, float] = {"api": config.rate}
        self.most = config.batch

    def headers(self) -> Mapping[str, str]:
        """The key; a type even where there is no body; words in one language; archived parties are found too."""
        return {
            "authorization": f"Bearer {self._config.key.get_secret_value()}",
            "content-type": "application/json",
            "accept-language": "en",
            "x-tryton-context": _encoded({"active_test": False}),
        }

    def _call(self, method: str, path: str, values: Any = None, **query: Any) -> Call:
        words = urlencode({name: value for name, value in query.items() if value is not None}, doseq=True)
        whole = f"/{segment(self._config.database)}/rest/model/{path}{'?' if words else ''}{words}"
        return Call("api", method, whole, json=values)

    # ------------------------------------------------------------ members

    def members(self, rows: Sequence[MemberRow]) -> Flow:
        """Look for the parties, then create, change or leave each."""
        parties = yield from self._parties([row.loyalty_id for row in rows])
        if isinstance(parties, Again | Halt):
            return [parties] * len(rows)
        problem = yield from self._forget_categories()
        if problem is not None:
            return [problem] * len(rows)
        outcomes: list[Outcome] = []
        for row in rows:
            stopped = outcomes[-1] if outcomes and _stops(outcomes[-1]) else None
            outcomes.append(stopped or (yield from self._member(row, parties.get(row.loyalty_id))))
        return outcomes

    def _member(self, row: MemberRow, party: Party | None) -> Generator[Call, Reply, Outcome]:
        """Write it; again on top of what another writer has made of the party meanwhile."""
        for _ in range(_ROUNDS):
            done = yield from self._member_once(row, party)
            if not isinstance(done, _Changed):
                return done
            party = done.party
        return Again("other writers were first", at_most=20)

    def _member_once(self, row: MemberRow, party: Party | None) -> Generator[Call, Reply, Outcome | _Changed]:
        erased = self._is_erased(row)
        if party and not erased and row.columns.get(self._mapping.member.version or "", party.version) < party.version:
            return Delivered(("stale",))
        if party and not party.active:
            if not erased:
                return Rejected(
                    "ARCHIVED", f"party {party.id} is archived: activate it, or give its code to the one that replaces it"
                )
            woken = yield self._call("PUT", f"{self._members}/{party.id}", {"active": True})
            if not _done(woken):
                return (yield from self._refusal(row, party, woken))
        wanted: dict[Path, int] = {}
        for path in self._shape.categories(row.columns):
            found = yield from self._category(path)
            if isinstance(found, Again | Halt | Rejected):
                return found
            wanted[path] = found
        changes = self._shape.changes(row.columns, party, self._categories | wanted)
        if party and not party.active:
            changes["active"] = False
        return (yield from self._write(row, party, changes)) if changes else Delivered()

    def _is_erased(self, row: MemberRow) -> bool:
        """Nothing is known of the member: this is never too old to be done."""
        version = row.columns.get(self._mapping.member.version or "", 0)
        return row == self._mapping.member_row(Person(row.loyalty_id, version=version))

    def _write(
        self, row: MemberRow, party: Party | None, changes: Mapping[str, Any]
    ) -> Generator[Call, Reply, Outcome | _Changed]:
        if party is None:
            values = {self._mapping.member.key: row.loyalty_id, **self._mapping.member.always, **changes}
            reply = yield self._call("POST", self._members, values, f=self._mapping.member.key)
        else:
            reply = yield self._call("PUT", f"{self._members}/{party.id}", changes, f=self._mapping.member.key)
        if not _done(reply):
            return (yield from self._refusal(row, party, reply))
        told = reply.json() if isinstance(reply, Answer) else None
        return Delivered() if isinstance(told, dict) else Again("the answer is no party", unknown=True)

    def _refusal(self, row: MemberRow, party: Party | None, reply: Reply) -> Generator[Call, Reply, Outcome | _Changed]:
        """The party that was found is gone or has changed, or there is one by now; else it is the row."""
        outcome = yield from self._fault(reply)
        if isinstance(reply, Answer) and reply.status in (400, 404):
            parties = yield from self._parties([row.loyalty_id])
            if isinstance(parties, Again | Halt):
                return parties
            now = parties.get(row.loyalty_id)
            if (now and (now.id, now.card)) != (party and (party.id, party.card)):
                return _Changed(now)
        return outcome

    def _parties(self, codes: Sequence[str]) -> Generator[Call, Reply, dict[str, Party] | Problem]:
        key = self._mapping.member.key
        found = yield from self._search(self._members, [[key, "in", list(codes)]], self._shape.fields)
        if isinstance(found, Again | Halt):
            return found
        return {str(one[key]): Party(one, self._mapping.label) for one in found}

    # ------------------------------------------------------------ categories

    def _forget_categories(self) -> Setup:
        """Those that somebody deleted: a party that is given one cannot be read any more where the database lets that pass."""
        if not self._categories:
            return None
        known = set(self._categories.values())
        found = yield from self._search("party.category", [["id", "in", sorted(known)]], ["name"])
        if isinstance(found, Again | Halt):
            return found
        gone = known - {int(one["id"]) for one in found}
        self._categories = {path: number for path, number in self._categories.items() if number not in gone}
        return None

    def _category(self, path: Path) -> Generator[Call, Reply, int | Problem | Rejected]:
        """The category, and all above it, made where they are not there."""
        if path in self._categories:
            return self._categories[path]
        parent = (yield from self._category(path[:-1])) if path[:-1] else None
        if isinstance(parent, Again | Halt | Rejected):
            return parent
        found = yield from self._found_or_made(path[-1], parent)
        if isinstance(found, int):
            self._categories[path] = found
        return found

    def _found_or_made(self, name: str, parent: int | None) -> Generator[Call, Reply, int | Problem | Rejected]:
        """Looked for once more when it cannot be made: another writer may have been first."""
        refusal: Problem | Rejected | None = None
        for _ in range(2):
            found = yield from self._search("party.category", [["name", "=", name], ["parent", "=", parent]], ["name"])
            if isinstance(found, Again | Halt):
                return found
            if found:
                return int(found[0]["id"])
            if refusal is not None:
                return refusal
            reply = yield self._call("POST", "party.category", {"name": name, "parent": parent})
            if not _done(reply):
                refusal = yield from self._fault(reply)
            if isinstance(refusal, Again | Halt):
                return refusal
        return Again(f"category {name} is not found", at_most=5)

    # ------------------------------------------------------------ interactions

    def interactions(self, rows: Sequence[InteractionRow]) -> InteractionFlow:
        """Notes that are not there yet, all of them in one request; afterwards what came twice is taken away."""
        parties = yield from self._ids(sorted({row.loyalty_id for row in rows}))
        if isinstance(parties, Again | Halt):
            return [parties] * len(rows)
        resources = [f"{self._members},{number}" for number in parties.values()]
        there = yield from self._single(resources, {_mark(row.key) for row in rows})
        if isinstance(there, Again | Halt):
            return [there] * len(rows)
        new = [row for row in rows if row.loyalty_id in parties and _mark(row.key) not in there]
        told: Outcome = Delivered()
        if new:
            notes = [{"resource": f"{self._members},{parties[row.loyalty_id]}", "message": self._message(row)} for row in new]
            reply = yield self._call("POST", f"{self._notes}/create", {"vlist": notes})
            told = (yield from self._notes_taken(reply, len(new))) or (
                yield from self._swept(resources, {_mark(row.key) for row in new})
            )
        written_now = {row.key: told for row in new}
        unknown = MemberFirst("NO_PARTY", "no party has this code")
        return [written_now.get(row.key, Delivered() if row.loyalty_id in parties else unknown) for row in rows]

    def _notes_taken(self, reply: Reply, count: int) -> Generator[Call, Reply, Outcome | None]:
        """Why they are not there; None when they are. All or none of them are created."""
        if not _done(reply):
            outcome = yield from self._fault(reply)
            if isinstance(outcome, Again) and outcome.at_most and count > 1:
                return Split("500", outcome.why)
            return Split(outcome.code, outcome.words) if isinstance(outcome, Rejected) else outcome
        told = reply.json() if isinstance(reply, Answer) else None
        return None if isinstance(told, list) and len(told) == count else Again("the answer is no list of notes", unknown=True)

    def _swept(self, resources: Sequence[str], marks: set[str]) -> Generator[Call, Reply, Outcome]:
        there = yield from self._single(resources, marks)
        return there if isinstance(there, Again | Halt) else Delivered()

    def _single(self, resources: Sequence[str], marks: set[str]) -> Generator[Call, Reply, set[str] | Problem]:
        """Which of the marks have a note. Of several with the same mark only the first is left, if the user may delete notes."""
        domain = [["resource", "in", resources], ["OR", *(["message", "like", f"%{mark}%"] for mark in sorted(marks))]]
        found = yield from self._search(self._notes, domain, ["message"])
        if isinstance(found, Again | Halt):
            return found
        notes: dict[str, list[int]] = defaultdict(list)
        for one in found:
            notes[_MARK.findall(one["message"])[-1]].append(int(one["id"]))
        for surplus in [number for numbers in notes.values() for number in sorted(numbers)[1:]]:
            reply = yield self._call("DELETE", f"{self._notes}/{surplus}")
            outcome = None if _done(reply) else classify(reply)
            if isinstance(outcome, Again):
                return outcome
        return set(notes)

    def _message(self, row: InteractionRow) -> str:
        """The title, a line for each value, the mark."""
        subject = self._mapping.interaction.subject.to
        lines = [f"{name}: {written(value)}" for name, value in row.columns.items() if name != subject and value is not None]
        return "\n".join([str(row.columns.get(subject, "")), *lines, _mark(row.key)])

    def _ids(self, codes: Sequence[str]) -> Generator[Call, Reply, dict[str, int] | Problem]:
        key = self._mapping.member.key
        found = yield from self._search(self._members, [[key, "in", list(codes)]], [key])
        return found if isinstance(found, Again | Halt) else {str(one[key]): int(one["id"]) for one in found}

    # ------------------------------------------------------------ looking

    def read(self, loyalty_ids: Sequence[str], columns: Sequence[str]) -> Reading:
        """Parties by their codes."""
        parties = yield from self._parties(loyalty_ids)
        if isinstance(parties, Again | Halt):
            return {}
        rows = {code: self._shape.row(party, self._categories) for code, party in parties.items()}
        return {code: {column: rows[code].get(column) for column in columns} if code in rows else None for code in loyalty_ids}

    def prepare(self) -> Setup:
        """The columns, and the categories above the members'."""
        problem = (yield from self._columns()) if self._config.check else None
        if problem is not None:
            return problem
        for path in self._shape.groups:
            found = yield from self._category(path)
            if isinstance(found, Rejected):
                return Halt(f"category {' / '.join(path)}: {found.words}")
            if isinstance(found, Again | Halt):
                return found
        return None

    def _columns(self) -> Setup:
        """Whether Tryton has all columns of the mapping, and answers at all."""
        for table, columns in ((self._members, self._shape.plain), ("party.address", self._shape.address_columns)):
            domain = [["model", "=", table], ["name", "in", columns]]
            reply = yield self._call("GET", "ir.model.field", d=_encoded(domain), f="name")
            if not _done(reply):
                return _plain(reply)
            told = reply.json() if isinstance(reply, Answer) else None
            known = {one.get("name") for one in told if isinstance(one, dict)} if isinstance(told, list) else None
            if known is None:
                return Again("the answer is no list of columns")
            if missing := set(columns) - known:
                return Halt(f"{table} has no {', '.join(sorted(missing))}")
        return None

    def _search(self, model: str, domain: Sequence[Any], fields: Sequence[str]) -> Asked:
        """The records, in the order of their making."""
        reply = yield self._call("GET", model, d=_encoded(domain), f=list(fields), o=_encoded([["id", "ASC"]]))
        if not _done(reply):
            outcome = yield from self._fault(reply)
            if isinstance(outcome, Again) and outcome.at_most is None:
                return outcome
            return outcome if isinstance(outcome, Halt) else Halt(f"{model} cannot be searched: {_words(reply)}")
        told = reply.json() if isinstance(reply, Answer) else None
        return told if isinstance(told, list) else Again("the answer is no list of records")

    def _fault(self, reply: Reply) -> Generator[Call, Reply, Again | Halt | Rejected]:
        """What an answer means that is no success, if it is not that the record has changed.

        A 500 is what was asked for, if the server answers when asked for the columns; a column may be gone by now.
        """
        if isinstance(reply, Answer) and reply.status == 500:
            problem = yield from self._columns()
            return problem or Again(f"500: {_words(reply)}", at_most=_FAULTY)
        if isinstance(reply, Answer) and reply.status == 400:
            return Rejected("400", _words(reply))
        return _plain(reply)


def _plain(reply: Reply) -> Problem:
    """What an answer that is no success means, whatever was asked for."""
    if isinstance(reply, Answer) and reply.status == 404:
        return Halt("404: is the base URL right, and the name of the database?")
    outcome = classify(reply)
    return outcome if isinstance(outcome, Again | Halt) else Halt(f"{getattr(reply, 'status', '')}: {_words(reply)}")


def _done(reply: Reply) -> bool:
    return isinstance(reply, Answer) and 200 <= reply.status < 300


def _stops(outcome: Outcome) -> bool:
    """It is no use to try the next row."""
    return isinstance(outcome, Halt) or (isinstance(outcome, Again) and outcome.at_most is None)


def _encoded(value: Any) -> str:
    return urlsafe_b64encode(orjson.dumps(value)).decode()


def _mark(key: str) -> str:
    """By which a note is found again: its last line."""
    return f"[evt {key}]"


def _words(reply: Reply) -> str:
    """Of `{"status", "message", "description"}`, or of a page."""
    told = reply.json() if isinstance(reply, Answer) else None
    if isinstance(told, dict):
        return " ".join(str(told[name]) for name in ("message", "description") if told.get(name))[:2000]
    text = reply.text() if isinstance(reply, Answer) else ""
    return unescape(" ".join(re.sub(r"<[^>]*>", " ", text).split()))[:2000]
