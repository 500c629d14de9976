"""`loy.events`: what happened to a member, as CloudEvents 1.0 in structured JSON.

Law: the *name* of an event is the contract. Source 001 swaps the descriptions of Tier_Upgrade and Tier_Downgrade, 001 and 002
both swap those of tier_anniversary and close_to_tier_upgrade; here each event means what its name says.
"""

from typing import Annotated, Any, Literal

import orjson
from pydantic import Field

from schemas.base import Day, Instant, LoyaltyId, Minor, Model, Name, Points, SignedPoints, Text
from schemas.codes import Code
from schemas.commands import AccountKey, ProgramKey

Book = Literal[
    "issued", "available", "pending", "held", "reserved", "used", "expired", "reversed", "adjusted", "debt"
]


class Posting(Model):
    """Points moved from one book to another: the only way a balance changes (B01). Lots count from 1; 0 means no lot."""

    source: Book
    target: Book
    points: Annotated[int, Field(ge=1)]
    lot: Annotated[int, Field(ge=0)]


class Balance(Model):
    """Where the points stand. Always: earned - reversed + adjusted - used - expired == available + pending + held - debt."""

    earned: Points
    reversed: Points
    adjusted: SignedPoints
    used: Points
    expired: Points
    available: Points
    pending: Points
    held: Points
    """Reserved for a redemption, or held for review."""
    debt: Points


class Profile(Model):
    """The 23 loyalty fields of seeds 001 and 002 that are not personal; the other six are in `loy.members`."""

    loyalty_id: LoyaltyId
    active_status: bool
    loyalty_anniversary_date: Day | None
    opt_in_status: bool
    opt_in_date: Day | None
    available_points: Points
    earned_points: Points
    used_points: Points
    hold_points: Points
    """Pending and held together: what is the member's but cannot be used now."""
    next_expiring_points: Points
    points_expiration_date: Day | None
    expired_points: Points
    current_tier: str
    next_tier: str | None
    points_req_for_next_tier: Points | None
    """What is missing of the next tier's nearest requirement, in that requirement's metric."""
    tier_achieve_date: Day | None
    available_rewards: tuple[str, ...]
    points_req_for_next_reward: Points | None
    highest_available_reward: str | None
    first_loyalty_activity_date: Day | None
    last_loyalty_activity_date: Day | None
    first_purchase_date: Day | None
    last_purchase_date: Day | None


PERSONAL_FIELDS = ("first_name", "last_name", "email_address", "birthday", "phone_no", "zip_code")
PROFILE_FIELDS = (*PERSONAL_FIELDS, *Profile.model_fields)


class _Data(Model):
    cause: Annotated[str, Field(min_length=1, max_length=160)]
    """Id of the command in `loy.commands`."""
    program: ProgramKey
    occurred_at: Instant
    """When it happened in the world: purchase time, due time."""
    postings: tuple[Posting, ...]
    balance: Balance
    profile: Profile | None
    """The member's loyalty fields after the command. None on the account of an unclaimed receipt."""


class OptedIn(_Data):
    pass


class OptedOut(_Data):
    erased: bool


class Award(Model):
    """Points that one rule gave for one line: the trail of every point."""

    line: Annotated[int, Field(ge=0)]
    rule: str
    """The rule's id, or `base`."""
    points: SignedPoints
    remainder: Annotated[int, Field(ge=0, lt=10**6)]
    """What rounding left of this share, in millionths of a point."""


class Cut(Model):
    """Points that a cap took away, or a rule that lost in its group."""

    by: Text
    rule: str | None = None
    points: Points


class PointAccrual(_Data):
    check_id: str
    points: Points
    awards: tuple[Award, ...]
    cuts: tuple[Cut, ...]
    debt_repaid: Points
    held: bool


class PointPending(_Data):
    check_id: str
    points: Points
    available_at: Instant


class PointReleased(_Data):
    points: Points


class PointReserved(_Data):
    reservation: str
    points: Points
    expires_at: Instant
    reward: Name | None


class PointFreed(_Data):
    reservation: str
    points: Points
    reason: Literal["cancelled", "expired", "not_used"]


class PointRedemption(_Data):
    reservation: str
    points: Points
    value_minor: Minor
    reward: Name | None
    check_id: str | None


class PointReversed(_Data):
    check_id: str
    of: str
    points: Points
    debt: Points
    """How much of it the member now owes."""
    forgiven: Points
    expired: Points
    """How much of it had expired before, so that nothing is left to take back."""


class PointRestored(_Data):
    check_id: str
    of: str
    points: Points


class PointExpired(_Data):
    points: Points


class PointExpiringSoon(_Data):
    points: Points
    expires_at: Instant


class PointAdjusted(_Data):
    points: SignedPoints
    reason: Text
    actor: str
    approver: str | None


