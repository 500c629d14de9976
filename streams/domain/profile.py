"""The loyalty fields of seeds 001 and 002 as a projection of account and program (B09)."""

from schemas.standing import Balance as BalanceModel
from streams.domain import qualification
from streams.domain.account import Account
from streams.domain.calendar import local_day
from streams.domain.lots import NEVER, ends_at
from streams.domain.outcome import Balance, Profile
from streams.domain.plan import Plan

assert set(BalanceModel.model_fields) == set(Balance.__struct_fields__)  # noqa: S101  # one list of books, two forms


def balance_of(account: Account) -> Balance:
    """Where the points stand; reserved and held for review are both held."""
    books = account.books
    return Balance(
        earned=-books.issued,
        reversed=books.reversed,
        adjusted=-books.adjusted,
        used=books.used,
        expired=books.expired,
        available=books.available,
        pending=books.pending,
        held=books.held + books.reserved,
        debt=account.debt,
    )


def profile_of(account: Account, plan: Plan, now: int) -> Profile:
    """The member's loyalty fields at `now`."""
    points, expires_at = next_expiry(account, plan)
    level = min(account.tier.level, len(plan.levels) - 1)
    total = qualification.sums(account, plan, qualification.span_of(account, plan, local_day(plan.zone, now)))
    gap = qualification.missing(plan, level, total)
    active_since = now - plan.program.limits.active_days * 86_400
    return Profile(
        active=account.status == "in" and max(account.last_activity, account.joined_at) >= active_since,
        opted_in=account.status == "in",
        joined=_day(account.joined_at, plan),
        next_expiring=points,
        expires_at=expires_at,
        tier=plan.levels[level].name,
        next_tier=plan.levels[level + 1].name if gap else "",
        to_next_tier=gap.missing if gap else 0,
        tier_since=_day(account.tier.since or account.joined_at, plan),
        first_activity=_day(account.first_activity, plan),
        last_activity=_day(account.last_activity, plan),
        first_purchase=_day(account.first_purchase, plan),
        last_purchase=_day(account.last_purchase, plan),
    )


def next_expiry(account: Account, plan: Plan) -> tuple[int, int]:
    """(points that end next, when); (0, 0) when none will."""
    earliest, points = NEVER, 0
    for lot in account.lots:
        if lot.book != "available":
            continue
        end = ends_at(lot, account, plan)
        if end < earliest:
            earliest, points = end, 0
        if end == earliest:
            points += lot.points
    return (0, 0) if earliest == NEVER else (points, earliest)


def _day(at: int, plan: Plan) -> int:
    return local_day(plan.zone, at) if at else 0
