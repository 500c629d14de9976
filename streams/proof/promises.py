"""Proves that what a reply says of points is told by an event: the one loss that a gap in the numbers cannot show is the last.

A promise is kept by any event of the same account and cause; per open promise it keeps a digest and where the reply lies.
"""

from collections.abc import Iterator
from hashlib import blake2b
from sys import intern

import msgspec
from pydantic import BaseModel

from schemas.replies import Reply
from streams.log import Record
from streams.proof.figures import Law, Violation


def digest(*parts: bytes) -> int:
    """64 bits of the parts: equal for equal ones, and for others once in 10^19."""
    return int.from_bytes(blake2b(b"\0".join(parts), digest_size=8).digest())


def meaning(model: BaseModel, *apart: str) -> int:
    """Of what a record says, but for the fields that only a newer version knows: two versions of the code may print one fact."""
    return digest(model.model_dump_json(exclude=set(apart)).encode())


def cause_of(account: str, command_id: str) -> int:
    """A command within its account."""
    return digest(account.encode(), command_id.encode())


class CommandHead(msgspec.Struct):
    """What the proof needs of a command."""

    id: str
    type: str
    account: str
    origin: str = ""
    claim_id: str = ""
    """The second half of a claim answers under the claim's id, while its events name the receipt."""
    member: str = ""
    check_id: str = ""
    rule: str = ""
    budget: str = ""
    points: int = 0
    cap: int = 0
    """These are of what accounts say to each other about budgets."""


class Promises:
    """Fed with first answers, then with commands, then with events."""

    def __init__(self) -> None:
        self._open: dict[int, tuple[str, int, int]] = {}
        self._topic = ""

    def reply(self, reply: Reply, record: Record) -> None:
        """A reply that was given for the first time."""
        if reply.status == "accepted" and reply.member and (reply.earned or reply.burned):
            self._topic = record.topic
            self._open[cause_of(reply.member, reply.id)] = (intern(reply.member), record.partition, record.offset)

    def command(self, head: CommandHead) -> None:
        """Whose reply has another id than its events' cause."""
        if head.claim_id and (promised := self._open.pop(cause_of(head.account, head.claim_id), None)):
            self._open[cause_of(head.account, head.id)] = promised

    def told(self, account: str, cause: str) -> None:
        """An event is there."""
        self._open.pop(cause_of(account, cause), None)

    def missing(self) -> Iterator[tuple[str, Violation]]:
        """Promises without an event, each with a name."""
        for member, partition, offset in self._open.values():
            where = f"{self._topic}/{partition}/{offset}"
            what = "a reply says points were earned or used, and no event of its command does"
            yield where, Violation(Law.UNTOLD, what, (where,), member)