class TierChange(_Data):
    previous: str
    tier: str
    reason: Literal["qualified", "period_end", "return", "manual", "program"]
    line: Annotated[int, Field(ge=0)] | None
    """The line of the check that tipped it."""


class TierAnniversary(_Data):
    tier: str
    years: Annotated[int, Field(ge=1)]


class CloseToTierUpgrade(_Data):
    tier: str
    next_tier: str
    missing: Annotated[int, Field(ge=1)]
    metric: Literal["points", "spend", "visits"]


class TierDowngradeWarning(_Data):
    tier: str
    lower_tier: str
    due: Instant


class Anniversary(_Data):
    years: Annotated[int, Field(ge=1)]


class Birthday(_Data):
    pass


class Hit(Model):
    """A fraud signal that hit, with the figures behind it."""

    signal: str
    weight: int
    value: int
    limit: int


class FraudSuspected(_Data):
    check_id: str
    score: int
    hits: tuple[Hit, ...]
    points: Points
    """Held for review under the check's id."""


class FraudCleared(_Data):
    check_id: str
    verdict: Literal["release", "confiscate"]
    points: Points
    actor: str
    reason: Text


class CheckParked(_Data):
    check_id: str
    code: Code


# The catalogue: event type -> what `data` holds and what the event means.
EVENTS: dict[str, tuple[type[_Data], str]] = {
    "LOY_OPT_IN": (OptedIn, "The member joined the program."),
    "LOY_OPT_OUT": (OptedOut, "The member left the program."),
    "LOY_POINT_ACCRUAL": (PointAccrual, "Points were earned by a check."),
    "LOY_POINT_REDEMPTION": (PointRedemption, "Reserved points were used."),
    "LOY_TIER_UPGRADE": (TierChange, "The member reached a higher tier."),
    "LOY_TIER_DOWNGRADE": (TierChange, "The member fell to a lower tier."),
    "LOY_TIER_ANNIVERSARY": (TierAnniversary, "The member has completed a year in the same tier."),
    "LOY_CLOSE_TO_TIER_UPGRADE": (CloseToTierUpgrade, "The member is about to reach the next tier."),
    "LOY_TIER_DOWNGRADE_WARNING": (TierDowngradeWarning, "The member will fall to a lower tier unless more comes in."),
    "LOY_POINT_PENDING": (PointPending, "Earned points cannot be used before a date."),
    "LOY_POINT_RELEASED": (PointReleased, "Pending points can be used now."),
    "LOY_POINT_RESERVED": (PointReserved, "Points were set aside for a redemption."),
    "LOY_POINT_FREED": (PointFreed, "Reserved points came back unused."),
    "LOY_POINT_REVERSED": (PointReversed, "A return or void took back what its sale had earned."),
    "LOY_POINT_RESTORED": (PointRestored, "A return or void gave back points that paid for its sale, old expiry kept."),
    "LOY_POINT_EXPIRED": (PointExpired, "Points ended unused."),
    "LOY_POINT_EXPIRING_SOON": (PointExpiringSoon, "Points will end soon unless used."),
    "LOY_POINT_ADJUSTED": (PointAdjusted, "Points were corrected by hand."),
    "LOY_ANNIVERSARY": (Anniversary, "The member has completed a year in the program."),
    "LOY_BIRTHDAY": (Birthday, "It is the member's birthday."),
    "LOY_FRAUD_SUSPECTED": (FraudSuspected, "A check's points are held for review."),
    "LOY_FRAUD_CLEARED": (FraudCleared, "Held points were paid out or taken after review."),
    "LOY_CHECK_PARKED": (CheckParked, "A check is kept for review, or waits for its sale."),
}

SOURCE = "/loystream/ledger"


class Event(Model):
    """The CloudEvents 1.0 envelope. `id` derives from the command, so a repeat has the same id and the same bytes."""

    specversion: Literal["1.0"]
    id: Annotated[str, Field(min_length=1, max_length=250)]
    source: Literal["/loystream/ledger"]
    type: str
    subject: AccountKey
    time: Instant
    """When it was recorded: the Kafka timestamp of the command."""
    sequence: Annotated[int, Field(ge=1)]
    """Counts the account's events from 1 without a gap."""
    datacontenttype: Literal["application/json"]
    dataschema: str
    data: dict[str, Any]
    """As `EVENTS[type]` says; `parse_event` checks it."""


def parse_event(raw: bytes) -> tuple[Event, _Data]:
    """The envelope and its typed data. Raises `pydantic.ValidationError`, or KeyError for a type not in the catalogue."""
    event = Event.model_validate_json(raw)
    model, _ = EVENTS[event.type]
    return event, model.model_validate_json(orjson.dumps(event.data))
