"""A program said back in plain sentences, so that whoever wrote it sees what it does (D01).

Law: every setting that matters is said, and the same program is always said the same way.
"""

from collections.abc import Iterator, Sequence
from typing import assert_never

from schemas.earning import MAIN, AnyRule, CheckBonus, DayPart, LineBonus, Multiplier, NthVisit, Threshold, Where
from schemas.points import AnyExpiry, ExpireAfterDays, ExpireEndOfMonth, ExpireEndOfYear, ExpireInactive, NeverExpire
from schemas.program import (
    AnniversaryWindow,
    AnySignal,
    AnyWindow,
    CalendarWindow,
    ImpossibleTravel,
    LifetimeWindow,
    OwnCard,
    Program,
    Requirement,
    ReturnRatio,
    Reward,
    RollingWindow,
    SplitReceipts,
    Tier,
    Velocity,
)
from streams.domain.expression import sentence
from streams.domain.words import Money, clock, count, either, instant, money_in, nth

OUTLETS_SAID = 50
_DAYS = {
    "mon": "Monday",
    "tue": "Tuesday",
    "wed": "Wednesday",
    "thu": "Thursday",
    "fri": "Friday",
    "sat": "Saturday",
    "sun": "Sunday",
}
_CHANNELS = {"store": "in the store", "web": "on the web", "app": "in the app", "phone": "by phone"}


def explain(program: Program) -> list[str]:
    """The whole program in lines: headings, sentences that begin with `- `, and empty lines between the parts.

    Raises ExpressionError for a condition that is none.
    """
    money = money_in(program.currency)
    parts = (
        (f"{program.title} ({program.key})", _general(program)),
        ("Earning", _earning(program, money)),
        ("Rules", _rules(program, money)),
        ("Where rules compete", _groups(program)),
        ("Points", _points(program)),
        ("Wallets", _wallets(program)),
        ("Redemption", _redemption(program, money)),
        ("Tiers", _tiers(program, money)),
        ("Fraud", _fraud(program)),
        ("Service desk", _limits(program)),
        ("Outlets", _outlets(program)),
    )
    lines = [line for heading, said in parts if said for line in ("", heading, *(f"- {one}" for one in said))]
    return lines[1:]


# ---------------------------------------------------------------- in general, and earning


def _general(program: Program) -> list[str]:
    refuse = program.unknown_outlets == "refuse"
    return [
        f"In force for purchases from {instant(program.effective_from)} on, until a later version takes over.",
        f"Money is {program.currency}; days, months and years end at midnight in {program.time_zone}.",
        "Checks of outlets that are not listed are refused." if refuse else "Checks of any outlet are taken.",
        f"Birthdays and loyalty anniversaries are {'told' if program.anniversaries else 'not told'}.",
    ]


_ROUNDING = {
    "floor": "dropped",
    "half_up": "rounded to the nearest point, a half up",
    "half_down": "rounded to the nearest point, a half down",
}


def _earning(program: Program, money: Money) -> list[str]:
    earning, exclude = program.earning, program.earning.exclude
    lines = [
        f"{count(earning.rate.points, 'point')} for every {money(earning.rate.per_minor)} that was really paid.",
        f"What is left of a point is {_ROUNDING[earning.rounding]}, once per check.",
        f"What is paid with {either(sorted({'points', *exclude.tenders}))} never earns.",
    ]
    if not earning.rate.qualifies:
        lines.append("These points do not count where a tier asks for points.")
    if exclude.categories:
        lines.append(f"Goods in {either(exclude.categories)} never earn.")
    if exclude.skus:
        lines.append(f"Goods with SKU {either(exclude.skus)} never earn.")
    for cap in earning.caps:
        if cap.per == "balance":
            lines.append(f"A member holds at most {count(cap.points, 'point')}.")
        else:
            lines.append(f"A member earns at most {count(cap.points, 'point')} a {cap.per}, from everything together.")
    return lines


# ---------------------------------------------------------------- rules


def _rules(program: Program, money: Money) -> list[str]:
    rules = program.earning.rules
    together = ["Multipliers add their extra to the base: 200 % and 300 % together give 400 %."]
    several = sum(isinstance(rule, Multiplier) for rule in rules) > 1
    return [*(together if several else []), *(_rule(rule, money) for rule in rules)]


