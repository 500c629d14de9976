"""Proves that every record at a door has exactly one outcome: one reply (however often it was written), or a dead letter.

Per record it keeps a state, a digest, a time and whether it went aside (18 bytes), never a body; per reply id a digest.
"""

from array import array
from collections.abc import Iterator
from typing import NamedTuple

import msgspec
from pydantic import ValidationError

from schemas.codes import Code
from schemas.dead_letters import DeadLetter
from schemas.replies import Reply
from streams.log import Origin, Record, came_from
from streams.proof.figures import Figures, Law, Violation
from streams.proof.promises import CommandHead, Promises, digest, meaning

# What a record at a door may have got. An answer is what the header says and what the body says; these go together.
_ANSWERS = (
    ("applied", "accepted"),
    ("repeated", "accepted"),
    ("refused", "refused"),
    ("repeated", "refused"),
    ("parked", "parked"),
    ("repeated", "parked"),
)
_ABSENT, _WAITING, _ANSWERED, _DEAD = 0, 1, 2, 32  # states: _ANSWERED + index of the answer, _DEAD + index of the code
_CODES = tuple(Code)
_DEMANDING = frozenset({"sale", "return", "void", "redeem"})


_command_head = msgspec.json.Decoder(CommandHead)


class _Door:
    """One partition of a door, from its first offset there is up to the end that was fixed."""

    def __init__(self, start: int, end: int) -> None:
        size = max(0, end - start)
        self.start = start
        self.states = bytearray(size)
        self.digests = array("Q", bytes(8 * size))
        self.times = array("q", bytes(8 * size))
        self.aside = bytearray(size)
        """1: it went by the backlog lane, which keeps the order of the door."""

    def waiting(self) -> set[int]:
        """Without an outcome because their turn in the lane has not come: nothing behind them has one."""
        gone = [at for at, aside in enumerate(self.aside) if aside] if 1 in self.aside else []
        turn = max((at for at in gone if self.states[at] >= _ANSWERED), default=-1)
        return {at for at in gone if at > turn and self.states[at] == _WAITING}


class Demand(NamedTuple):
    """A till's command that must bring a reply."""

    origin: Origin | None
    account: str
    where: str
    timestamp_ms: int


