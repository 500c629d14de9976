"""Points for a sale: what was really paid, the rules over it, caps, and one rounding (A04, A09, B10, D02, D03).

Every share is an exact integer over one denominator, kept per rule and line, so each point is traceable to both. Adding up and
rounding happen once per check; the whole is shared out by largest remainder, to the rules first, so that none passes its cap.
"""

from typing import NamedTuple, assert_never

from schemas.earning import AnyRule, Threshold
from schemas.records import Sale
from streams.domain.account import Award, Cut, Joined, RuleUse, SoldLine
from streams.domain.calendar import month_end, period_start
from streams.domain.plan import Circumstances, CompiledRule, Goods, Plan
from streams.domain.rounding import apportion, rounded, whole_shares

BASE = "base"
MILLION = 1_000_000


class Context:
    """What the account contributes to the earning of one sale.

    `joined`: (purchase time, what it brought) of the other receipts of this member at this till. `room`: what caps over
    everything leave, and by which cap; None: no cap.
    """

    __slots__ = ("about", "at", "day", "first_visit_of_day", "joined", "room", "room_by", "rule_uses")

    def __init__(
        self,
        about: Circumstances,
        at: int,
        joined: list[tuple[int, Joined]],
        rule_uses: tuple[RuleUse, ...],
        room: tuple[int | None, str],
        day: int,
        *,
        first_visit_of_day: bool,
    ) -> None:
        self.about = about
        self.at = at
        self.joined = joined
        self.rule_uses = rule_uses
        self.room, self.room_by = room
        self.day = day
        self.first_visit_of_day = first_visit_of_day

    def used(self, rule: str, per: str) -> int:
        """Points that the rule gave already in the period of this sale."""
        if per == "check":
            return 0
        first, last = (period_start(self.day, "month"), month_end(self.day, 0)) if per == "month" else (self.day, self.day)
        return sum([use.points for use in self.rule_uses if use.rule == rule and first <= use.day <= last])


class Share:
    """What one rule gives: a numerator over one denominator, and the weights by which lines share it."""

    __slots__ = ("rule", "total", "weights")

    def __init__(self, rule: str, weights: list[int], total: int) -> None:
        self.rule = rule
        self.weights = weights
        self.total = total


class Accrual(NamedTuple):
    points: int
    awards: tuple[Award, ...]
    cuts: tuple[Cut, ...]
    joined: tuple[Joined, ...]
    elsewhere: tuple[tuple[str, tuple[Award, ...]], ...] = ()
    """By wallet beside the main one, what it gets."""
    asked: tuple[Award, ...] = ()
    """What is to be asked of budgets over all members: not among the points."""


def sold_lines(sale: Sale, goods: list[Goods], plan: Plan) -> tuple[SoldLine, ...]:
    """Each line with what was paid for it and how much of that may earn.

    Tenders that never earn (points above all) are taken off every line in proportion to what was paid for it.
    """
    nets = [line.amount_minor - line.discount_minor for line in sale.lines]
    unearning = sum([tender.amount_minor for tender in sale.tenders if tender.type in plan.excluded_tenders])
    bases = nets
    if unearning:
        shares = apportion(nets, unearning)
        bases = [net - shares[index] for index, net in enumerate(nets)]
    return tuple(
        [
            SoldLine(line.line, line.quantity, nets[index], 0 if goods[index].excluded else bases[index])
            for index, line in enumerate(sale.lines)
        ]
    )


