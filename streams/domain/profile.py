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
    tier, zone = account.tier, plan.zone
    level = min(tier.level, plan.top)
    total = qualification.sums(account, plan, qualification.span_of(account, plan, local_day(zone, now)))
    gap = qualification.missing(plan, level, total)
    member, joined_at = account.status == "in", account.joined_at
    active_since = now - plan.program.limits.active_days * 86_400
    joined = _day(joined_at, zone)
    return Profile(
        active=member and max(account.last_activity, joined_at) >= active_since,
        opted_in=member,
        joined=joined,
        next_expiring=points,
        expires_at=expires_at,
        tier=plan.levels[level].name,
        next_tier=plan.levels[level + 1].name if gap else "",
        to_next_tier=gap.missing if gap else 0,
        tier_since=_day(tier.since, zone) if tier.since else joined,
        first_activity=_day(account.first_activity, zone),
        last_activity=_day(account.last_activity, zone),
        first_purchase=_day(account.first_purchase, zone),
        last_purchase=_day(account.last_purchase, zone),
    )


def next_expiry(account: Account, plan: Plan) -> tuple[int, int]:
    """(points that end next, when); (0, 0) when none will."""
    earliest, points = NEVER, 0
    for lot in account.lots:
        if lot.book != "available":
            continue
        end: int = lot.expires_at
        if end <= 0:  # most lots say it themselves
            end = ends_at(lot, account, plan)
        if end < earliest:
            earliest, points = end, 0
        if end == earliest:
            points += lot.points
    return (0, 0) if earliest == NEVER else (points, earliest)


def _day(at: int, zone: str) -> int:
    return local_day(zone, at) if at else 0
