"""The proof that points are right, from the topics alone: pure judging of records, no reading, no clock.

`outcomes` proves that every record was answered once, `history` that every balance is the sum of its postings; `Proof` puts
both behind one `feed`. Law: the proof shares no code with what it judges, only the contract.
"""

from streams.proof.figures import Figures, Law, Violation
from streams.proof.proof import DOORS, Proof

__all__ = ["DOORS", "Figures", "Law", "Proof", "Violation"]
