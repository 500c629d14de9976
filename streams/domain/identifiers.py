"""Five kinds of identifier, one spelling each (A01): however a till reads a phone or a card, it opens the same account.

Law: what is stored and keyed by is the keyed hash, never the identifier itself.
"""

import hashlib
import hmac
import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache

import phonenumbers

from schemas.codes import Code

_BLANKS = re.compile(r"[\s-]+")
_CARD = re.compile(r"[A-Za-z0-9]{4,30}", re.ASCII)
_PAN = re.compile(r"[0-9]{12,19}", re.ASCII)
_EMAIL = re.compile(
    r"[^\s\x00-\x20\x7f@<>()\[\],;:\"\\]{1,64}@(?=.{4,190}$)([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z][a-z0-9-]*[a-z0-9]"
)
_APP = re.compile(r"[A-Za-z0-9._~-]{8,200}", re.ASCII)
_LOYALTY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}", re.ASCII)


class IdentifierError(ValueError):
    """The text cannot be an identifier of its kind. The message never holds the text: it is personal."""

    code = Code.IDENTIFIER_INVALID


@lru_cache(maxsize=65_536)
def normalise(identifier: str, region: str = "US") -> str:
    """`kind:value` in its one spelling. `region` (ISO 3166) reads phone numbers without a country code.

    Raises IdentifierError (IDENTIFIER_INVALID).
    """
    kind, _, value = identifier.partition(":")
    if kind == "phone":
        return f"phone:{_phone(value, region)}"
    rule = _KINDS.get(kind)
    if rule is None:
        raise IdentifierError("an identifier begins with card: phone: email: app: or loyalty:")
    return f"{kind}:{rule(value)}"


@lru_cache(maxsize=65_536)
def identity_key(normalised: str, secret: bytes) -> str:
    """The keyed hash (HMAC-SHA-256, 128 bits in hex) that stands for a normalised identifier outside intake."""
    return hmac.new(secret, normalised.encode(), hashlib.sha256).hexdigest()[:32]


def luhn_digit(digits: str) -> str:
    """The check digit to append to `digits` (ISO/IEC 7812-1 annex B)."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        doubled = int(digit) * (2 if place % 2 == 0 else 1)
        total += doubled // 10 + doubled % 10
    return str(-total % 10)


def _card(value: str) -> str:
    """Blanks and dashes are the printer's; 12 to 19 digits are a payment-like number and must pass Luhn."""
    card = _BLANKS.sub("", value)
    if not _CARD.fullmatch(card):
        raise IdentifierError("a card has 4 to 30 letters and digits")
    if _PAN.fullmatch(card) and luhn_digit(card[:-1]) != card[-1]:
        raise IdentifierError("the card's check digit is wrong")
    return card.upper()


def _phone(value: str, region: str) -> str:
    """E.164, see ITU-T E.164 and the `phonenumbers` library. An extension is not part of who it is."""
    number = _e164(value, region)
    # A few oddities (0000 in Germany) are written one way and read another: they are nobody's number.
    if _e164(number, region) != number:
        raise IdentifierError("this is not a phone number")
    return number


def _e164(value: str, region: str) -> str:
    try:
        number = phonenumbers.parse(value, region)
    except phonenumbers.NumberParseException:
        raise IdentifierError("this is not a phone number") from None
    if not phonenumbers.is_possible_number(number):
        raise IdentifierError("the phone number is too long or too short")
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def _email(value: str) -> str:
    """Trimmed and in lower case as a whole: nobody owns two addresses that differ in case alone."""
    email = unicodedata.normalize("NFC", value.strip().lower())
    if not _EMAIL.fullmatch(email):
        raise IdentifierError("this is not an e-mail address")
    return email


def _matching(pattern: re.Pattern[str], message: str) -> Callable[[str], str]:
    def rule(value: str) -> str:
        if not pattern.fullmatch(value):
            raise IdentifierError(message)
        return value

    return rule


_KINDS: dict[str, Callable[[str], str]] = {
    "card": _card,
    "email": _email,
    "app": _matching(_APP, "an app token has 8 to 200 letters, digits and . _ ~ -"),
    "loyalty": _matching(_LOYALTY, "a loyalty id has up to 40 letters, digits, _ and -"),
}