def award(sale: Sale, goods: list[Goods], lines: tuple[SoldLine, ...], plan: Plan, context: Context) -> Accrual:
    """The points of a sale, per line and rule, with what was cut and why. `goods` is what the plan makes of each line."""
    rate: int = plan.rate.points
    unit: int = plan.rate.per_minor * 100  # one point; 100 because multipliers are percentages
    bases = [line.base for line in lines]
    base = Share(BASE, bases, sum(bases) * rate * 100)
    named = _bases_by_rule(goods, bases)
    found: list[tuple[CompiledRule, Share]] = []
    joined: list[Joined] = []
    for compiled in plan.rules if base.total else ():
        paid = named.get(compiled.id) if compiled.filters_lines else bases
        if paid is None:
            continue  # no line that it asks for: said here, where it costs least
        if compiled.in_force(context.at) and compiled.applies(sale, context.about):
            rule, minor = compiled.rule, sum(paid)
            share = _share(rule, lines, paid, minor, context, rate, unit)
            if share.total:
                found.append((compiled, share))
            if rule.kind == "threshold" and rule.join_minutes and any(paid):
                joined.append(Joined(rule.id, minor, share.total > 0))
    capped, cuts = _cap_rules(found, context, unit)
    winners, losers = _compete(capped, plan, unit)
    away = [share for share in winners if share.rule in plan.elsewhere] if plan.elsewhere else []
    if away:
        winners = [share for share in winners if share.rule not in plan.elsewhere]
    elsewhere = _elsewhere(lines, away, plan, unit) if away else ()
    wishes = [share for share in winners if share.rule in plan.budgets] if plan.budgets else []
    if wishes:
        winners = [share for share in winners if share.rule not in plan.budgets]
    points, awards, cut = _round(lines, [base, *winners], plan, context.room, context.room_by, unit)
    asked, cut = _wished(lines, wishes, plan, context, unit, points, cut) if wishes else ((), cut)
    return Accrual(points, awards, (*cuts, *losers, *cut), tuple(joined), elsewhere, asked)


def _bases_by_rule(goods: list[Goods], bases: list[int]) -> dict[str, list[int]]:
    """What of each line may earn by each of the rules that ask for goods, if it has any line at all."""
    named: dict[str, list[int]] = {}
    for index, kind in enumerate(goods):
        for rule in kind.rules:
            if rule not in named:
                named[rule] = [0] * len(bases)
            named[rule][index] = bases[index]
    return named