def _rule(rule: AnyRule, money: Money) -> str:
    conditions = list(_conditions(rule.where, money))
    only = f", only {either(conditions, 'and')}" if conditions else ""
    return f"{rule.id}: {_gift(rule, money)}{only}{''.join(_terms(rule))}."


def _gift(rule: AnyRule, money: Money) -> str:
    goods = _goods(rule.where)
    match rule:
        case Multiplier():
            return f"{rule.percent} % of the base rate for {goods or 'anything that may earn'}"
        case LineBonus():
            return f"{count(rule.points, 'point')} for every whole piece of {goods or 'anything that may earn'}"
        case CheckBonus():
            return f"{count(rule.points, 'point')} once for a check{f' with {goods}' if goods else ''}"
        case Threshold():
            joined = (
                f" (receipts of one till within {count(rule.join_minutes, 'minute')} count as one)" if rule.join_minutes else ""
            )
            reached = f"when {money(rule.spend_minor)} or more is paid for {goods or 'anything that may earn'}{joined}"
            return f"{count(rule.points, 'point')} {reached}"
        case NthVisit():
            visit = f"visit with {goods}" if goods else "visit"
            return f"{count(rule.points, 'point')} on every {nth(rule.n)} {visit} (a day is one visit)"
    assert_never(rule)


def _goods(where: Where) -> str:
    parts = (("of brand", where.brands), ("in", where.categories), ("with SKU", where.skus))
    said = [f"{word} {either(names)}" for word, names in parts if names]
    return " ".join(["goods", *said]) if said else ""


def _conditions(where: Where, money: Money) -> Iterator[str]:
    if where.outlets:
        yield f"at outlet {either(where.outlets)}"
    if where.channels:
        yield f"bought {either(_CHANNELS[channel] for channel in where.channels)}"
    if where.weekdays:
        yield f"on {either(_DAYS[day] for day in where.weekdays)}"
    if where.day_parts:
        yield either(map(_day_part, where.day_parts))
    if where.tiers:
        yield f"in tier {either(where.tiers)}"
    if where.birthday_within_days is not None:
        yield (
            f"within {count(where.birthday_within_days, 'day')} of the birthday"
            if where.birthday_within_days
            else "on the birthday"
        )
    if where.when is not None:
        yield f"when {sentence(where.when, money)}"


def _day_part(part: DayPart) -> str:
    over = " of the next day" if part.end < part.start else ""
    return f"from {clock(part.start)} to {clock(part.end)}{over}"


def _terms(rule: AnyRule) -> Iterator[str]:
    if rule.cap and rule.cap.over == "program":
        span = "in the whole campaign" if rule.cap.per == "campaign" else f"a {rule.cap.per}"
        yield f"; at most {count(rule.cap.points, 'point')} {span} for all members together, first come, first served"
    elif rule.cap:
        yield f"; at most {count(rule.cap.points, 'point')} a {rule.cap.per}"
    if rule.starts:
        yield f"; from {instant(rule.starts)}"
    if rule.ends:
        yield f"; until {instant(rule.ends)}"
    if rule.wallet != MAIN:
        yield f"; into wallet {rule.wallet}"
    if rule.qualifies not in (None, rule.wallet == MAIN):
        yield f"; {'does' if rule.qualifies else 'does not'} count where a tier asks for points"
    if rule.group:
        yield f"; competes in {rule.group}"
    if rule.priority:
        yield f"; priority {rule.priority}"
    if not rule.enabled:
        yield "; switched off"


_MODES = {
    "all": "all that apply add up",
    "best": "the one that gives most points counts; of equals the higher priority, then the smaller id",
    "first": "the one with the highest priority counts; of equals the smaller id",
}


def _groups(program: Program) -> list[str]:
    members: dict[str, list[str]] = {group.id: [] for group in program.earning.groups}
    for rule in program.earning.rules:
        if rule.group:
            members[rule.group].append(rule.id)
    return [
        f"{group.id}: of {either(members[group.id], 'and') if members[group.id] else 'no rule yet'}, {_MODES[group.mode]}."
        for group in program.earning.groups
    ]


# ---------------------------------------------------------------- points and rewards


