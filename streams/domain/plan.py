"""A program compiled once: every rule's conditions as one plain function, so that deciding a check reads no program text."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import time
from functools import lru_cache
from typing import NamedTuple, assert_never

from schemas.earning import BASE, MAIN, AnyRule, Earning, Exclusions, Threshold, Where
from schemas.points import PointsPolicy, Wallet
from schemas.program import (
    AnySignal,
    ImpossibleTravel,
    OwnCard,
    Program,
    Requirement,
    ReturnRatio,
    SplitReceipts,
    Tier,
    Velocity,
)
from schemas.records import Line, Sale
from streams.domain.calendar import epoch
from streams.domain.expression import Facts, compile_expression

LineTest = Callable[[Line], bool]
CheckTest = Callable[[Sale, "Circumstances"], bool]
GOODS_MAX = 100_000  # as many kinds of goods are remembered
TRAVEL_SECONDS = 86_400  # a journey takes no longer than a day
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class Circumstances:
    """What a rule may ask about a check beside the check itself."""

    __slots__ = ("birthday_days", "staff", "tier", "total_minor", "visits")

    def __init__(self, *, tier: str, birthday_days: int | None, visits: int, total_minor: int, staff: bool) -> None:
        self.tier = tier
        self.birthday_days = birthday_days  # to the member's nearest birthday; None when unknown
        self.visits = visits  # before this one
        self.total_minor = total_minor  # what was paid and may earn
        self.staff = staff


class CompiledRule:
    """A rule with its conditions as functions; `order` puts higher priority first, then the smaller id."""

    __slots__ = ("applies", "cap", "ends", "filters_lines", "group", "id", "matches", "order", "rule", "starts")

    def __init__(self, rule: AnyRule) -> None:
        self.rule = rule
        self.id = rule.id
        self.group = rule.group
        self.cap = rule.cap if rule.cap and rule.cap.over == "member" else None
        self.order = (-rule.priority, rule.id)
        self.starts = epoch(rule.starts) if rule.starts else 0
        self.ends = epoch(rule.ends) if rule.ends else 0
        self.matches = _line_test(rule.where)
        self.filters_lines = bool(rule.where.skus or rule.where.categories or rule.where.brands)
        self.applies = _check_test(rule.where)

    def in_force(self, at: int) -> bool:
        """By purchase time (D05)."""
        return self.starts <= at and not (self.ends and at >= self.ends)


class Goods:
    """What a program makes of some goods: whether they never earn, and the rules that name them, of those that ask for goods."""

    __slots__ = ("excluded", "rules")

    def __init__(self, rules: frozenset[str], *, excluded: bool) -> None:
        self.excluded = excluded
        self.rules = rules


class Need:
    """So much of a metric, for a tier."""

    __slots__ = ("at_least", "metric")

    def __init__(self, need: Requirement) -> None:
        self.metric: str = need.metric
        self.at_least: int = need.at_least


class Level:
    """What a tier asks for."""

    __slots__ = ("all_of", "any_of")

    def __init__(self, tier: Tier) -> None:
        self.any_of = [Need(need) for need in tier.any_of]
        self.all_of = [Need(need) for need in tier.all_of]


class Pot(NamedTuple):
    """What a rule may give to all members together."""

    points: int
    per: str
    """day, month or campaign."""
    ends: int
    """When the rule does; 0: never."""


class Plan:
    """One version of a program, ready to decide with."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.key = program.key
        self.zone = program.time_zone
        self.points, self.tiers = program.points, program.tiers
        self.rate, self.rounding = program.earning.rate, program.earning.rounding
        self.caps = [(str(cap.per), int(cap.points), f"cap per {cap.per}") for cap in program.earning.caps]
        enabled = (rule for rule in program.earning.rules if rule.enabled)
        self.rules = sorted(map(CompiledRule, enabled), key=lambda compiled: compiled.order)
        self.capped = frozenset(rule.id for rule in program.earning.rules if rule.cap and rule.cap.over == "member")
        self.budgets = {rule.id: _pot(rule) for rule in program.earning.rules if rule.cap and rule.cap.over == "program"}
        self.join_minutes = max((rule.join_minutes for rule in program.earning.rules if isinstance(rule, Threshold)), default=0)
        self.signals = program.fraud.signals
        self.fraud_seconds = max(map(_span, program.fraud.signals), default=0)
        self.groups = {group.id: group.mode for group in program.earning.groups}
        self._excluded = _excluded(program.earning.exclude)
        self._skus = frozenset(program.earning.exclude.skus).union(*(rule.where.skus for rule in program.earning.rules))
        self._goods: dict[tuple[str | None, str | None, str | None], Goods] = {}
        self.excluded_tenders = frozenset((*program.earning.exclude.tenders, "points"))
        self.levels = program.tiers.levels
        self.needs = [Level(tier) for tier in program.tiers.levels]
        self.top = len(self.levels) - 1
        self.level_of = {tier.name: level for level, tier in enumerate(program.tiers.levels)}
        rewards = sorted(program.redemption.rewards, key=lambda reward: (reward.points, reward.id))
        self.rewards = [reward for reward in rewards if reward.wallet == MAIN]
        self.reward_ids, self.reward_points = [reward.id for reward in self.rewards], [reward.points for reward in self.rewards]
        self.rewards_elsewhere = [reward for reward in rewards if reward.wallet != MAIN]
        self.places = {
            outlet.id: (outlet.latitude, outlet.longitude)
            for outlet in program.outlets
            if outlet.latitude is not None and outlet.longitude is not None
        }
        self.outlets = frozenset(outlet.id for outlet in program.outlets)
        self.wallets = {wallet.id: Plan(_of_wallet(program, wallet)) for wallet in program.wallets}
        self.conversions = {(one.wallet, one.into): one for one in program.conversions}
        self.elsewhere = {rule.id: rule.wallet for rule in program.earning.rules if rule.wallet != MAIN}
        self.unusual = frozenset(_unusual(program.earning))

    def of_wallet(self, wallet: str) -> "Plan":
        """What holds for the points of another wallet; one that the program no longer names is kept like the main one."""
        return self.wallets.get(wallet, self)

    def title_of(self, wallet: str) -> str:
        """What its points are called."""
        return next((known.title for known in self.program.wallets if known.id == wallet), wallet)

    def goods(self, line: Line) -> Goods:
        """What the program makes of such goods. Remembered, since a shop sells the same ones again and again.

        A sku that no rule names says nothing: a thousand kinds lie nearer to the processor than all articles do.
        """
        sku = line.sku
        kind = (sku if sku in self._skus else None, line.category, line.brand)
        known = self._goods.get(kind)
        if known is None:
            rules = frozenset(compiled.id for compiled in self.rules if compiled.filters_lines and compiled.matches(line))
            known = Goods(rules, excluded=self._excluded(line))
            if len(self._goods) >= GOODS_MAX:
                self._goods.clear()
            self._goods[kind] = known
        return known


