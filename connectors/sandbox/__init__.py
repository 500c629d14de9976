"""The vendors' APIs on loopback, for `loy up`, demonstrations and tests: strict as the vendors, with faults on demand."""

import asyncio
from collections.abc import Callable

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


def build(name: str, clock: Clock = "wall") -> Sandbox:
    """The sandbox of that name. Raises KeyError."""
    return SANDBOXES[name](clock)


async def serve(name: str, port: int = 0, clock: Clock = "wall", ready: Callable[[str], None] = print) -> None:
    """Serve a sandbox on loopback until cancelled; `ready` is told its base URL. Raises KeyError, OSError."""
    async with running(build(name, clock), port) as url:
        ready(url)
        await asyncio.Event().wait()


__all__ = ["SANDBOXES", "Clock", "Sandbox", "build", "running", "serve"]
