"""`crm.members` (commands about a member), `loy.members` (contact data and consent) and `loy.identities`.

Personal data lives in these topics alone; behind intake only the loyalty id travels.
"""

from typing import Annotated, Literal

from pydantic import Field

from schemas.base import (
    PRINTABLE,
    Day,
    Id,
    Identifier,
    Instant,
    LoyaltyId,
    Minor,
    Model,
    Name,
    PositivePoints,
    SignedPoints,
    Text,
)


class Contact(Model):
    """Names, addresses and consent, as the CRM last sent them. Sent whole: what is missing is gone."""

    first_name: Annotated[str, Field(max_length=100, pattern=PRINTABLE)] | None = None
    """Given name."""
    last_name: Annotated[str, Field(max_length=100, pattern=PRINTABLE)] | None = None
    """Family name."""
    email: Annotated[str, Field(max_length=254, pattern=PRINTABLE)] | None = None
    """E-mail address."""
    phone: Annotated[str, Field(max_length=30, pattern=PRINTABLE)] | None = None
    """Phone number, best as E.164."""
    zip_code: Annotated[str, Field(max_length=20, pattern=PRINTABLE)] | None = None
    """Postal code."""
    birthday: Day | None = None
    marketing_consent: bool = False
    """Whether the member may be written to for advertising."""


class _Command(Model):
    command_id: Id
    loyalty_id: LoyaltyId
    at: Instant


class OptIn(_Command):
    """The member joins (or joins again). Every identifier opens the same account, but one that is blocked (A01)."""

    type: Literal["opt_in"]
    program: Name = "main"
    """Which program the account follows: a staff card follows its own (A13)."""
    identifiers: Annotated[tuple[Identifier, ...], Field(max_length=20)] = ()
    contact: Contact = Contact()
    staff: Id | None = None
    """The member's own cashier id, when on the staff."""
    cashier: Id | None = None
    """Who signed the member up at a till."""


class UpdateContact(_Command):
    """New contact data, whole."""

    type: Literal["update"]
    contact: Contact


class OptOut(_Command):
    """The member leaves. Points stay until they expire."""

    type: Literal["opt_out"]


class LinkIdentifier(_Command):
    """One more identifier opens the account, or a blocked one again."""

    type: Literal["link"]
    identifier: Identifier


class BlockIdentifier(_Command):
    """A lost card: checks with it are taken as anonymous from now on."""

    type: Literal["block"]
    identifier: Identifier


class ReplaceCard(_Command):
    """The old card is blocked, the new one opens the account."""

    type: Literal["replace"]
    old: Identifier
    new: Identifier


class Erase(_Command):
    """The right to be forgotten: contact data and identifiers go, the account stays without a name."""

    type: Literal["erase"]
    identifiers: Annotated[tuple[Identifier, ...], Field(max_length=20)] = ()


class Adjust(_Command):
    """A manual correction (B06). Over the program's limit it waits for `approve` by another person."""

    type: Literal["adjust"]
    points: SignedPoints
    reason: Text
    actor: Id


class ConvertPoints(_Command):
    """The member turns points of one wallet into points of another, at the program's rate (B05)."""

    type: Literal["convert_points"]
    wallet: Name
    """Which are given up; `main` is the wallet that can be redeemed."""
    into: Name
    """The wallet that gets them."""
    points: PositivePoints
    """To be given up: a whole multiple of what the program converts at a time."""


class Approve(_Command):
    """The second pair of eyes on an adjustment."""

    type: Literal["approve"]
    adjustment: Id
    """`command_id` of the adjustment that waits."""
    actor: Id
    accept: bool = True
    """False: the adjustment is dropped."""


class Review(_Command):
    """The decision on points held for fraud (F09): pay them out or take them."""

    type: Literal["review"]
    hold: Id
    """The check whose points are held."""
    verdict: Literal["release", "confiscate"]
    """Pay the points out, or take them."""
    actor: Id
    reason: Text


class SetTier(_Command):
    """A tier by hand, or a status match (C07). Not lowered before `until`."""

    type: Literal["set_tier"]
    tier: Name
    until: Instant | None = None
    actor: Id
    reason: Text


class Claim(_Command):
    """A receipt that was paid without a card, claimed with what is printed on it (A10)."""

    type: Literal["claim"]
    check_id: Id
    total_minor: Minor
    business_date: Day


class OfferResponse(_Command):
    """The member accepts or rejects an offer. The first answer stands; another one is refused."""

    type: Literal["offer_response"]
    offer: Id
    """The offer, as the system that made it calls it."""
    result: Literal["accepted", "rejected"]
    """What the member decided."""


AnyMemberCommand = (
    OptIn
    | UpdateContact
    | OptOut
    | LinkIdentifier
    | BlockIdentifier
    | ReplaceCard
    | Erase
    | Adjust
    | ConvertPoints
    | Approve
    | Review
    | SetTier
    | Claim
    | OfferResponse
)
MemberCommand = Annotated[AnyMemberCommand, Field(discriminator="type")]


class Member(Model):
    """`loy.members`: current contact data and consent; a tombstone erases."""

    loyalty_id: LoyaltyId
    contact: Contact
    updated_at: Instant


class Identity(Model):
    """`loy.identities`: which account an identifier opens. The key is the keyed hash of the identifier."""

    loyalty_id: LoyaltyId
    program: Name
    kind: Literal["card", "phone", "email", "app", "loyalty"]
    """What the till reads."""
    blocked: bool = False
    """A lost card: it opens nothing any more."""
