"""`loy.events`: what happened to a member, as CloudEvents 1.0 in structured JSON.

Law: the *name* of an event is the contract. Source 001 swaps the descriptions of Tier_Upgrade and Tier_Downgrade, 001 and 002
both swap those of tier_anniversary and close_to_tier_upgrade; here each event means what its name says.
"""

from typing import Annotated, Any, Literal

import orjson
from pydantic import Field

from schemas.base import Instant, Minor, Model, Name, Points, SignedPoints, Text
from schemas.codes import Code
from schemas.commands import AccountKey
from schemas.standing import Data, Profile

PERSONAL_FIELDS = ("first_name", "last_name", "email_address", "birthday", "phone_no", "zip_code")
PROFILE_FIELDS = (*PERSONAL_FIELDS, *Profile.model_fields)


class OptedIn(Data):
    """The state after joining."""


class OptedOut(Data):
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


class PointAccrual(Data):
    """What a check earned, point by point."""

    check_id: str
    """The check that earned."""
    points: Points
    awards: tuple[Award, ...]
    cuts: tuple[Cut, ...]
    debt_repaid: Points
    held: bool
    """The points are held for review."""


class PointCut(Data):
    """What a cap over all members did not grant."""

    check_id: str
    """The check that would have earned."""
    wanted: Points
    """What the rule would have given."""
    cuts: tuple[Cut, ...]


class PointPending(Data):
    """What a check earned and when it can be used."""

    check_id: str
    """The check that earned."""
    points: Points
    available_at: Instant


class PointReleased(Data):
    """What can be used from now on."""

    points: Points


class PointReserved(Data):
    """What is set aside and until when."""

    reservation: str
    """The reservation they are set aside for."""
    points: Points
    expires_at: Instant
    reward: Name | None


class PointFreed(Data):
    """What came back."""

    reservation: str
    """The reservation they were set aside for."""
    points: Points
    reason: Literal["cancelled", "expired", "not_used"]
    """Cancelled, run out, or confirmed for less."""


class PointRedemption(Data):
    """What was used and what it was worth."""

    reservation: str
    """The reservation that was confirmed."""
    points: Points
    value_minor: Minor
    reward: Name | None
    check_id: str | None
    """The receipt they paid for."""


class PointReversed(Data):
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


class PointRestored(Data):
    """What a return or void gave back."""

    check_id: str
    """The return or void."""
    of: str
    """The sale."""
    points: Points


class PointExpired(Data):
    """What ended."""

    points: Points


class PointExpiringSoon(Data):
    """What will end and when."""

    points: Points
    expires_at: Instant


class PointAdjusted(Data):
    """What was corrected, by whom and why."""

    points: SignedPoints
    reason: Text
    actor: str
    """Who asked for it."""
    approver: str | None
    """Who agreed, when it was over the limit."""


class PointConverted(Data):
    """One of two entries under one cause: out of the first wallet, then into the second."""

    wallet: Name
    """Whose points this entry moves; `main` is the one that can be redeemed."""
    points: SignedPoints
    """Below zero in the entry that gives up."""
    other: Name
    """The wallet of the other entry."""


class WalletChange(Data):
    """What happened to points of a wallet beside the main one. Its postings are of that wallet's books and lots."""

    wallet: Name
    """Whose points these are."""
    change: Literal[
        "accrued",
        "cleared",
        "expired",
        "expiring_soon",
        "freed",
        "redeemed",
        "reserved",
        "restored",
        "reversed",
    ]
    """What the event of the main wallet with that name means."""
    points: Points
    check_id: str | None = None
    """The check that earned, came back or was reviewed."""
    of: str | None = None
    """The sale that a return or void took back."""
    reservation: str | None = None
    """The reservation they are set aside for."""
    reward: Name | None = None
    expires_at: Instant | None = None
    awards: tuple[Award, ...] = ()
    """Whence each point came."""


class TierChange(Data):
    """From which tier to which, and why."""

    previous: str
    """The tier until now."""
    tier: str
    """The tier from now on."""
    reason: Literal["qualified", "period_end", "return", "manual", "program"]
    """What moved it."""
    line: Annotated[int, Field(ge=0)] | None
    """The line of the check that tipped it."""


class TierAnniversary(Data):
    """How long in which tier."""

    tier: str
    """The tier held."""
    years: Annotated[int, Field(ge=1)]
    """How many in that tier."""


class CloseToTierUpgrade(Data):
    """What is missing to the next tier."""

    tier: str
    """The tier held."""
    next_tier: str
    """The tier that is near."""
    missing: Annotated[int, Field(ge=1)]
    """How much is missing, in the metric."""
    metric: Literal["points", "spend", "visits"]
    """Points, spend in minor units, or visits in days."""


class TierDowngradeWarning(Data):
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


class Anniversary(Data):
    """How long in the program."""

    years: Annotated[int, Field(ge=1)]
    """How many in the program."""


class Birthday(Data):
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


class FraudSuspected(Data):
    """Which signals hit and what is held."""

    check_id: str
    """The check that looked wrong."""
    score: int
    """The sum of the weights, in hundredths."""
    hits: tuple[Hit, ...]
    points: Points
    """Held for review under the check's id."""


class FraudCleared(Data):
    """How the review ended."""

    check_id: str
    """The check whose points were held."""
    verdict: Literal["release", "confiscate"]
    """Paid out, or taken."""
    points: Points
    actor: str
    """Who decided."""
    reason: Text


class CheckParked(Data):
    """What is kept and why."""

    check_id: str
    """The check that is kept."""
    code: Code


class OfferResult(Data):
    """What the member decided."""

    offer: str
    """The offer, as the system that made it calls it."""
    result: Literal["accepted", "rejected"]
    """Yes or no."""


# The catalogue: event type -> what `data` holds and what the event means.
EVENTS: dict[str, tuple[type[Data], str]] = {
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
    "LOY_POINT_CUT": (PointCut, "A cap over all members left nothing of what a rule would have given for a check."),
    "LOY_POINT_RELEASED": (PointReleased, "Pending points can be used now."),
    "LOY_POINT_RESERVED": (PointReserved, "Points were set aside for a redemption."),
    "LOY_POINT_FREED": (PointFreed, "Reserved points came back unused."),
    "LOY_POINT_REVERSED": (PointReversed, "A return or void took back what its sale had earned."),
    "LOY_POINT_RESTORED": (PointRestored, "A return or void gave back points that paid for its sale, old expiry kept."),
    "LOY_POINT_EXPIRED": (PointExpired, "Points ended unused."),
    "LOY_POINT_EXPIRING_SOON": (PointExpiringSoon, "Points will end soon unless used."),
    "LOY_POINT_ADJUSTED": (PointAdjusted, "Points were corrected by hand."),
    "LOY_POINT_CONVERTED": (PointConverted, "Points of one wallet became points of another."),
    "LOY_WALLET_CHANGE": (WalletChange, "Points of a wallet beside the main one came, went or changed."),
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


def parse_event(raw: bytes) -> tuple[Event, Data]:
    """The envelope and its data; a newer version's fields are left alone. Raises ValidationError; KeyError: unknown type."""
    event = Event.model_validate_json(raw, extra="ignore")
    model, _ = EVENTS[event.type]
    return event, model.model_validate_json(orjson.dumps(event.data), extra="ignore")
