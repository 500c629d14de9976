"""Settings: the environment read once, every mistake named by its variable."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from streams.settings import Settings, SettingsError


def test_without_an_environment_everything_suits_one_laptop():
    settings = Settings.load({})
    assert (settings.kafka_bootstrap, settings.partitions, settings.store, settings.clock) == (
        "127.0.0.1:9092",
        12,
        "rocksdb",
        "wall",
    )


def test_each_field_is_a_variable_and_its_text_becomes_the_type():
    settings = Settings.load({"LOY_PARTITIONS": "4", "LOY_DATA": "/srv/w1", "LOY_SESSION_SECONDS": "6", "LOY_STORE": "memory"})
    assert (settings.partitions, settings.data, settings.session_seconds, settings.store) == (4, Path("/srv/w1"), 6.0, "memory")


def test_what_is_given_outright_goes_over_the_environment_and_none_does_not():
    environment = {"LOY_PARTITIONS": "4", "LOY_GROUP": "a"}
    settings = Settings.load(environment, partitions=7, group=None)
    assert (settings.partitions, settings.group) == (7, "a")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PARTITIONS", "0"),
        ("PARTITIONS", "many"),
        ("STORE", "disk"),
        ("CLOCK", "sun"),
        ("REGION", "usa"),
        ("METRICS_PORT", "70000"),
    ],
)
def test_a_value_that_cannot_be_names_its_variable(variable, value):
    with pytest.raises(SettingsError, match=f"^LOY_{variable}: "):
        Settings.load({f"LOY_{variable}": value})


def test_all_mistakes_are_told_at_once():
    with pytest.raises(SettingsError) as told:
        Settings.load({"LOY_PARTITIONS": "x", "LOY_STORE": "y"})
    assert len(str(told.value).splitlines()) == 2


def test_the_secret_is_never_printed_and_nothing_can_be_changed():
    settings = Settings.load({"LOY_IDENTITY_KEY": "very-secret"})
    assert "very-secret" not in f"{settings!r} {settings} {settings.model_dump()}"
    with pytest.raises(ValidationError):
        settings.group = "other"


def test_a_mistake_does_not_print_the_secret():
    with pytest.raises(SettingsError) as told:
        Settings.load({"LOY_IDENTITY_KEY": "very-secret", "LOY_PARTITIONS": "x"})
    assert "very-secret" not in str(told.value)
