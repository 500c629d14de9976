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
    "issued",
    "available",
    "pending",
    "held",
    "reserved",
    "used",
    "expired",
    "reversed",
    "adjusted",
    "debt",
]


class Posting(Model):
    """Points moved from one book to another: the only way a balance changes (B01). Lots count from 1; 0 means no lot."""

    source: Book
    """The book the points leave."""
    target: Book
    """The book the points enter."""
    points: Annotated[int, Field(ge=1)]
    """How many."""
    lot: Annotated[int, Field(ge=0)]
    """Which lot of the account."""


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
    """Whether there was activity within the program's active days."""
    loyalty_anniversary_date: Day | None
    opt_in_status: bool
    """Whether the member is in the program."""
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
    """The tier held now."""
    next_tier: str | None
    """The next higher tier; none at the top."""
    points_req_for_next_tier: Points | None
    """What is missing of the next tier's nearest requirement, in that requirement's metric."""
    tier_achieve_date: Day | None
    available_rewards: tuple[str, ...]
    """Rewards that the available points can pay, cheapest first."""
    points_req_for_next_reward: Points | None
    highest_available_reward: str | None
    """The dearest of them."""
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
    """The state after joining."""


class OptedOut(_Data):
    """The state after leaving."""

    erased: bool
    """The right to be forgotten: contact data went with it."""


class Award(Model):
    """Points that one rule gave for one line: the trail of every point."""

    line: Annotated[int, Field(ge=0)]
    """The line of the check; 0 is the whole check."""
    rule: str
    """The rule's id, or `base`."""
    points: SignedPoints
    remainder: Annotated[int, Field(ge=0, lt=10**6)]
    """What rounding left of this share, in millionths of a point."""


class Cut(Model):
    """Points that a cap took away, or a rule that lost in its group."""

    by: Text
    rule: str | None = None
    """The rule that was cut or lost; none when the cap is over everything."""
    points: Points


class PointAccrual(_Data):
    """What a check earned, point by point."""

    check_id: str
    """The check that earned."""
    points: Points
    awards: tuple[Award, ...]
    cuts: tuple[Cut, ...]
    debt_repaid: Points
    held: bool
    """The points are held for review."""


class PointPending(_Data):
    """What a check earned and when it can be used."""

    check_id: str
    """The check that earned."""
    points: Points
    available_at: Instant


class PointReleased(_Data):
    """What can be used from now on."""

    points: Points


class PointReserved(_Data):
    """What is set aside and until when."""

    reservation: str
    """The reservation they are set aside for."""
    points: Points
    expires_at: Instant
    reward: Name | None


class PointFreed(_Data):
    """What came back."""

    reservation: str
    """The reservation they were set aside for."""
    points: Points
    reason: Literal["cancelled", "expired", "not_used"]
    """Cancelled, run out, or confirmed for less."""


class PointRedemption(_Data):
    """What was used and what it was worth."""

    reservation: str
    """The reservation that was confirmed."""
    points: Points
    value_minor: Minor
    reward: Name | None
    check_id: str | None
    """The receipt they paid for."""


class PointReversed(_Data):
    """What a return or void took back."""

    check_id: str
    """The return or void."""
    of: str
    """The sale."""
    points: Points
    debt: Points
    """How much of it the member now owes."""
    forgiven: Points
    expired: Points
    """How much of it had expired before, so that nothing is left to take back."""


class PointRestored(_Data):
    """What a return or void gave back."""

    check_id: str
    """The return or void."""
    of: str
    """The sale."""
    points: Points


class PointExpired(_Data):
    """What ended."""

    points: Points


class PointExpiringSoon(_Data):
    """What will end and when."""

    points: Points
    expires_at: Instant


class PointAdjusted(_Data):
    """What was corrected, by whom and why."""

    points: SignedPoints
    reason: Text
    actor: str
    """Who asked for it."""
    approver: str | None
    """Who agreed, when it was over the limit."""


class TierChange(_Data):
    """From which tier to which, and why."""

    previous: str
    """The tier until now."""
    tier: str
    """The tier from now on."""
    reason: Literal["qualified", "period_end", "return", "manual", "program"]
    """What moved it."""
    line: Annotated[int, Field(ge=0)] | None
    """The line of the check that tipped it."""