def _expiry(expiry: AnyExpiry, points: str = "Points") -> str:
    match expiry:
        case NeverExpire():
            return f"{points} never expire."
        case ExpireAfterDays(days=days):
            return f"{points} expire at the end of the day {count(days, 'day')} after the purchase."
        case ExpireEndOfMonth(months=months):
            return f"{points} expire at the end of the month {count(months, 'month')} after the month of the purchase."
        case ExpireEndOfYear(years=years):
            return f"{points} expire at the end of the year {count(years, 'year')} after the year of the purchase."
        case ExpireInactive(days=days):
            return f"All {points.lower() if points == 'Points' else points} expire {count(days, 'day')} after the last purchase."
    assert_never(expiry)


_DEBTS = {
    "allow": "the member owes the rest and earns it back first",
    "floor": "the rest is forgiven",
    "hold_refund": "the member owes the rest, and the till is told what it is worth, to hold it back from the refund",
}


def _points(program: Program) -> list[str]:
    policy = program.points
    lines = [_expiry(policy.expiry)]
    if policy.notice_days:
        lines.append(f"The member is told {count(policy.notice_days, 'day')} before.")
    if policy.pending_days:
        lines.append(f"Points can be used {count(policy.pending_days, 'day')} after the purchase.")
        lines.append(f"Until then they {'count' if policy.pending_counts_for_tier else 'do not count'} for the tier.")
    lines.append(f"When a return takes back more than is left, {_DEBTS[policy.debt]}.")
    return lines


def _wallets(program: Program) -> list[str]:
    titles = _titles(program)
    lines = ["Each wallet's points stand by themselves: they pay for nothing that costs another's."] if program.wallets else []
    for wallet in program.wallets:
        lines.append(f"{wallet.id}, called {wallet.title}: {_expiry(wallet.expiry, wallet.title)}")
        if wallet.notice_days:
            lines.append(f"{wallet.title}: told {count(wallet.notice_days, 'day')} before.")
        lines.append(f"{wallet.title}: when a return takes back more than is left, {_DEBTS[wallet.debt]}.")
    return lines + [
        f"{one.points:,} {titles[one.wallet]} can become {one.gives:,} {titles[one.into]}, in whole multiples."
        for one in program.conversions
    ]


def _titles(program: Program) -> dict[str, str]:
    return {MAIN: "points", **{wallet.id: f"{wallet.title} ({wallet.id})" for wallet in program.wallets}}


def _redemption(program: Program, money: Money) -> list[str]:
    redemption = program.redemption
    return [
        f"{count(redemption.points_per_minor, 'point')} can pay {money(1)}.",
        f"At least {count(redemption.minimum_points, 'point')} must be used at once.",
        f"A reservation holds its points for {count(redemption.reservation_minutes, 'minute')}.",
        *(
            f'{reward.id}: "{reward.title}" for {_price(reward, program)}, worth {money(reward.value_minor)}.'
            for reward in redemption.rewards
        ),
    ]


def _price(reward: Reward, program: Program) -> str:
    return count(reward.points, "point") if reward.wallet == MAIN else f"{reward.points:,} {_titles(program)[reward.wallet]}"


# ---------------------------------------------------------------- tiers


def _need(need: Requirement, money: Money) -> str:
    if need.metric == "spend":
        return f"{money(need.at_least)} paid"
    return f"{count(need.at_least, 'point')} earned" if need.metric == "points" else f"{count(need.at_least, 'day')} with a visit"


def _tier(tier: Tier, money: Money) -> str:
    needs = [either(_need(need, money) for need in tier.any_of)] if tier.any_of else []
    if tier.all_of:
        needs.append(either((_need(need, money) for need in tier.all_of), "and"))
    return f"{tier.name}: {'; and '.join(needs)}."


def _window(window: AnyWindow) -> str:
    match window:
        case CalendarWindow(period=period):
            return f"within a calendar {period}"
        case RollingWindow(days=days):
            return f"within the last {count(days, 'day')}"
        case AnniversaryWindow():
            return "within a year counted from the day of joining"
        case LifetimeWindow():
            return "since joining"
    assert_never(window)


_LANDINGS = {"one_down": "falls one tier", "earned": "falls to the tier that was earned"}
_JUMPS = {"skip": "A purchase may skip tiers.", "sequential": "A purchase climbs one tier at a time, each told by itself."}
_RETURNS = {
    "keep": "A return never takes a tier away before its time.",
    "revoke": "A return that falls below what a tier asks takes it away at once.",
}