def _share(  # noqa: PLR0917  # everything a kind of rule may look at
    rule: AnyRule, lines: tuple[SoldLine, ...], paid: list[int], minor: int, context: Context, rate: int, unit: int
) -> Share:
    """A fixed number of points is spread over the lines that earned it, so that a return takes its share."""
    if rule.kind == "multiplier":  # told apart by text: to ask for a class that it is not takes ten times as long
        return Share(rule.id, paid, minor * rate * (rule.percent - 100))
    if rule.kind == "check_bonus":
        due = True
    elif rule.kind == "threshold":
        due = _reaches(rule, minor, context)
    elif rule.kind == "nth_visit":
        due = context.first_visit_of_day and (context.about.visits + 1) % rule.n == 0
    elif rule.kind == "line_bonus":
        pieces = [lines[index].quantity // 1000 if base else 0 for index, base in enumerate(paid)]
        return Share(rule.id, pieces, sum(pieces) * rule.points * unit)
    else:
        assert_never(rule)
    return Share(rule.id, paid, rule.points * unit if due and minor else 0)


def _reaches(rule: Threshold, paid: int, context: Context) -> bool:
    """Whether this receipt lifts those it is joined with to the threshold. A receipt counts towards one bonus only (F08)."""
    within = rule.join_minutes * 60
    others = [(at, known) for at, known in context.joined if known.rule == rule.id]
    spent = [at for at, known in others if known.reached]
    if any(abs(context.at - at) <= within for at in spent):
        return False
    before = sum(
        known.minor
        for at, known in others
        if abs(context.at - at) <= within and not any(abs(at - reached) <= within for reached in spent)
    )
    return before + paid >= rule.spend_minor


def _cap_rules(
    found: list[tuple[CompiledRule, Share]], context: Context, unit: int
) -> tuple[list[tuple[CompiledRule, Share]], list[Cut]]:
    kept: list[tuple[CompiledRule, Share]] = []
    cuts: list[Cut] = []
    for compiled, share in found:
        limited, cap = share, compiled.cap
        if cap is not None:
            room = max(0, cap.points - context.used(share.rule, cap.per)) * unit
            if share.total > room:
                limited = Share(share.rule, share.weights, room)
                cuts.append(Cut(f"cap per {cap.per}", share.rule, (share.total - room) // unit))
        kept.append((compiled, limited))
    return kept, cuts


def _compete(found: list[tuple[CompiledRule, Share]], plan: Plan, unit: int) -> tuple[list[Share], list[Cut]]:
    """Rules of a group compete as it says; whoever loses is named (D03). `found` comes in order of precedence."""
    winners: list[Share] = []
    rivals: dict[str, list[Share]] = {}
    for compiled, share in found:
        group = compiled.group
        if group is None or plan.groups[group] == "all":
            winners.append(share)
        else:
            rivals.setdefault(group, []).append(share)
    losers: list[Cut] = []
    for group, shares in rivals.items():
        best = shares[0] if plan.groups[group] == "first" else max(shares, key=lambda share: share.total)
        winners.append(best)
        losers.extend(
            Cut(f"group {group}: {best.rule} goes before", share.rule, share.total // unit)
            for share in shares
            if share is not best
        )
    return winners, losers


def _round(  # what is rounded, by whom, and how far
    lines: tuple[SoldLine, ...], shares: list[Share], plan: Plan, room: int | None, room_by: str, unit: int
) -> tuple[int, tuple[Award, ...], tuple[Cut, ...]]:
    """Round the whole once, cap it, share it out over the rules, then each rule's points over its lines."""
    totals = [share.total for share in shares]
    whole = rounded(sum(totals), unit, plan.rounding)
    cuts: tuple[Cut, ...] = ()
    if room is None or whole <= room:
        points = whole_shares(totals, unit, whole)
    else:
        points, cuts = apportion(totals, room), (Cut(room_by, None, whole - room),)
    awards = [_over_lines(shares[index], mine, lines, unit) for index, mine in enumerate(points) if mine]
    return sum(points), tuple(awards), cuts


def _elsewhere(
    lines: tuple[SoldLine, ...], away: list[Share], plan: Plan, unit: int
) -> tuple[tuple[str, tuple[Award, ...]], ...]:
    """Each other wallet's points, rounded by themselves: no cap over everything is about them."""
    shares: dict[str, list[Share]] = {}
    for share in away:
        shares.setdefault(plan.elsewhere[share.rule], []).append(share)
    given = ((wallet, _round(lines, mine, plan, None, "", unit)[1]) for wallet, mine in sorted(shares.items()))
    return tuple((wallet, awards) for wallet, awards in given if awards)


def _wished(  # noqa: PLR0917  # as `_round`, and what that has left
    lines: tuple[SoldLine, ...],
    wishes: list[Share],
    plan: Plan,
    context: Context,
    unit: int,
    points: int,
    cuts: tuple[Cut, ...],
) -> tuple[tuple[Award, ...], tuple[Cut, ...]]:
    """What goes to a budget, rule by rule: each rounded by itself, because each is granted by itself. Caps over all hold."""
    asked: list[Award] = []
    for share in wishes:
        room = None if context.room is None else context.room - points
        mine, awards, cut = _round(lines, [share], plan, room, context.room_by, unit)
        points, asked = points + mine, [*asked, *awards]
        cuts = (*cuts, *(Cut(one.by, share.rule, one.points) for one in cut))
    return tuple(asked), cuts


def _over_lines(share: Share, points: int, lines: tuple[SoldLine, ...], unit: int) -> Award:
    weights, total = share.weights, share.total
    whole = sum(weights)
    return Award(
        share.rule,
        tuple(
            [
                (lines[index].line, given, total * weights[index] // whole % unit * MILLION // unit)
                for index, given in enumerate(apportion(weights, points))
                if given
            ]
        ),
    )
