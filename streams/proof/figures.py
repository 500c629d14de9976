"""What a proof says: the laws, a violation of one, and the figures of what was judged."""

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

from rich.table import Table

from schemas.standing import Balance

BALANCE_FIGURES = tuple(Balance.model_fields)


class Law(StrEnum):
    """What can be broken. The value is stable: scripts and alerts may look for it."""

    LOST = "lost"  # a record at a door without any outcome
    TWO_OUTCOMES = "two_outcomes"  # a record that was both accepted and put aside
    TWO_ANSWERS = "two_answers"  # one record, or one id, answered with different bytes
    ORPHAN = "orphan"  # an answer to a record that is not there
    UNANSWERED = "unanswered"  # a command of a till that went into the ledger and brought no reply
    UNTOLD = "untold"  # a reply that says points moved, and no event that does
    UNREADABLE = "unreadable"  # a record of ours that breaks the contract
    WRONG_KEY = "wrong_key"  # a record that lies under another key than its value says
    TWO_BODIES = "two_bodies"  # two different events under one id
    TWO_MEMBERS = "two_members"  # one check that earned for two members
    SEQUENCE = "sequence"  # events of an account with a gap, out of order, or two under one number
    CAUSE = "cause"  # an event without its command
    BALANCE = "balance"  # a balance that is not the sum of its postings
    CONSERVATION = "conservation"  # points that came from nowhere or went nowhere
    NEGATIVE = "negative"  # a book or a lot below zero
    PROFILE = "profile"  # a profile that says something else than the balance
    OVERRUN = "overrun"  # a cap over all members that more was granted of than it holds
    UNGRANTED = "ungranted"  # a budget that was asked and did not answer
    TRIMMED = "trimmed"  # the log of record does not begin at its beginning: nothing can be proven


@dataclass(frozen=True, slots=True)
class Violation:
    """One law broken: what, by whom, and where to look."""

    law: Law
    what: str
    """A sentence without personal data."""
    where: tuple[str, ...] = ()
    """Records concerned, each as topic/partition/offset."""
    member: str | None = None
    """The account; None for a record that reached none."""

    def __str__(self) -> str:
        member = f" member {self.member}:" if self.member else ""
        where = f" [{', '.join(self.where)}]" if self.where else ""
        return f"{self.law}:{member} {self.what}{where}"


@dataclass(slots=True)
class Figures:
    """What was judged. Counts, and sums in points."""

    records: Counter[str] = field(default_factory=Counter)
    """Records read, by topic."""
    outcomes: Counter[str] = field(default_factory=Counter)
    """Records at the doors by outcome: applied, repeated, refused, parked, dead letter."""
    codes: Counter[str] = field(default_factory=Counter)
    """Refused, parked and dead-lettered records by code."""
    replies_again: int = 0
    """Replies that were written before, byte for byte."""
    events_again: int = 0
    """Events that were written before, byte for byte."""
    unjudged: int = 0
    """Records so old that their reply is gone by retention."""
    members: int = 0
    receipts: int = 0
    """Accounts of checks without a member."""
    points: Counter[str] = field(default_factory=Counter)
    """Sums over all members, by figure of the balance."""

    def table(self) -> Table:
        """For a terminal."""
        table = Table("what", "figure", title="What was proven", show_lines=False)
        table.columns[1].justify = "right"
        for topic, count in self.records.items():
            table.add_row(f"records of {topic}", f"{count:,}")
        table.add_section()
        self._add(table, "", {name: self.outcomes[name] for name in OUTCOMES} | {"reply gone by retention": self.unjudged})
        self._add(table, "with code ", {code: count for code, count in sorted(self.codes.items()) if count})
        self._add(table, "written again, byte for byte: ", {"replies": self.replies_again, "events": self.events_again})
        self._add(table, "", {"members": self.members, "receipts without a member": self.receipts})
        self._add(table, "points ", {name: self.points[name] for name in BALANCE_FIGURES})
        return table

    @staticmethod
    def _add(table: Table, prefix: str, figures: dict[str, int]) -> None:
        for name, count in figures.items():
            table.add_row(prefix + name, f"{count:,}")
        table.add_section()


OUTCOMES = ("applied", "repeated", "refused", "parked", "dead letter")
