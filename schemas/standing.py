"""Where a member stands, as every event tells it: postings, balances and the loyalty fields of seeds 001 and 002."""

from typing import Annotated, Literal

from pydantic import Field

from schemas.base import Day, Instant, LoyaltyId, Model, Name, Points, SignedPoints
from schemas.commands import ProgramKey

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


class Data(Model):
    """What every event says."""

    cause: Annotated[str, Field(min_length=1, max_length=160)]
    """Id of the command in `loy.commands`."""
    program: ProgramKey
    occurred_at: Instant
    """When it happened in the world: purchase time, due time."""
    postings: tuple[Posting, ...]
    balance: Balance
    profile: Profile | None
    """The member's loyalty fields after the command. None on the account of an unclaimed receipt."""
    wallets: dict[Name, Balance] = Field(default_factory=dict)
    """Where the points of other wallets stand. Left out for who has none."""