def _of_wallet(program: Program, wallet: Wallet) -> Program:
    """The program as it is for one wallet: its own terms, nothing earned by itself."""
    terms = PointsPolicy(expiry=wallet.expiry, notice_days=wallet.notice_days, debt=wallet.debt)
    return program.model_copy(update={"points": terms, "earning": Earning(), "wallets": (), "conversions": ()})


def _unusual(earning: Earning) -> Iterator[str]:
    """Rules of the main wallet whose points do not qualify, and of other wallets whose points do."""
    if not earning.rate.qualifies:
        yield BASE
    for rule in earning.rules:
        usual = rule.wallet == MAIN
        if rule.qualifies not in (None, usual):
            yield rule.id


def _pot(rule: AnyRule) -> Pot:
    assert rule.cap is not None  # noqa: S101  # for the type checker
    return Pot(rule.cap.points, rule.cap.per, epoch(rule.ends) if rule.ends else 0)


def _span(signal: AnySignal) -> int:
    """How far from a sale, in seconds, the signal looks at other sales of the member."""
    match signal:
        case Velocity():
            return signal.hours * 3600
        case SplitReceipts():
            return signal.minutes * 60
        case ImpossibleTravel():
            return TRAVEL_SECONDS
        case ReturnRatio() | OwnCard():
            return 0
    assert_never(signal)