class Outcomes:
    """Fed with the doors first, then with replies, dead letters and commands. Each feed answers with a violation or None."""

    def __init__(self, figures: Figures, promises: Promises, answers_since_ms: int = 0) -> None:
        self.answers_since_ms = answers_since_ms
        """Records before this time may have lost their reply to retention."""
        self._figures = figures
        self._promises = promises
        self._doors: dict[tuple[str, int], _Door] = {}
        self._elsewhere: dict[Origin, int] = {}  # answers to records before a door's start or after its end
        self._by_id: dict[int, int] = {}
        self._unanswered: list[Demand] = []

    def open(self, topic: str, partition: int, start: int, end: int) -> None:
        """Declare one partition of a door, whose records from `start` up to and without `end` are judged."""
        self._doors[topic, partition] = _Door(start, end)

    def record(self, record: Record) -> None:
        """A record lies at a door."""
        door = self._doors[record.topic, record.partition]
        index = record.offset - door.start
        door.states[index] = _WAITING
        door.times[index] = record.timestamp_ms

    def put_aside(self, record: Record) -> None:
        """A record lies in the backlog lane."""
        at_door = came_from(record.headers)
        door, index = self._find(at_door) if at_door is not None else (None, 0)
        if door is not None and 0 <= index < len(door.aside):
            door.aside[index] = 1

    def waiting(self) -> int:
        """How many records wait in the backlog lane for their turn."""
        return sum(len(door.waiting()) for door in self._doors.values())

    def reply(self, record: Record) -> Violation | None:
        """An answer: to a record that is there, saying what it said before, and the only one under its id."""
        origin = Origin.parse(record.header("origin"))
        try:
            reply = Reply.model_validate_json(record.value or b"", extra="ignore")
            answer = _ANSWERS.index((record.header("outcome") or "", reply.status))
        except ValidationError as failure:
            return _unreadable(record, _why(failure))
        except ValueError:
            return _unreadable(record, f"outcome {record.header('outcome')!r} does not go with status {reply.status!r}")
        if origin is None:
            return _unreadable(record, "no origin header names the record that is answered")
        body = meaning(reply)
        return self._answer(record, origin, reply, answer, body) or self._same_for_id(record, origin, reply, body)

    def _answer(self, record: Record, origin: Origin, reply: Reply, answer: int, body: int) -> Violation | None:
        door, index = self._find(origin)
        where = (str(origin), record.origin)
        if door is None:
            return Violation(Law.ORPHAN, "a reply to a record that no till sent", where, reply.member)
        if not 0 <= index < len(door.states):
            before = self._elsewhere.setdefault(origin, body)
            self._figures.replies_again += before == body
            return None if before == body else _two_answers(where, reply)
        state = door.states[index]
        if state == _ABSENT:
            return Violation(Law.ORPHAN, "a reply to a record that is not there", where, reply.member)
        if state >= _DEAD and reply.status == "accepted":
            return Violation(Law.TWO_OUTCOMES, "accepted, and kept as a dead letter", where, reply.member)
        if _ANSWERED <= state < _DEAD:
            self._figures.replies_again += door.digests[index] == body
            return None if door.digests[index] == body else _two_answers(where, reply)
        self._promises.reply(reply, record)
        door.states[index] = _ANSWERED + answer
        door.digests[index] = body
        self._count(_ANSWERS[answer][0], reply.code)
        if state >= _DEAD:  # counted before, but the reply's outcome is the one that counts
            self._count("dead letter", _CODES[state - _DEAD], -1)
        return None

    def _same_for_id(self, record: Record, origin: Origin, reply: Reply, body: int) -> Violation | None:
        """Resent by the till, a check gets the same bytes. A refusal or an id beyond memory is not an answer to the first.

        A check may be anonymous first, and a member's when it is resent after its card was registered; never two members'.
        """
        if reply.status == "refused" or reply.code == Code.BEYOND_HORIZON:
            return None
        whose = b"anonymous" if reply.member is None else b"member"
        if self._by_id.setdefault(digest(origin.topic.encode(), reply.id.encode(), whose), body) == body:
            return None
        what = f"{reply.id} was answered before with other bytes"
        return Violation(Law.TWO_ANSWERS, what, (str(origin), record.origin), reply.member)

    def dead_letter(self, record: Record) -> Violation | None:
        """Put aside: never what was accepted, and always for one reason."""
        try:
            letter = DeadLetter.from_headers(record.headers)
        except (ValidationError, UnicodeDecodeError) as failure:
            return _unreadable(record, _why(failure))
        origin = Origin.parse(letter.origin)
        door, index = self._find(origin) if origin else (None, 0)
        if door is None or not 0 <= index < len(door.states):
            return None  # a sink's, or of a record that is not judged
        where, state = (letter.origin, record.origin), door.states[index]
        if state == _ABSENT:
            return Violation(Law.ORPHAN, "a dead letter of a record that is not there", where)
        if state >= _DEAD and _CODES[state - _DEAD] != letter.code:
            return Violation(Law.TWO_OUTCOMES, f"kept as {_CODES[state - _DEAD]} and as {letter.code}", where)
        if _ANSWERED <= state < _DEAD and _ANSWERS[state - _ANSWERED][1] == "accepted":
            return Violation(Law.TWO_OUTCOMES, f"accepted, and kept as a dead letter ({letter.code})", where)
        if state == _WAITING:
            door.states[index] = _DEAD + _CODES.index(letter.code)
            self._count("dead letter", letter.code)
        return None

    def command(self, head: CommandHead, record: Record) -> None:
        """A command in the ledger's log: a till's must bring a reply."""
        if head.type in _DEMANDING:
            demand = Demand(Origin.parse(head.origin), head.account, record.origin, record.timestamp_ms)
            if not self._is_answered(demand.origin):
                self._unanswered.append(demand)

    def missing(self) -> Iterator[Violation]:
        """Every record and command that is still without an outcome."""
        for (topic, partition), door in self._doors.items():
            index, waiting = door.states.find(_WAITING), door.waiting()
            while index >= 0:
                if door.times[index] >= self.answers_since_ms and index not in waiting:
                    origin = f"{topic}/{partition}/{index + door.start}"
                    yield Violation(Law.LOST, "a record without a reply and without a dead letter", (origin,))
                index = door.states.find(_WAITING, index + 1)
        self._unanswered = [demand for demand in self._unanswered if not self._is_answered(demand.origin)]
        for demand in self._unanswered:
            if demand.timestamp_ms >= self.answers_since_ms:
                where = (demand.where, str(demand.origin)) if demand.origin else (demand.where,)
                yield Violation(Law.UNANSWERED, "a command without a reply", where, demand.account)

    def count_unjudged(self) -> None:
        """Note how many records are too old to have kept their reply."""
        waiting = (
            time
            for door in self._doors.values()
            for state, time in zip(door.states, door.times, strict=True)
            if state == _WAITING
        )
        self._figures.unjudged = sum(time < self.answers_since_ms for time in waiting)

    def _find(self, origin: Origin) -> tuple[_Door | None, int]:
        door = self._doors.get((origin.topic, origin.partition))
        return door, origin.offset - door.start if door else 0

    def _is_answered(self, origin: Origin | None) -> bool:
        door, index = self._find(origin) if origin else (None, 0)
        if door is None or origin is None:
            return False
        if not 0 <= index < len(door.states):
            return origin in self._elsewhere
        return _ANSWERED <= door.states[index] < _DEAD

    def _count(self, outcome: str, code: Code, by: int = 1) -> None:
        self._figures.outcomes[outcome] += by
        if outcome not in ("applied", "repeated"):
            self._figures.codes[code] += by


def read_command(record: Record) -> CommandHead | Violation:
    """The head of a command, whose key must name its account."""
    try:
        head = _command_head.decode(record.value or b"")
    except (msgspec.DecodeError, UnicodeDecodeError) as failure:
        return _unreadable(record, str(failure))
    if record.key != head.account.encode():
        return Violation(Law.WRONG_KEY, "a command under the key of another account", (record.origin,), head.account)
    return head


def _two_answers(where: tuple[str, ...], reply: Reply) -> Violation:
    return Violation(Law.TWO_ANSWERS, f"{reply.id} was answered before with other bytes", where, reply.member)


def _unreadable(record: Record, why: str) -> Violation:
    return Violation(Law.UNREADABLE, why, (record.origin,))


def _why(failure: ValidationError | UnicodeDecodeError) -> str:
    """Where the contract is broken, without what was found there."""
    if isinstance(failure, UnicodeDecodeError):
        return "a header is not UTF-8"
    first = failure.errors(include_url=False, include_input=False, include_context=False)[0]
    return f"{'.'.join(map(str, first['loc'])) or '(root)'}: {first['msg']}"