class TierAnniversary(_Data):
    """How long in which tier."""

    tier: str
    """The tier held."""
    years: Annotated[int, Field(ge=1)]
    """How many in that tier."""


class CloseToTierUpgrade(_Data):
    """What is missing to the next tier."""

    tier: str
    """The tier held."""
    next_tier: str
    """The tier that is near."""
    missing: Annotated[int, Field(ge=1)]
    """How much is missing, in the metric."""
    metric: Literal["points", "spend", "visits"]
    """Points, spend in minor units, or visits in days."""


class TierDowngradeWarning(_Data):
    """Which tier would follow and when, and what is needed to stay."""

    tier: str
    """The tier held."""
    lower_tier: str
    """The tier that would follow."""
    due: Instant
    missing: Annotated[int, Field(ge=1)] | None = None
    """How much is missing to keep the tier, in the metric."""
    metric: Literal["points", "spend", "visits"] | None = None
    """Points, spend in minor units, or visits in days."""


class Anniversary(_Data):
    """How long in the program."""

    years: Annotated[int, Field(ge=1)]
    """How many in the program."""


class Birthday(_Data):
    """Nothing but the state: the date itself is personal."""


class Hit(Model):
    """A fraud signal that hit, with the figures behind it."""

    signal: str
    """The signal's id in the program."""
    weight: int
    """What it added to the score, in hundredths."""
    value: int
    """What was measured."""
    limit: int
    """What the program allows."""


class FraudSuspected(_Data):
    """Which signals hit and what is held."""

    check_id: str
    """The check that looked wrong."""
    score: int
    """The sum of the weights, in hundredths."""
    hits: tuple[Hit, ...]
    points: Points
    """Held for review under the check's id."""


class FraudCleared(_Data):
    """How the review ended."""

    check_id: str
    """The check whose points were held."""
    verdict: Literal["release", "confiscate"]
    """Paid out, or taken."""
    points: Points
    actor: str
    """Who decided."""
    reason: Text


class CheckParked(_Data):
    """What is kept and why."""

    check_id: str
    """The check that is kept."""
    code: Code


class OfferResult(_Data):
    """What the member decided."""

    offer: str
    """The offer, as the system that made it calls it."""
    result: Literal["accepted", "rejected"]
    """Yes or no."""


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
    "LOY_OFFER_RESULT": (OfferResult, "The member accepted or rejected an offer, once and for all."),
    "LOY_FRAUD_SUSPECTED": (FraudSuspected, "A check's points are held for review."),
    "LOY_FRAUD_CLEARED": (FraudCleared, "Held points were paid out or taken after review."),
    "LOY_CHECK_PARKED": (CheckParked, "A check is kept for review, or waits for its sale."),
}

SOURCE = "/loystream/ledger"


def dataschema(event_type: str) -> str:
    """Where `data` of this event is described: a place in its committed JSON Schema (`schemas/json/loy.events/`)."""
    return f"urn:loystream:loy.events:{event_type}#/properties/data"


class Event(Model):
    """The CloudEvents 1.0 envelope. `id` derives from the command, so a repeat has the same id and the same bytes."""

    specversion: Literal["1.0"]
    id: Annotated[str, Field(min_length=1, max_length=250)]
    """Derives from the cause: a repeat has the same."""
    source: Literal["/loystream/ledger"]
    type: str
    """One of the LOY_* names."""
    subject: AccountKey
    time: Instant
    """When it was recorded: the Kafka timestamp of the command."""
    sequence: Annotated[int, Field(ge=1)]
    """Counts the account's events from 1 without a gap."""
    datacontenttype: Literal["application/json"]
    dataschema: str
    """Where `data` is described: a place in the JSON Schema of this event."""
    data: dict[str, Any]
    """As `EVENTS[type]` says; `parse_event` checks it."""


def parse_event(raw: bytes) -> tuple[Event, _Data]:
    """The envelope and its typed data. Raises `pydantic.ValidationError`, or KeyError for a type not in the catalogue."""
    event = Event.model_validate_json(raw)
    model, _ = EVENTS[event.type]
    return event, model.model_validate_json(orjson.dumps(event.data))