@lru_cache(maxsize=1000)
def compile_program(program: Program) -> Plan:
    """Compiled once per version. Raises ExpressionError for a condition that is none."""
    return Plan(program)


def _line_test(where: Where) -> LineTest:
    """Whether a line matches all that the rule asks of goods."""
    skus, brands = frozenset(where.skus), frozenset(where.brands)
    paths, prefixes = _tree(where.categories)

    def test(line: Line) -> bool:
        if skus and line.sku not in skus:
            return False
        if brands and line.brand not in brands:
            return False
        category = line.category
        return not paths or (category is not None and (category in paths or category.startswith(prefixes)))

    return test


def _excluded(exclude: Exclusions) -> LineTest:
    skus = frozenset(exclude.skus)
    paths, prefixes = _tree(exclude.categories)
    return lambda line: (
        line.sku in skus or (line.category is not None and (line.category in paths or line.category.startswith(prefixes)))
    )


def _tree(roots: Sequence[str]) -> tuple[frozenset[str], tuple[str, ...]]:
    """A category covers itself and everything below it."""
    return frozenset(roots), tuple(root + "/" for root in roots)


def _check_test(where: Where) -> CheckTest:
    tests: list[CheckTest] = []
    if where.outlets:
        outlets = frozenset(where.outlets)
        tests.append(lambda sale, _: sale.outlet in outlets)
    if where.channels:
        channels = frozenset(where.channels)
        tests.append(lambda sale, _: sale.channel in channels)
    if where.weekdays:
        weekdays = frozenset(where.weekdays)
        tests.append(lambda sale, _: WEEKDAYS[sale.at.weekday()] in weekdays)
    if where.day_parts:
        parts = [(part.start, part.end) for part in where.day_parts]
        tests.append(lambda sale, _: any(_within(sale.at.time(), start, end) for start, end in parts))
    if where.tiers:
        tiers = frozenset(where.tiers)
        tests.append(lambda _, about: about.tier in tiers)
    if where.birthday_within_days is not None:
        near = where.birthday_within_days
        tests.append(lambda _, about: about.birthday_days is not None and about.birthday_days <= near)
    if where.when is not None:
        condition = compile_expression(where.when)
        tests.append(lambda sale, about: condition(_facts(sale, about)))
    return _every(tests)


def _every(tests: list[CheckTest]) -> CheckTest:
    def test(sale: Sale, about: Circumstances) -> bool:
        for one in tests:  # noqa: SIM110  # a loop, since a generator costs more than the tests
            if not one(sale, about):
                return False
        return True

    return tests[0] if len(tests) == 1 else test


def _within(clock: time, start: time, end: time) -> bool:
    if start <= end:
        return start <= clock < end
    return clock >= start or clock < end


def _facts(sale: Sale, about: Circumstances) -> Facts:
    facts: Mapping[str, int | str | bool] = {
        "total_minor": about.total_minor,
        "lines": len(sale.lines),
        "hour": sale.at.hour,
        "weekday": WEEKDAYS[sale.at.weekday()],
        "day": sale.at.day,
        "month": sale.at.month,
        "channel": sale.channel,
        "outlet": sale.outlet,
        "tier": about.tier,
        "visits": about.visits,
        "birthday": about.birthday_days == 0,
        "staff": about.staff,
        "currency": sale.currency,
    }
    return facts
