"""The vendors' APIs on loopback, for `loy up`, demonstrations and tests: strict as the vendors, with faults on demand."""

import asyncio
from collections.abc import Callable

from connectors.sandbox import dataverse, oracle, salesforce, webhook
from connectors.sandbox.base import Clock, Sandbox, running
from connectors.sandbox.dataverse import DataverseSandbox
from connectors.sandbox.infobip import InfobipSandbox
from connectors.sandbox.ometria import OmetriaSandbox
from connectors.sandbox.oracle import OracleSandbox
from connectors.sandbox.salesforce import SalesforceSandbox
from connectors.sandbox.webhook import WebhookSandbox

SANDBOXES: dict[str, type[Sandbox]] = {
    "dataverse": DataverseSandbox,
    "infobip": InfobipSandbox,
    "oracle": OracleSandbox,
    "salesforce": SalesforceSandbox,
    "ometria": OmetriaSandbox,
    "webhook": WebhookSandbox,
}
"""By name: one line each."""


def sandbox_settings(name: str, url: str) -> dict[str, str]:
    """The variables under which a sink talks to the sandbox of that name at `url`. Raises KeyError."""
    return {variable: value.format(url=url) for variable, value in _SETTINGS[name].items()}


_SETTINGS: dict[str, dict[str, str]] = {
    "infobip": {"LOY_INFOBIP_BASE_URL": "{url}", "LOY_INFOBIP_API_KEY": "key", "LOY_INFOBIP_EVENT_MAX_AGE_DAYS": "0"},
    "ometria": {
        "LOY_OMETRIA_BASE_URL": "{url}",
        "LOY_OMETRIA_API_KEY": "key",
        "LOY_OMETRIA_RPS": "7",
        "LOY_OMETRIA_SEGMENTS": '{{"Gold": 8400, "Silver": 8401}}',
        "LOY_OMETRIA_MEMBER_SEGMENT": "8402",
    },
    "webhook": {"LOY_WEBHOOK_BASE_URL": "{url}/hook", "LOY_WEBHOOK_SECRETS": webhook.SECRET},
    "dataverse": {
        "LOY_CRM_ADAPTER": "dataverse",
        "LOY_CRM_BASE_URL": "{url}",
        "LOY_CRM_AUTHORITY": "{url}",
        "LOY_CRM_TENANT": "tenant",
        "LOY_CRM_CLIENT_ID": "client",
        "LOY_CRM_CLIENT_SECRET": dataverse.SECRET,
    },
    "salesforce": {
        "LOY_CRM_ADAPTER": "salesforce",
        "LOY_CRM_BASE_URL": "{url}",
        "LOY_CRM_CLIENT_ID": "client",
        "LOY_CRM_CLIENT_SECRET": salesforce.SECRET,
    },
    "oracle": {
        "LOY_CRM_ADAPTER": "oracle",
        "LOY_CRM_BASE_URL": "{url}",
        "LOY_CRM_USERNAME": oracle.USER,
        "LOY_CRM_PASSWORD": oracle.PASSWORD,
    },
}


def build(name: str, clock: Clock = "wall") -> Sandbox:
    """The sandbox of that name. Raises KeyError."""
    return SANDBOXES[name](clock)


async def serve(name: str, port: int = 0, clock: Clock = "wall", ready: Callable[[str], None] = print) -> None:
    """Serve a sandbox on loopback until cancelled; `ready` is told its base URL. Raises KeyError, OSError."""
    async with running(build(name, clock), port) as url:
        ready(url)
        await asyncio.Event().wait()


__all__ = ["SANDBOXES", "Clock", "Sandbox", "build", "running", "sandbox_settings", "serve"]
