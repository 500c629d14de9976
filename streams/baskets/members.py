"""The households as members. Everything about them but their number is made up, and can be nobody's."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import cache

import polars as pl

from schemas.codec import encode
from schemas.members import Contact, OptIn
from schemas.topics import MEMBER_COMMANDS
from streams.baskets.data import Arrival, pick, transactions
from streams.domain.identifiers import luhn_digit

JOINED = datetime(2016, 12, 31, 17, tzinfo=UTC)

# Area codes in use: with 555-0100 to -0199, which the numbering plan keeps for fiction, they make 2,500 numbers.
_AREAS = "201 202 203 205 206 207 208 209 210 212 213 214 215 216 217 218 219 224 225 228 229 231 234 239 240"
_FIRST = "Ada Ben Cleo Dan Edie Finn Gwen Hugo Ines Jack Kira Liam Maya Nils Olga Paul Quin Rosa Seth Tess Umar Vera Will Zoe"
_LAST = "Anise Barley Caraway Dill Endive Fennel Ginger Hazel Juniper Kale Lovage Mace Nutmeg Oat Paprika Rye Sorrel Thyme"


def households(program: str = "main") -> Iterator[OptIn]:
    """Every household as a member `H-<household>` who joined the day before the data begins: a card, and for some more."""
    for row in identifiers_read().iter_rows(named=True):
        yield _opt_in(row["household_id"], row["card"], row["phone"], program)


def enrolments(program: str = "main") -> Iterator[Arrival]:
    """`households` as records of `crm.members`."""
    at_ms = int(JOINED.timestamp() * 1000)
    for household in households(program):
        yield Arrival(at_ms, MEMBER_COMMANDS.name, household.loyalty_id.encode(), encode(household))


def identifiers(program: str = "main") -> int:
    """How many identifiers the households register together."""
    return sum(len(household.identifiers) for household in households(program))


def _opt_in(household: int, card: str, phone: str | None, program: str) -> OptIn:
    email = f"h{household}@example.com"
    known = [card, phone, f"email:{email}" if pick(household, "email", 10) < 4 else None]
    contact = Contact(
        first_name=_one_of(_FIRST, household),
        last_name=_one_of(_LAST, household),
        email=email,
        phone=phone and phone.removeprefix("phone:"),
        zip_code=f"{1 + household % 500:05}",  # the lowest that is in use is 00501
        birthday=date(1940, 1, 1) + timedelta(days=pick(household, "birthday", 365 * 60)),
        marketing_consent=pick(household, "consent", 10) < 6,
    )
    name = f"H-{household}"
    return OptIn(
        type="opt_in",
        command_id=f"optin-{name}",
        loyalty_id=name,
        at=JOINED,
        program=program,
        identifiers=tuple(one for one in known if one),
        contact=contact,
    )


def _one_of(words: str, household: int) -> str:
    names = words.split()
    return names[pick(household, names[0], len(names))]


@cache
def identifiers_read() -> pl.DataFrame:
    """household_id, card, phone (null for half of them)."""
    numbers = transactions().select(pl.col("household_id").unique().sort()).collect().to_series().to_list()
    return pl.DataFrame({"household_id": numbers, "card": map(_card, numbers), "phone": map(_phone, numbers)}, strict=False)


def _card(household: int) -> str:
    """ISO/IEC 7812: 9 and the country's number 840, a range for national use; no bank issues it."""
    digits = f"9840{household:011}"
    return f"card:{digits}{luhn_digit(digits)}"


def _phone(household: int) -> str | None:
    if pick(household, "phone", 2):
        return None
    return f"phone:+1{_AREAS.split()[household // 100 % 25]}55501{household % 100:02}"
