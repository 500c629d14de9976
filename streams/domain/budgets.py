"""Budgets over all members (B10, D04): a rule's points for everybody together, granted one by one on an account of their own.

A grant is a saga as a claim is: the sale asks, the budget grants what is left, the member's account books it. One writer, so what
is granted and did not come back never passes the cap. A budget sees every check of its rule: it keeps 12 bytes of each request.
"""

import struct
from collections.abc import Iterator, Sequence
from datetime import date
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec

from schemas.codes import Code
from schemas.records import AnyCommand, AskBudget, Grant, ReturnBudget
from streams.domain.account import BUDGET_PREFIX, REMEMBER, Account, Applied, Award
from streams.domain.calendar import DAY, midnight, month_end
from streams.domain.lots import NEVER
from streams.domain.outcome import Outcome, Word
from streams.domain.plan import Plan
from streams.domain.pots import Asked, Budget, Hold, Page
from streams.domain.turn import Turn

ENTRY = struct.Struct(">8sI")  # a digest of who asked for what, and the answer
ENTRIES = 1024  # of a page
PAGES = 20
ASKED_MAX = 1000  # of sales that are forgotten
GRANT_MAX = 2**32 - 1
STUB_DAYS = 400  # how long a closed budget is still known, so that no straggler of a replay opens it again

replace = msgspec.structs.replace


class Answer(NamedTuple):
    """What became of a request."""

    budget: Budget
    granted: int
    """Of a return always 0; below zero: too late."""
    repeated: bool = False


# ---------------------------------------------------------------- the sale asks


def key_of(program: str, rule: str, per: str, day: int) -> str:
    """The account of the budget for purchases of that day. `per`: day, month or campaign."""
    on = date.fromordinal(day).isoformat()
    period = {"day": on, "month": on[:7], "campaign": "campaign"}[per]
    return f"{BUDGET_PREFIX}{program}/{rule}/{period}"


def ask(turn: Turn, check_id: str, at: int, day: int, awards: Sequence[Award], *, held: bool) -> None:
    """Ask for what the rules would give, and remember that it was asked for: no budget is charged yet."""
    account, plan = turn.account, turn.plan
    hold: Hold = "held" if held else ""
    for award in awards:
        key = key_of(plan.program.program, award.rule, plan.budgets[award.rule].per, day)
        aside = award.rule in plan.unusual
        account.asked = (*account.asked, Asked(check_id, award.rule, key, day, at, award.shares, hold=hold, aside=aside))
        turn.words.append(Word("ask", key, check_id, check_id, award.rule, day, award.points))


def remembered(asked: tuple[Asked, ...], applied: Sequence[Applied], kept_from: int) -> tuple[Asked, ...]:
    """What was asked for sales that are known, whole; of others, until `kept_from`, that it was asked: the answer may come again.

    At most `ASKED_MAX` of these, the latest ones: an account stays small whatever its member buys in a day.
    """
    if not asked:
        return asked
    sales = {known.id for known in applied if known.kind == "sale"}
    others = [known for known in asked if known.sale not in sales]
    kept = {id(known) for known in others[-ASKED_MAX:] if known.at > kept_from}
    return tuple(
        known if known.sale in sales else replace(known, shares=()) for known in asked if known.sale in sales or id(known) in kept
    )


def give_back(turn: Turn, asked: Asked | Grant, points: int, cause: str) -> None:
    """What was granted for a sale, or some of it, is the budget's again. `cause`: the command that says so."""
    sale = asked.sale if isinstance(asked, Asked) else asked.check_id
    if points:
        turn.words.append(Word("back", asked.budget, cause, sale, asked.rule, 0, points))


# ---------------------------------------------------------------- the commands


def commands(command: AnyCommand, outcome: Outcome, plan: Plan) -> Iterator[AnyCommand]:
    """What a command says to other accounts about budgets. Ids derive from it, so a repeat says the same."""
    for word in outcome.words:
        yield _to_budget(word, command, outcome.program)
    if outcome.granted is not None and isinstance(command, AskBudget):
        yield Grant(
            type="grant",
            id=f"{command.check_id}~{command.rule}",  # no id of a check has a ~
            account=command.member,
            program=outcome.program,
            check_id=command.check_id,
            rule=command.rule,
            budget=command.account,
            wanted=command.points,
            points=max(0, outcome.granted),
            cap=plan.budgets[command.rule].points,
            late=outcome.granted < 0,
        )


