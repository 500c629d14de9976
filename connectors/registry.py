"""The list of sinks: one line each."""

import os
from collections.abc import Callable, Mapping

from connectors import crm
from connectors.infobip import Infobip
from connectors.ometria import Ometria
from connectors.sink import Sink
from connectors.webhook import Webhook

Factory = Callable[[Mapping[str, str]], Sink]
SINKS: dict[str, Factory] = {
    "crm": crm.load,
    "infobip": Infobip.load,
    "ometria": Ometria.load,
    "webhook": Webhook.load,
}
"""By name: a sink built from the environment. Raises ConfigurationError or MappingError."""


def build(name: str, environment: Mapping[str, str] = os.environ) -> Sink:
    """The sink of that name. Raises KeyError, ConfigurationError, MappingError."""
    return SINKS[name](environment)
