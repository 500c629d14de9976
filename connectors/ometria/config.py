"""Settings of the Ometria sink."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, Json

from connectors.configuration import Configuration, SafeUrl, Secret
from schemas.events import PERSONAL_FIELDS, PROFILE_FIELDS

HOUR = 3600
PROPERTIES_LIMIT = 1000
"""All custom fields of a contact, as compact JSON, must be shorter. Counted in bytes, which is never less than in characters."""


def _root(url: str) -> str:
    """Without the version, which the paths have."""
    return url.rstrip("/").removesuffix("/v2")


def _impersonal(name: str | None) -> str | None:
    """Which fields may be an id: one that the profile has, and that says nothing about the person."""
    if name is not None and (name in PERSONAL_FIELDS or name not in PROFILE_FIELDS):
        raise ValueError(f"{name!r} is no profile field, or a personal one: ids at Ometria may be seen by anybody")
    return name


ListId = Annotated[int, Field(ge=1)]


class Config(Configuration):
    """Settings of the Ometria sink: LOY_OMETRIA_*."""

    base_url: Annotated[SafeUrl, AfterValidator(_root)] = "https://api.ometria.com"
    """Where Ometria answers."""
    api_key: Secret
    """Settings > API keys."""
    collection: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^\S+$")] = "loyalty"
    """The source that the contacts belong to. One of its own, so that what is missing here never overrides the shop's data."""
    prefix: Annotated[str, Field(max_length=32, pattern=r"^[A-Za-z0-9_]*$")] = "loy_"
    """Before the id of each custom field."""
    rps: Annotated[float, Field(gt=0, le=1000)] = 4
    """Pushes a second. Ometria says 8 today and said 4 before."""
    data_rps: Annotated[float, Field(gt=0, le=1000)] = 4
    """Other requests a second."""
    null_mode: Literal["null", "omit"] = "null"
    """Custom fields without a value are sent as null, or not at all. What Ometria makes of null is not published."""
    date_format: Literal["datetime", "date"] = "datetime"
    """Dates of custom fields and events: 2026-03-01T00:00:00Z, or 2026-03-01."""
    properties_as_text: bool = False
    """Custom fields as texts, should Ometria answer "not a valid value" for numbers and booleans."""
    properties_max: Annotated[int, Field(ge=300, lt=PROPERTIES_LIMIT)] = 950
    """Bytes of all custom fields together: more are shortened and dropped, in the mapping's order."""
    customer_id_field: Annotated[str | None, AfterValidator(_impersonal)] = None
    """The profile field that is the shop's own customer id. Profiles merge on it: set only when it is the same everywhere."""
    without_email: Literal["send", "reject"] = "send"
    """Members without an e-mail address: Ometria documents contacts without one, other tools demand one."""
    region: Annotated[str, Field(pattern="^[A-Z]{2}$")] = "US"
    """Reads phone numbers written without a country code. LOY_REGION when not set."""
    segments: Annotated[Json[dict[str, ListId]], Field(default_factory=dict)]
    """JSON: by tier the id of a static segment that holds the tier's members."""
    member_segment: ListId | None = None
    """Id of the static segment that holds all members of the program."""
    late_events: Literal["send", "dead_letter"] = "send"
    """Events that are too old to start an automation: sent and counted, or rejected."""
    late_after_s: Annotated[float, Field(gt=0)] = 4 * HOUR
    spread_s: Annotated[Json[dict[str, Annotated[int, Field(ge=1, le=4 * HOUR)]]], Field(default_factory=dict)]
    """JSON: by LOY_ event the seconds over which events of one moment (birthdays) are spread: 300 for every 1000 members."""
    audit_s: Annotated[float, Field(gt=0)] = 60
    """How often Ometria is asked what it refused after it had accepted it."""
    erase: bool = False
    """Ask Ometria to forget a member who asked for it (POST /v2/data-deletion-requests), besides emptying the contact."""
    erase_body: Annotated[Json[dict[str, Any]], Field(default_factory=lambda: {"email": "{email}"})]
    """JSON: what is asked then, with {email} and {loyalty_id} filled in. The shape that Ometria wants is not published."""