def _to_budget(word: Word, command: AnyCommand, program: str) -> AskBudget | ReturnBudget:
    """`program`: the version by which it was decided, also when a repeat names a later one."""
    envelope: dict[str, Any] = {
        "id": f"{command.account}~{word.cause}",
        "account": word.budget,
        "program": program,
        "member": command.account,
        "check_id": word.sale,
        "rule": word.rule,
        "points": word.points,
    }
    if word.kind == "ask":
        return AskBudget(type="ask_budget", on=date.fromordinal(word.day), **envelope)
    return ReturnBudget(type="return_budget", **envelope)


# ---------------------------------------------------------------- the account of the budget


def answer(account: Account, command: AskBudget | ReturnBudget, plan: Plan, sent: int, now: int) -> Answer:
    """Grant what is left, or take back; a request that came before gets the answer it had. `sent`: its Kafka time."""
    known = _opened(account, command, plan)
    who = _digest(command)
    before = _found(known, who)
    if before is not None:
        return Answer(known, before, repeated=True)
    if sent <= known.floor or 0 < known.ends <= now - REMEMBER:
        return Answer(known, -1, repeated=True)  # it changes nothing, whenever it is said
    if isinstance(command, ReturnBudget):
        return Answer(_noted(known, who, 0, -min(command.points, known.granted), sent), 0)
    left = max(0, plan.budgets[command.rule].points - known.granted)
    granted = min(command.points, left, GRANT_MAX)
    return Answer(_noted(known, who, granted, granted, sent), granted)


def _opened(account: Account, command: AskBudget | ReturnBudget, plan: Plan) -> Budget:
    """The budget as it is; a new one, and one whose campaign goes on under a later version, ends as the asking version says."""
    known = account.budget
    if isinstance(command, ReturnBudget):
        return known or Budget(1)  # nothing was granted of it, or long ago
    ends = _ends(command, plan)
    if known is None:
        return Budget(ends)
    return replace(known, ends=0 if 0 in (ends, known.ends) else max(ends, known.ends)) if known.ends != ends else known


def answered(account: Account, command: AskBudget | ReturnBudget, plan: Plan, sent: int) -> tuple[Account, Outcome, bool]:
    """The account afterwards, the outcome, and whether that was its outcome before. The events are the member's account's."""
    now = max(sent, account.now)
    said = answer(account, command, plan, sent, now)
    outcome = Outcome(sent, command.program, 0, "accepted", Code.OK, granted=said.granted)
    if said.repeated:
        return account, outcome, True
    after = account.draft()
    after.status, after.program, after.now, after.budget = "budget", plan.program.program, now, said.budget
    due = due_of(said.budget)
    after.next_due = 0 if due == NEVER else due
    return after, outcome, False


def due_of(budget: Budget) -> int:
    """When the clock should look: to close it when no sale of its period can come any more, and much later. Or `NEVER`."""
    if not budget.ends:
        return NEVER
    closes = budget.ends + REMEMBER
    return closes if budget.floor < closes else budget.ends + STUB_DAYS * DAY


def close(turn: Turn, at: int) -> None:
    """Forget its answers; what it granted is kept, so that it stays spent. Later on, forget it altogether."""
    account = turn.account
    if account.budget is not None and at == account.budget.ends + REMEMBER:
        account.budget = replace(account.budget, pages=(), floor=at)
    else:
        turn.account = Account(key=account.key, now=account.now)


def _ends(command: AskBudget, plan: Plan) -> int:
    rule = plan.budgets[command.rule]
    match rule.per:
        case "day":
            last = command.on.toordinal()
        case "month":
            last = month_end(command.on.toordinal(), 0)
        case _:
            return rule.ends
    return midnight(plan.zone, last + 1)


def _digest(command: AskBudget | ReturnBudget) -> bytes:
    """Twenty thousand of them are alike once in 10^11."""
    return blake2b(f"{command.type} {command.id} {command.rule}".encode(), digest_size=8).digest()


def _found(budget: Budget, who: bytes) -> int | None:
    """The answer that was given."""
    for page in reversed(budget.pages):
        at = page.answers.find(who)
        while at >= 0 and at % ENTRY.size:
            at = page.answers.find(who, at + 1)
        if at >= 0:
            return int(ENTRY.unpack_from(page.answers, at)[1])
    return None


def _noted(budget: Budget, who: bytes, said: int, charged: int, sent: int) -> Budget:
    """The budget with one more answer, and what that charges. The oldest are forgotten, a page at a time."""
    entry = ENTRY.pack(who, said)
    pages = budget.pages
    if pages and len(pages[-1].answers) < ENTRIES * ENTRY.size:
        last = pages[-1]
        pages = (*pages[:-1], Page(max(last.last, sent), last.answers + entry))
    else:
        pages = (*pages, Page(sent, entry))
    floor = budget.floor
    if len(pages) > PAGES:
        floor, pages = max(floor, pages[0].last), pages[1:]
    return Budget(budget.ends, budget.granted + charged, pages, floor)
