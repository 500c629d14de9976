"""Every sink, and every adapter of it, with what the conformance suite must know of it. One entry each."""

from connectors.infobip import event_id
from tests.connectors.ground import Bench

BENCHES = {
    "infobip": Bench(
        sink="infobip",
        sandbox="infobip",
        environment=lambda url: {"LOY_INFOBIP_BASE_URL": url, "LOY_INFOBIP_API_KEY": "key", "LOY_INFOBIP_RPS": "1000"},
        key=lambda _, happening: event_id(happening.event_id),
    ),
}
