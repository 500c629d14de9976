"""What every model of the contract shares: strictness and the few primitive types.

Law: unknown fields are refused, nothing is coerced, money is an integer of minor units, and an instant carries its offset.
"""

from dataclasses import dataclass
from datetime import date, time
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from schemas.currencies import CURRENCIES

# Largest figures a field may hold: far above any real receipt, far below what a 64-bit store could overflow.
MINOR_MAX = 10**11
POINTS_MAX = 10**12
ID_MAX = 100  # characters


class Model(BaseModel):
    """A frozen record of the contract. Raises `pydantic.ValidationError` on anything the JSON Schema refuses."""

    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, use_attribute_docstrings=True, ser_json_timedelta="iso8601"
    )


def _known_currency(code: str) -> str:
    if code not in CURRENCIES:
        raise ValueError(f"unknown currency {code!r}: not in ISO 4217")
    return code


@dataclass(frozen=True, slots=True)
class _Written:
    """How a date or time is written in JSON. By itself pydantic also takes Unix seconds, a blank for `T` and half an offset."""

    form: str
    pattern: str
    format: str | None = None

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        value = handler(source)
        lax: Any = {**value, "strict": False}  # the text was judged by the pattern
        text = core_schema.chain_schema([core_schema.str_schema(pattern=self.pattern), lax])
        refused = core_schema.custom_error_schema(text, "badly_written", custom_error_message=f"Input should be {self.form}")
        return core_schema.json_or_python_schema(refused, value)

    def __get_pydantic_json_schema__(self, _schema: CoreSchema, _handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        form = {"format": self.format} if self.format else {}
        return {"type": "string", **form, "pattern": self.pattern, "description": self.form}


# Digits are spelt [0-9]: \d means every script's digits to some validators. Control characters are refused wherever text is free.
_DATE = r"-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
_TIME = r"([01][0-9]|2[0-3]):[0-5][0-9]"
_INSTANT = rf"^(19[7-9][0-9]|[2-8][0-9]{{3}}){_DATE}[Tt]{_TIME}:[0-5][0-9](\.[0-9]{{1,9}})?([Zz]|[+-]{_TIME})$"
PRINTABLE = r"^[^\x00-\x1f\x7f]*$"

Instant = Annotated[AwareDatetime, _Written("an RFC 3339 date-time with offset, from 1970 on", _INSTANT, "date-time")]
Day = Annotated[date, _Written("a date as YYYY-MM-DD, from 1900 on", rf"^(19|[2-8][0-9])[0-9]{{2}}{_DATE}$", "date")]
LocalTime = Annotated[time, _Written("a time of day as HH:MM or HH:MM:SS, without offset", rf"^{_TIME}(:[0-5][0-9])?$")]
Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$", description="ISO 4217 code"), AfterValidator(_known_currency)]
Minor = Annotated[int, Field(ge=0, le=MINOR_MAX, description="minor units of the currency, e.g. cents")]
SignedPoints = Annotated[int, Field(ge=-POINTS_MAX, le=POINTS_MAX, description="points, with sign")]
Points = Annotated[int, Field(ge=0, le=POINTS_MAX, description="points")]
PositivePoints = Annotated[int, Field(ge=1, le=POINTS_MAX, description="points, at least one")]

# Names and ids: printable, without blanks at the ends, short enough for a receipt and a key.
Id = Annotated[
    str,
    Field(
        min_length=1, max_length=ID_MAX, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@/+-]*$", description="an id, as its owner made it"
    ),
]
LoyaltyId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$", description="the member's id, never personal")]
Name = Annotated[
    str, Field(min_length=1, max_length=60, pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", description="a name that the program defines")
]
Category = Annotated[
    str, Field(min_length=1, max_length=200, pattern=PRINTABLE, description="path from the root, e.g. food/dairy/milk")
]
Text = Annotated[str, Field(min_length=1, max_length=500, pattern=PRINTABLE, description="words for people, on one line")]

IdentifierKind = Literal["card", "phone", "email", "app", "loyalty"]
Identifier = Annotated[
    str,
    Field(
        pattern=r"^(card|phone|email|app|loyalty):[^\x00-\x1f\x7f]{1,200}$",
        description="kind:value as the till read it, e.g. card:4012888888881881, phone:+15550100, loyalty:H-1",
    ),
]
MonthDay = Annotated[
    str,
    Field(
        pattern=r"^((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|[12][0-9]))$",
        description="a day of the year as MM-DD",
    ),
]
Channel = Literal["store", "web", "app", "phone"]
