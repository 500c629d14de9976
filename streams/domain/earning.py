"""Points for a sale: what was really paid, the rules over it, caps, and one rounding (A04, A09, B10, D02, D03).

Every share is an exact integer over one denominator, kept per rule and line, so each point is traceable to both. Adding up and
rounding happen once per check; the whole is shared out by largest remainder, to the rules first, so that none passes its cap.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, assert_never

from schemas.checks import Sale
from schemas.earning import AnyRule, CheckBonus, LineBonus, Multiplier, NthVisit, Threshold
from streams.domain.account import Award, Cut, Joined, SoldLine
from streams.domain.plan import Circumstances, CompiledRule, Goods, Plan
from streams.domain.rounding import apportion, rounded, whole_shares

BASE = "base"
MILLION = 1_000_000


class Context(NamedTuple):
    """What the account contributes to the earning of one sale."""

    about: Circumstances
    at: int
    first_visit_of_day: bool
    joined: tuple[tuple[int, Joined], ...]
    """(purchase time, what it brought) of the other receipts of this member at this till."""
    rule_used: dict[tuple[str, str], int]
    """(rule, "day" or "month") -> points it gave already in the period of this sale."""
    room: int | None
    """What caps over everything leave for this sale; None: no cap."""
    room_by: str


class Share(NamedTuple):
    """What one rule gives: a numerator over one denominator, and the weights by which lines share it."""

    rule: str
    weights: Sequence[int]
    total: int


class Accrual(NamedTuple):
    points: int
    awards: tuple[Award, ...]
    cuts: tuple[Cut, ...]
    joined: tuple[Joined, ...]
    elsewhere: tuple[tuple[str, tuple[Award, ...]], ...] = ()
    """By wallet beside the main one, what it gets."""
    asked: tuple[Award, ...] = ()
    """What is to be asked of budgets over all members: not among the points."""


def sold_lines(sale: Sale, goods: Sequence[Goods], plan: Plan) -> tuple[SoldLine, ...]:
    """Each line with what was paid for it and how much of that may earn.

    Tenders that never earn (points above all) are taken off every line in proportion to what was paid for it.
    """
    nets = [line.amount_minor - line.discount_minor for line in sale.lines]
    unearning = sum(tender.amount_minor for tender in sale.tenders if tender.type in plan.excluded_tenders)
    shares = apportion(nets, unearning) if unearning else [0] * len(nets)
    return tuple(
        [
            SoldLine(line.line, line.quantity, net, 0 if kind.excluded else net - share)
            for line, kind, net, share in zip(sale.lines, goods, nets, shares, strict=True)
        ]
    )


def award(sale: Sale, goods: Sequence[Goods], lines: Sequence[SoldLine], plan: Plan, context: Context) -> Accrual:
    """The points of a sale, per line and rule, with what was cut and why. `goods` is what the plan makes of each line."""
    rate = plan.program.earning.rate
    unit = rate.per_minor * 100  # one point; 100 because multipliers are percentages
    bases, named = [line.base for line in lines], [kind.rules for kind in goods]
    base = Share(BASE, bases, sum(bases) * rate.points * 100)
    there: frozenset[str] = frozenset().union(*named)
    found, joined = [], []
    for compiled in plan.rules if base.total else ():
        if compiled.filters_lines and compiled.rule.id not in there:
            continue  # no line that it asks for: said here, where it costs least
        if compiled.in_force(context.at) and compiled.applies(sale, context.about):
            paid = _paid(compiled, named, bases)
            share = _share(compiled.rule, lines, paid, context, rate.points, unit)
            if share.total:
                found.append((compiled, share))
            if isinstance(compiled.rule, Threshold) and compiled.rule.join_minutes and any(paid):
                joined.append(Joined(compiled.rule.id, sum(paid), share.total > 0))
    capped, cuts = _cap_rules(found, context, unit)
    winners, losers = _compete(capped, plan, unit)
    away = [share for share in winners if share.rule in plan.elsewhere] if plan.elsewhere else []
    if away:
        winners = [share for share in winners if share.rule not in plan.elsewhere]
    elsewhere = _elsewhere(lines, away, plan, context, unit) if away else ()
    wishes = [share for share in winners if share.rule in plan.budgets] if plan.budgets else []
    if wishes:
        winners = [share for share in winners if share.rule not in plan.budgets]
    points, awards, cut = _round(lines, [base, *winners], plan, context, unit)
    asked, cut = _wished(lines, wishes, plan, context, unit, points, cut) if wishes else ((), cut)
    return Accrual(points, awards, (*cuts, *losers, *cut), tuple(joined), elsewhere, asked)


def _paid(compiled: CompiledRule, named: list[frozenset[str]], bases: list[int]) -> list[int]:
    """What of each line may earn by this rule."""
    if not compiled.filters_lines:
        return bases
    rule = compiled.rule.id
    return [base if rule in rules else 0 for rules, base in zip(named, bases, strict=True)]


def _share(rule: AnyRule, lines: Sequence[SoldLine], paid: list[int], context: Context, rate: int, unit: int) -> Share:
    """A fixed number of points is spread over the lines that earned it, so that a return takes its share."""
    minor = sum(paid)
    match rule:
        case Multiplier():
            return Share(rule.id, paid, minor * rate * (rule.percent - 100))
        case LineBonus():
            pieces = [sold.quantity // 1000 if ok else 0 for sold, ok in zip(lines, paid, strict=True)]
            return Share(rule.id, pieces, sum(pieces) * rule.points * unit)
        case CheckBonus():
            due = True
        case Threshold():
            due = _reaches(rule, minor, context)
        case NthVisit():
            due = context.first_visit_of_day and (context.about.visits + 1) % rule.n == 0
        case _:
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
    found: Iterable[tuple[CompiledRule, Share]], context: Context, unit: int
) -> tuple[list[tuple[CompiledRule, Share]], list[Cut]]:
    kept, cuts = [], []
    for compiled, share in found:
        limited = share
        cap = compiled.rule.cap
        if cap is not None and cap.over == "member":
            room = max(0, cap.points - context.rule_used.get((share.rule, cap.per), 0)) * unit
            if share.total > room:
                limited = Share(share.rule, share.weights, room)
                cuts.append(Cut(f"cap per {cap.per}", share.rule, (share.total - room) // unit))
        kept.append((compiled, limited))
    return kept, cuts


def _compete(found: Iterable[tuple[CompiledRule, Share]], plan: Plan, unit: int) -> tuple[list[Share], list[Cut]]:
    """Rules of a group compete as it says; whoever loses is named (D03). `found` comes in order of precedence."""
    winners: list[Share] = []
    rivals: dict[str, list[Share]] = {}
    for compiled, share in found:
        group = compiled.rule.group
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


def _round(
    lines: Sequence[SoldLine], shares: Sequence[Share], plan: Plan, context: Context, unit: int
) -> tuple[int, tuple[Award, ...], tuple[Cut, ...]]:
    """Round the whole once, cap it, share it out over the rules, then each rule's points over its lines."""
    totals = [share.total for share in shares]
    whole = rounded(sum(totals), unit, plan.program.earning.rounding)
    cuts: tuple[Cut, ...] = ()
    if context.room is None or whole <= context.room:
        points = whole_shares(totals, unit, whole)
    else:
        points, cuts = apportion(totals, context.room), (Cut(context.room_by, None, whole - context.room),)
    awards = [_over_lines(share, mine, lines, unit) for share, mine in zip(shares, points, strict=True) if mine]
    return sum(points), tuple(awards), cuts


