"""Every stable code the system answers with: why something was refused, parked, held or kept as a dead letter.

Law: a code is contract. It is never renamed or given a second meaning; `docs/codes.md` is printed from this table.
"""

from enum import StrEnum
from typing import Self


class Code(StrEnum):
    """A stable answer code. The value is what travels; the text behind it is for people."""

    def __new__(cls, value: str, meaning: str) -> Self:
        member = str.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member

    meaning: str

    OK = "OK", "done as asked"
    ANONYMOUS = "ANONYMOUS", "accepted without a member; it can be claimed later"

    # The record itself (dead letters).
    NULL_VALUE = "NULL_VALUE", "the record has no value"
    TOO_LARGE = "TOO_LARGE", "the record is larger than a check may be"
    NOT_JSON = "NOT_JSON", "the value is not JSON in UTF-8"
    SCHEMA = "SCHEMA", "the value does not match the JSON Schema of its topic"
    UNKNOWN_CURRENCY = "UNKNOWN_CURRENCY", "the currency is not in ISO 4217"
    NEGATIVE_QUANTITY = "NEGATIVE_QUANTITY", "a quantity is below zero; a return is a check of its own kind"
    WRONG_KEY = "WRONG_KEY", "the record's key does not name what its value names"
    TOTAL_MISMATCH = "TOTAL_MISMATCH", "the tenders do not add up to the lines"
    DISCOUNT_EXCEEDS_AMOUNT = "DISCOUNT_EXCEEDS_AMOUNT", "a line is discounted by more than it costs"
    DUPLICATE_LINE = "DUPLICATE_LINE", "two lines of one check have the same number"
    TIME_IN_FUTURE = "TIME_IN_FUTURE", "the purchase time lies in the future"
    UNKNOWN_OUTLET = "UNKNOWN_OUTLET", "the program takes checks of listed outlets only"
    CURRENCY_NOT_IN_PROGRAM = "CURRENCY_NOT_IN_PROGRAM", "the program counts another currency"
    NO_PROGRAM = "NO_PROGRAM", "no program version is in force at that time"

    # Who it is.
    IDENTIFIER_INVALID = "IDENTIFIER_INVALID", "the identifier cannot be a card, phone, e-mail, app token or loyalty id"
    IDENTIFIER_UNKNOWN = "IDENTIFIER_UNKNOWN", "no member has this identifier"
    IDENTIFIER_BLOCKED = "IDENTIFIER_BLOCKED", "this card or token is blocked"
    IDENTIFIER_TAKEN = "IDENTIFIER_TAKEN", "another member has this identifier"
    MEMBER_UNKNOWN = "MEMBER_UNKNOWN", "there is no such member"
    MEMBER_OPTED_OUT = "MEMBER_OPTED_OUT", "the member has left the program"
    ALREADY_MEMBER = "ALREADY_MEMBER", "the member is in the program already"

    # Checks.
    ID_REUSED = "ID_REUSED", "the same id came before with another content"
    BEYOND_HORIZON = "BEYOND_HORIZON", "older than repeats are remembered; kept for review, never guessed"
    SALE_AWAITED = "SALE_AWAITED", "the return or void came before its sale and waits for it"
    SALE_NEVER_CAME = "SALE_NEVER_CAME", "the sale of this return did not come in time; kept for review"
    SALE_VOIDED = "SALE_VOIDED", "the sale was voided before"
    RETURN_EXCEEDS_SALE = "RETURN_EXCEEDS_SALE", "more is returned than was bought"
    RETURN_OF_RETURN = "RETURN_OF_RETURN", "the check referred to is not a sale"
    CASHIER_OWN_CARD = "CASHIER_OWN_CARD", "the cashier's own card earns nothing at the cashier's till"
    RECEIPT_MISMATCH = "RECEIPT_MISMATCH", "total or date do not match the receipt"
    RECEIPT_UNKNOWN = "RECEIPT_UNKNOWN", "there is no such receipt without a member"
    RECEIPT_CLAIMED = "RECEIPT_CLAIMED", "the receipt was claimed before"
    RECEIPT_RETURNED = "RECEIPT_RETURNED", "the receipt was used in a return"
    CLAIM_TOO_LATE = "CLAIM_TOO_LATE", "the receipt is too old to be claimed"
    CLAIM_LIMIT = "CLAIM_LIMIT", "too many claims in one day; kept for review"

    # Redemptions.
    INSUFFICIENT_POINTS = "INSUFFICIENT_POINTS", "fewer points are available"
    BELOW_MINIMUM = "BELOW_MINIMUM", "fewer points than the program lets redeem at once"
    REWARD_UNKNOWN = "REWARD_UNKNOWN", "the program has no such reward"
    RESERVATION_UNKNOWN = "RESERVATION_UNKNOWN", "there is no such reservation"
    RESERVATION_CONFIRMED = "RESERVATION_CONFIRMED", "the reservation was confirmed before"
    RESERVATION_CANCELLED = "RESERVATION_CANCELLED", "the reservation was cancelled before"
    RESERVATION_EXPIRED = "RESERVATION_EXPIRED", "the reservation ran out before"
    CONFIRM_EXCEEDS_RESERVED = "CONFIRM_EXCEEDS_RESERVED", "more is confirmed than was reserved"
    OFFLINE_REDEMPTION = "OFFLINE_REDEMPTION", "points cannot be redeemed while the till is offline"
    FRAUD_REVIEW = "FRAUD_REVIEW", "held for review"

    # Sinks.
    VENDOR_REJECTED = "VENDOR_REJECTED", "the vendor will not take it; the reason holds the vendor's words"

    # Wallets.
    CONVERSION_UNKNOWN = "CONVERSION_UNKNOWN", "the program does not convert points of that wallet into those"
    CONVERSION_UNEVEN = "CONVERSION_UNEVEN", "only whole multiples of what the program converts at a time"

    # Service desk.
    REASON_MISSING = "REASON_MISSING", "an adjustment needs a reason"
    APPROVAL_NEEDED = "APPROVAL_NEEDED", "over the limit: a second person must approve"
    SELF_APPROVAL = "SELF_APPROVAL", "nobody approves an adjustment of his own"
    HOLD_UNKNOWN = "HOLD_UNKNOWN", "there is no such hold to review"
    TIER_UNKNOWN = "TIER_UNKNOWN", "the program has no such tier"
    OFFER_ANSWERED = "OFFER_ANSWERED", "the member has answered this offer before; the first answer stands"
    NOT_APPROVABLE = "NOT_APPROVABLE", "there is no such adjustment waiting for approval"
