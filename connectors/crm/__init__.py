"""CRM systems: one sink, an adapter for each system. `sink.py` says what goes first, `port.py` what an adapter promises."""

import os
from collections.abc import Callable, Mapping

from connectors.configuration import MAPPINGS, Configuration, ConfigurationError
from connectors.crm.dataverse import Dataverse, DataverseConfig
from connectors.crm.mapping import CrmMapping
from connectors.crm.oracle import Oracle, OracleConfig
from connectors.crm.port import Adapter, interaction_key
from connectors.crm.salesforce import Salesforce, SalesforceConfig
from connectors.crm.sink import Crm
from connectors.crm.tryton import Tryton, TrytonConfig
from connectors.crm.tryton_party import TrytonMapping
from connectors.mapping import load_mapping


def _dataverse(environment: Mapping[str, str]) -> Crm:
    config = DataverseConfig.load("crm", environment)
    mapping = _mapping("dataverse", config)
    return Crm(Dataverse(config, mapping), mapping)


def _salesforce(environment: Mapping[str, str]) -> Crm:
    config = SalesforceConfig.load("crm", environment)
    mapping = _mapping("salesforce", config)
    return Crm(Salesforce(config, mapping), mapping)


def _oracle(environment: Mapping[str, str]) -> Crm:
    config = OracleConfig.load("crm", environment)
    mapping = _mapping("oracle", config)
    return Crm(Oracle(config, mapping), mapping)


def _tryton(environment: Mapping[str, str]) -> Crm:
    config = TrytonConfig.load("crm", environment)
    mapping = load_mapping(config.mapping or MAPPINGS / "tryton.yaml", TrytonMapping)
    return Crm(Tryton(config, mapping), mapping)


def _mapping(adapter: str, config: Configuration) -> CrmMapping:
    return load_mapping(config.mapping or MAPPINGS / f"{adapter}.yaml", CrmMapping)


ADAPTERS: dict[str, Callable[[Mapping[str, str]], Crm]] = {
    "dataverse": _dataverse,
    "oracle": _oracle,
    "salesforce": _salesforce,
    "tryton": _tryton,
}
"""By the value of LOY_CRM_ADAPTER: one line each."""


def load(environment: Mapping[str, str] = os.environ) -> Crm:
    """The CRM sink with the adapter that LOY_CRM_ADAPTER names. Raises ConfigurationError, MappingError."""
    name = environment.get("LOY_CRM_ADAPTER", "")
    if name not in ADAPTERS:
        raise ConfigurationError(f"LOY_CRM_ADAPTER: {name or 'nothing'} is none of {', '.join(ADAPTERS)}")
    return ADAPTERS[name](environment)


__all__ = ["ADAPTERS", "Adapter", "Crm", "CrmMapping", "interaction_key", "load"]