def _tiers(program: Program, money: Money) -> list[str]:
    tiers = program.tiers
    lowest, *higher = tiers.levels
    if not higher:
        return [f"There is one tier, {lowest.name}: everybody's."]
    lines = [f"{lowest.name}: everybody's.", *(_tier(tier, money) for tier in higher)]
    lines.append(f"Counted {_window(tiers.window)}. A tier is reached at once.")
    lines.append(_JUMPS[tiers.jump])
    if not isinstance(tiers.window, LifetimeWindow):
        lines.extend(_falling(program))
    lines.append(_RETURNS[tiers.after_return])
    if tiers.close and (near := _near(tiers.close.percent, tiers.close.gap)):
        lines.append(f"The member is told once when the next tier is near: {near}.")
    return lines


def _falling(program: Program) -> Iterator[str]:
    tiers = program.tiers
    if isinstance(tiers.window, RollingWindow):
        kept = f"A tier is kept for {count(tiers.window.days, 'day')}"
    else:
        kept = f"A tier is kept to the end of the {'next ' if tiers.valid == 'end_of_next_period' else ''}period"
    grace = f" and {count(tiers.grace_days, 'day')} of grace" if tiers.grace_days else ""
    yield f"{kept}{grace}; who has not earned it again by then {_LANDINGS[tiers.landing]}."
    if tiers.warning_days:
        yield f"Who is about to fall is warned {count(tiers.warning_days, 'day')} before."


def _near(percent: int | None, gap: int | None) -> str:
    said = [f"at {percent} % of what it asks"] if percent else []
    return either([*said, f"when {gap:,} or less is missing"]) if gap else "".join(said)


# ---------------------------------------------------------------- fraud, limits, outlets


def _fraud(program: Program) -> list[str]:
    fraud = program.fraud
    if not fraud.signals:
        return []
    rule = f"Signals add up; from {fraud.critical / 100:.2f} on, the points of the check wait for review. The sale goes on."
    return [rule, *(f"{signal.id} (+{signal.weight / 100:.2f}): {_signal(signal)}." for signal in fraud.signals)]


def _signal(signal: AnySignal) -> str:
    match signal:
        case Velocity():
            what = {"checks": "check", "points": "point", "outlets": "different outlet"}[signal.what]
            hard = f"; more than {signal.hard:,} is enough by itself" if signal.hard is not None else ""
            return f"more than {count(signal.soft, what)} within {count(signal.hours, 'hour')}{hard}"
        case ReturnRatio():
            span = count(signal.days, "day")
            return f"{signal.percent} % or more of at least {count(signal.sales, 'sale')} within {span} came back"
        case ImpossibleTravel():
            clocks = f", allowing {count(signal.skew_minutes, 'minute')} for the tills' clocks" if signal.skew_minutes else ""
            return f"two outlets too far apart for {signal.km_per_hour:,} km/h{clocks}"
        case SplitReceipts():
            return f"{count(signal.checks, 'receipt')} or more at one till within {count(signal.minutes, 'minute')}"
        case OwnCard():
            return "the cashier's own card at the cashier's till, which earns nothing either way"
    assert_never(signal)


def _limits(program: Program) -> list[str]:
    limits = program.limits
    return [
        f"Adjustments of more than {count(limits.adjust_points, 'point')} need a second person.",
        f"A receipt can be claimed for {count(limits.claim_days, 'day')}, {count(limits.claims_per_day, 'claim')} a day.",
        f"A member is active for {count(limits.active_days, 'day')} after the last activity.",
    ]


def _outlets(program: Program) -> list[str]:
    outlets: Sequence[str] = [
        outlet.id
        if outlet.latitude is None or outlet.longitude is None
        else f"{outlet.id} at {outlet.latitude}, {outlet.longitude}"
        for outlet in program.outlets
    ]
    if len(outlets) > OUTLETS_SAID:
        return [*(f"{outlet}." for outlet in outlets[:OUTLETS_SAID]), f"And {len(outlets) - OUTLETS_SAID:,} more."]
    return [f"{outlet}." for outlet in outlets]
