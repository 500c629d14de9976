"""What every model of the contract shares: strictness and the few primitive types.

Law: unknown fields are refused, nothing is coerced, money is an integer of minor units, and an instant carries its offset.
"""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from schemas.currencies import CURRENCIES

# Largest figures a field may hold: far above any real receipt, far below what a 64-bit store could overflow.
MINOR_MAX = 10**11
POINTS_MAX = 10**12


class Model(BaseModel):
    """A frozen record of the contract. Raises `pydantic.ValidationError` on anything the JSON Schema refuses."""

    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, use_attribute_docstrings=True, ser_json_timedelta="iso8601"
    )


def _known_currency(code: str) -> str:
    if code not in CURRENCIES:
        raise ValueError(f"unknown currency {code!r}: not in ISO 4217")
    return code


def _within_calendar(instant: datetime) -> datetime:
    if not 1970 <= instant.year <= 9000:
        raise ValueError("year must be between 1970 and 9000")
    return instant


Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$", description="ISO 4217 code"), AfterValidator(_known_currency)]
Minor = Annotated[int, Field(ge=0, le=MINOR_MAX, description="minor units of the currency, e.g. cents")]
SignedPoints = Annotated[int, Field(ge=-POINTS_MAX, le=POINTS_MAX, description="points, with sign")]
Points = Annotated[int, Field(ge=0, le=POINTS_MAX, description="points")]
PositivePoints = Annotated[int, Field(ge=1, le=POINTS_MAX, description="points, at least one")]
Instant = Annotated[AwareDatetime, Field(description="RFC 3339 with offset"), AfterValidator(_within_calendar)]

# Names and ids: printable, without blanks at the ends, short enough for a receipt and a key.
Id = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@/+-]*$")]
LoyaltyId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$", description="the member's id, never personal")]
Name = Annotated[str, Field(min_length=1, max_length=60, pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]
Category = Annotated[str, Field(min_length=1, max_length=200, description="path from the root, e.g. food/dairy/milk")]
Text = Annotated[str, Field(min_length=1, max_length=500)]

IdentifierKind = Literal["card", "phone", "email", "app", "loyalty"]
Identifier = Annotated[
    str,
    Field(
        pattern=r"^(card|phone|email|app|loyalty):.{1,200}$",
        description="kind:value as the till read it, e.g. card:4012888888881881, phone:+15550100, loyalty:H-1",
    ),
]
MonthDay = Annotated[str, Field(pattern=r"^(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])$", description="MM-DD, no year")]
Channel = Literal["store", "web", "app", "phone"]
