"""The page of the CRM sink tells every setting, with its default, and what the shipped mappings really name."""

import re
from pathlib import Path

import pytest

from connectors.configuration import MAPPINGS
from connectors.courier import AT_ONCE
from connectors.crm import ADAPTERS, CrmMapping
from connectors.crm.dataverse import DataverseConfig
from connectors.crm.oracle import OracleConfig
from connectors.crm.salesforce import SalesforceConfig
from connectors.crm.tryton import TrytonConfig
from connectors.mapping import load_mapping
from tests.connectors.crm_flows import ENVIRONMENTS

PAGE = Path("docs/sinks/crm.md").read_text()
CONFIGS = [DataverseConfig, SalesforceConfig, OracleConfig, TrytonConfig]


def test_every_setting_is_told_and_no_other():
    known = {f"LOY_CRM_{name.upper()}" for config in CONFIGS for name in config.model_fields} | {"LOY_CRM_ADAPTER"}
    assert set(re.findall(r"LOY_CRM_[A-Z_]+", PAGE)) == known


def test_every_adapter_is_told():
    row = next(line for line in PAGE.splitlines() if line.startswith("| `LOY_CRM_ADAPTER`"))
    assert set(re.findall(r"`([a-z]+)`", row)) == set(ADAPTERS)


def test_the_defaults_that_are_told_are_those_of_the_code():
    batches = {config: config.model_fields["batch"].default for config in CONFIGS}
    rates = [config.model_fields["rate"].default for config in CONFIGS]
    told = {DataverseConfig: 25, OracleConfig: 25, SalesforceConfig: 200, TrytonConfig: 20}
    assert batches == told
    assert "25 (Dataverse, Oracle), 200 (Salesforce), 20 (Tryton)" in PAGE
    assert f"{', '.join(f'{rate:g}' for rate in rates)} |" in PAGE
    assert f"({SalesforceConfig.model_fields['limit_wait'].default:g})" in PAGE
    assert AT_ONCE == 8
    assert "Up to eight requests" in PAGE


@pytest.mark.parametrize("adapter", ENVIRONMENTS)
def test_keys_and_the_column_of_the_version_are_told(adapter):
    mapping = load_mapping(MAPPINGS / f"{adapter}.yaml", CrmMapping)
    for name in (mapping.member.key, mapping.member.version, mapping.interaction.member.partition(".")[0]):
        assert name in PAGE
