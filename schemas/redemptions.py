"""`pos.redemptions`: two-phase redemption, as in a payment authorisation (A03): reserve, then confirm or cancel."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, model_validator

from schemas.base import Id, Identifier, Instant, Model, Name, PositivePoints


class _Request(Model):
    request_id: Id
    """Made and stored by the till before it sends; a resend has the same id."""
    outlet: Id
    till: Id
    at: Instant
    member: Identifier
    offline: bool = False
    """The till asks after the fact. Points are never redeemed offline."""


class Reserve(_Request):
    """Set points aside. Exactly one of `points` and `reward`."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {"required": ["points"], "properties": {"points": {"type": "integer"}}},
                {"required": ["reward"], "properties": {"reward": {"type": "string"}}},
            ]
        }
    )

    type: Literal["reserve"]
    reservation: Id
    points: PositivePoints | None = None
    reward: Name | None = None

    @model_validator(mode="after")
    def _points_or_reward(self) -> "Reserve":
        if (self.points is None) == (self.reward is None):
            raise ValueError("exactly one of points and reward")
        return self


class Confirm(_Request):
    """Use what was reserved, or less: the rest is freed."""

    type: Literal["confirm"]
    reservation: Id
    points: PositivePoints | None = None
    """None: all that was reserved."""
    check_id: Id | None = None
    """The receipt it pays for, so that a return of that receipt gives the points back."""


class Cancel(_Request):
    """Free what was reserved."""

    type: Literal["cancel"]
    reservation: Id


RedemptionRequest = Annotated[Reserve | Confirm | Cancel, Field(discriminator="type")]
AnyRedemption = Reserve | Confirm | Cancel