def _elsewhere(
    lines: Sequence[SoldLine], away: Sequence[Share], plan: Plan, context: Context, unit: int
) -> tuple[tuple[str, tuple[Award, ...]], ...]:
    """Each other wallet's points, rounded by themselves: no cap over everything is about them."""
    shares: dict[str, list[Share]] = {}
    for share in away:
        shares.setdefault(plan.elsewhere[share.rule], []).append(share)
    free = context._replace(room=None)
    given = ((wallet, _round(lines, mine, plan, free, unit)[1]) for wallet, mine in sorted(shares.items()))
    return tuple((wallet, awards) for wallet, awards in given if awards)


def _wished(  # noqa: PLR0917  # as `_round`, and what that has left
    lines: Sequence[SoldLine],
    wishes: Sequence[Share],
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
        mine, awards, cut = _round(lines, [share], plan, context._replace(room=room), unit)
        points, asked = points + mine, [*asked, *awards]
        cuts = (*cuts, *(Cut(one.by, share.rule, one.points) for one in cut))
    return tuple(asked), cuts


def _over_lines(share: Share, points: int, lines: Sequence[SoldLine], unit: int) -> Award:
    whole = sum(share.weights)
    shares = zip(lines, share.weights, apportion(share.weights, points), strict=True)
    return Award(
        share.rule,
        tuple(
            [
                (sold.line, given, share.total * weight // whole % unit * MILLION // unit)
                for sold, weight, given in shares
                if given
            ]
        ),
    )
