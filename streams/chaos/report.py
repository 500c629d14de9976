"""What a run came to, for people: the faults, the tills, the verdict."""

from collections import Counter
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from streams.chaos.faults import Struck
from streams.chaos.judge import Verdict, examples
from streams.chaos.schedule import Kind
from streams.chaos.sending import Answers
from streams.rebuild import StateHash
from streams.verify import Findings


@dataclass(frozen=True, kw_only=True)
class Report:
    """One run, judged. Times in seconds."""

    seed: int
    minutes: float
    workers: int
    sent: int
    resent: int
    mishaps: Counter[Kind]
    struck: list[Struck]
    exits: Counter[int]
    answers: Answers
    catch_up: float
    """From the last fault healed and the last record sent to the last answer."""
    all_answered: bool
    verdict: Verdict
    findings: Findings
    stored: StateHash
    rebuilt: StateHash

    @property
    def ok(self) -> bool:
        """Nothing lost, nothing doubled, every account right, and proven."""
        return self.all_answered and self.verdict.ok and self.findings.ok and self.stored == self.rebuilt

    @property
    def injected(self) -> Counter[Kind]:
        """How often each kind of fault struck."""
        return Counter(one.fault.kind for one in self.struck) + self.mishaps

    def render(self) -> RenderableType:
        """For a terminal."""
        return Group(self._faults(), self._figures(), self.findings.render(), *self._wrong(), self._last_line())

    def _faults(self) -> Table:
        table = Table("fault", "times", "worst silence", title=f"Faults of seed {self.seed}, {self.minutes:g} min")
        for kind, times in sorted(self.injected.items()):
            spans = [(one.began, one.healed) for one in self.struck if one.fault.kind is kind]
            worst = max((self.answers.worst_silence(*span) for span in spans), default=None)
            table.add_row(kind, f"{times:,}", "" if worst is None else f"{worst:.1f} s")
        return table

    def _figures(self) -> Table:
        table = Table("what", "figure", title="The run")
        table.columns[1].justify = "right"
        exits = ", ".join(f"{times} x {code}" for code, times in sorted(self.exits.items())) or "none"
        for what, figure in {
            "workers": f"{self.workers}",
            "records sent": f"{self.sent:,}",
            "records at the doors": f"{self.verdict.records:,}",
            "of them repeats": f"{self.verdict.repeats:,}",
            "sent again for want of an acknowledgement": f"{self.resent:,}",
            "lost": f"{len(self.verdict.lost):,}",
            "doubled": f"{len(self.verdict.doubled):,}",
            "accounts compared": f"{self.verdict.accounts:,}",
            "accounts that differ": f"{len(self.verdict.differing):,}",
            "points asked of budgets over all members": f"{self.verdict.asked:,}",
            "of them granted": f"{self.verdict.granted:,}",
            "worst reply gap (nobody answered)": f"{self.answers.worst_silence():.1f} s",
            "longest wait for a reply": f"{self.answers.worst_wait:.1f} s",
            "catch-up after the last fault": f"{self.catch_up:.1f} s",
            "workers that ended, by code": exits,
        }.items():
            table.add_row(what, figure)
        return table

    def _wrong(self) -> list[Text]:
        lines = [f"lost: {text}" for text in examples(self.verdict.lost)]
        lines += [f"doubled: {text}" for text in examples(self.verdict.doubled)]
        lines += [f"differs: {text}" for text in examples(self.verdict.differing)]
        if not self.all_answered:
            lines.append(f"{len(self.answers.waiting):,} records without an answer, such as {examples(self.answers.waiting)}")
        if self.stored != self.rebuilt:
            lines.append(f"the accounts stored ({self.stored}) are not those of the log ({self.rebuilt})")
        return [Text(line, style="red") for line in lines]

    def _last_line(self) -> Text:
        faults = sum(1 for _ in self.struck)
        said = f"{faults} faults, {self.sent:,} sent, lost {len(self.verdict.lost)}, doubled {len(self.verdict.doubled)}, "
        said += f"{len(self.verdict.differing)} of {self.verdict.accounts:,} accounts differ (seed {self.seed})"
        return Text(said, style="bold green" if self.ok else "bold red")
