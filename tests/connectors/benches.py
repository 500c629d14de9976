"""Every sink, and every adapter of it, with what the conformance suite must know of it. One entry each."""

from connectors import ometria
from connectors.crm import interaction_key
from connectors.infobip import event_id
from connectors.sandbox import dataverse, oracle, salesforce, webhook
from connectors.webhook import message_id
from tests.connectors.ground import Bench

ENTRA = {"authority": "{url}", "tenant": "tenant", "client_id": "client", "client_secret": dataverse.SECRET}


def _identity(happening):
    """A CRM keeps one answer for each member and offer, and each other event by its id."""
    if happening.type == "LOY_OFFER_RESULT":
        return f"{happening.person.loyalty_id}/data.offer/{happening.data['offer']}"
    return happening.event_id


def crm(adapter, **settings):
    """The CRM sink with that adapter, beside its sandbox."""
    return Bench(
        sink="crm",
        sandbox=adapter,
        environment=lambda url: {
            "LOY_CRM_ADAPTER": adapter,
            "LOY_CRM_BASE_URL": url,
            "LOY_CRM_RATE": "1000",
            **{f"LOY_CRM_{name.upper()}": value.format(url=url) for name, value in settings.items()},
        },
        key=lambda _, happening: interaction_key(_identity(happening)),
    )


BENCHES = {
    "dataverse": crm("dataverse", **ENTRA),
    "dataverse-read-first": crm("dataverse", **ENTRA, read_first="true"),
    "salesforce": crm("salesforce", client_id="client", client_secret=salesforce.SECRET),
    "oracle": crm("oracle", username=oracle.USER, password=oracle.PASSWORD),
    "infobip": Bench(
        sink="infobip",
        sandbox="infobip",
        environment=lambda url: {"LOY_INFOBIP_BASE_URL": url, "LOY_INFOBIP_API_KEY": "key", "LOY_INFOBIP_RPS": "1000"},
        key=lambda _, happening: event_id(happening.event_id),
    ),
    "ometria": Bench(
        sink="ometria",
        sandbox="ometria",
        environment=lambda url: {
            "LOY_OMETRIA_BASE_URL": url,
            "LOY_OMETRIA_API_KEY": "key",
            "LOY_OMETRIA_RPS": "1000",
            "LOY_OMETRIA_DATA_RPS": "1000",
            "LOY_OMETRIA_SEGMENTS": '{"Gold": 8400, "Silver": 8401}',
            "LOY_OMETRIA_MEMBER_SEGMENT": "8402",
        },
        key=lambda _, happening: ometria.event_id(happening.event_id),
    ),
    "webhook": Bench(
        sink="webhook",
        sandbox="webhook",
        environment=lambda url: {
            "LOY_WEBHOOK_BASE_URL": f"{url}/hook",
            "LOY_WEBHOOK_SECRETS": webhook.SECRET,
            "LOY_WEBHOOK_RPS": "1000",
        },
        key=lambda _, happening: message_id(happening.event_id),
        readable=False,
    ),
}
