"""Settings of the Infobip sink."""

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, Json

from connectors.configuration import Configuration, Secret


def _https(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme != "https" and parts.hostname not in ("127.0.0.1", "localhost", "::1"):
        raise ValueError("Infobip answers by https only")
    return url


class Config(Configuration):
    """Settings of the Infobip sink: LOY_INFOBIP_*."""

    base_url: Annotated[str, AfterValidator(_https)]
    """The account's own, as the portal shows it."""
    api_key: Secret
    """Scopes people:manage, and flow:manage when `flows` is used."""
    prefix: Annotated[str, Field(max_length=64, pattern=r"^[^{}\[\]]*$")] = "loyalty_"
    """Before the name of each custom attribute."""
    tag: Annotated[str, Field(max_length=256)] = "Loyalty"
    """Carried by members while they are in the program; empty: no tag."""
    identify_by: Literal["EXTERNAL_ID", "EMAIL", "PHONE"] = "EXTERNAL_ID"
    """EXTERNAL_ID is the loyalty id. The others when externalId belongs to another system."""
    null_mode: Literal["clear", "omit"] = "clear"
    """Custom attributes that have no value any more: null (numbers 0), or left as they are."""
    provision: Literal["create", "verify", "off"] = "create"
    rps: Annotated[float, Field(gt=0, le=1000)] = 4
    """Requests a second for each operation that Infobip limits to 5; the others keep their proportion."""
    untag_on_opt_out: bool = True
    replace_contacts: bool = False
    """A changed address replaces all addresses of the person, instead of being added to them."""
    event_max_age_days: Annotated[float, Field(ge=0)] = 30
    """Older events are rejected here, as they would be there. 0 leaves it to Infobip."""
    single_event_max_age_s: Annotated[float, Field(ge=0)] = 0
    """A few events at most so old go one by one (250/s), stamped with their arrival. 0: always in batches, with their time."""
    erase: Literal["attributes", "person"] = "attributes"
    """What the right to be forgotten removes: what the sink wrote but e-mail and phone, or the person with what others wrote."""
    flows: Annotated[Json[dict[str, str]], Field(default_factory=dict)]
    """JSON: by LOY_ event the campaignId of a Moments flow to be entered directly, besides the event."""
    flow_retry_on_unknown: bool = False
    """Enter a flow again when the answer was lost, at the risk of entering twice."""
