"""The judge: a naive ledger that says where every point must be, written a second time and sharing nothing with the first."""

from streams.chaos.oracle.budget import NaiveBudget
from streams.chaos.oracle.ledger import DAY, NaiveLedger, NaiveMember, Record
from streams.chaos.oracle.parts import Figures
from streams.chaos.oracle.rules import BONUS, Rules, as_program, record_id, seconds

__all__ = [
    "BONUS",
    "DAY",
    "Figures",
    "NaiveBudget",
    "NaiveLedger",
    "NaiveMember",
    "Record",
    "Rules",
    "as_program",
    "record_id",
    "seconds",
]
