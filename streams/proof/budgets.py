"""Proves that no cap over all members was passed, and that each budget that was asked has answered.

What counts is each command's first occurrence: the same grant again grants nothing. It keeps digests and sums.
"""

from collections import Counter
from collections.abc import Iterator

from streams.proof.figures import Law, Violation
from streams.proof.promises import CommandHead, cause_of, digest


class Budgets:
    """Fed with commands. Partitions come one after the other, so a grant may come before what asked for it."""

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self._asked: dict[int, tuple[str, str]] = {}
        """Without an answer: the budget, and who asked."""
        self._answered: set[int] = set()
        self._granted: Counter[str] = Counter()
        self._caps: dict[str, int] = {}
        """The largest that any version of the program gave it."""

    def command(self, head: CommandHead) -> None:
        """Any command."""
        if head.type not in ("ask_budget", "grant", "return_budget"):
            return
        name = cause_of(head.account, f"{head.type} {head.id}")
        if name in self._seen:
            return
        self._seen.add(name)
        if head.type == "ask_budget":
            request = _request(head.account, head.member, head.check_id)
            if request not in self._answered:
                self._asked[request] = (head.account, head.member)
        elif head.type == "grant":
            request = _request(head.budget, head.account, head.check_id)
            self._answered.add(request)
            self._asked.pop(request, None)
            self._granted[head.budget] += head.points
            self._caps[head.budget] = max(head.cap, self._caps.get(head.budget, 0))
        else:
            self._granted[head.account] -= head.points

    def unsettled(self) -> Iterator[tuple[str, Violation]]:
        """What breaks a law unless more comes, each with a name."""
        for request, (budget, member) in self._asked.items():
            what = f"{budget} was asked and has not answered"
            yield f"asked {request}", Violation(Law.UNGRANTED, what, member=member)
        for budget, granted in self._granted.items():
            if granted > self._caps.get(budget, 0):
                what = f"{granted} points are granted of {self._caps.get(budget, 0)}"
                yield f"overrun {budget}", Violation(Law.OVERRUN, what, member=budget)


def _request(budget: str, member: str, check_id: str) -> int:
    return digest(budget.encode(), member.encode(), check_id.encode())
