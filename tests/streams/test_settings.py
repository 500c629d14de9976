"""Settings: the environment read once, every mistake named by its variable."""

import ssl
from pathlib import Path

import pytest
from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth
from pydantic import ValidationError

from streams.runtime.application import _credentials
from streams.settings import Access, Settings, SettingsError


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


# ---------------------------------------------------------------- being let into Kafka


SASL = {
    "LOY_KAFKA_PROTOCOL": "SASL_PLAINTEXT",
    "LOY_KAFKA_USERNAME": "$ConnectionString",
    "LOY_KAFKA_PASSWORD": "Endpoint=sb://x/",
}


def test_a_laptop_asks_nobody_for_a_password():
    assert Access.load({}).client() == {"security_protocol": "PLAINTEXT"}


def test_a_user_reaches_the_clients_of_kafka_and_of_faust():
    client = Access.load(SASL | {"LOY_KAFKA_MECHANISM": "PLAIN"}).client()
    assert client == {
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": "PLAIN",
        "sasl_plain_username": "$ConnectionString",
        "sasl_plain_password": "Endpoint=sb://x/",
    }
    credentials = _credentials(client)
    assert credentials_to_aiokafka_auth(credentials) == client | {"ssl_context": None}


def test_tls_checks_the_brokers_certificate_and_name():
    client = Access.load(SASL | {"LOY_KAFKA_PROTOCOL": "SASL_SSL"}).client()
    assert (client["ssl_context"].check_hostname, client["ssl_context"].verify_mode) == (True, ssl.CERT_REQUIRED)
    assert credentials_to_aiokafka_auth(_credentials(client)) == client
    alone = Access.load({"LOY_KAFKA_PROTOCOL": "SSL"}).client()
    assert credentials_to_aiokafka_auth(_credentials(alone)) == alone


def test_a_secret_may_lie_in_a_file_and_is_never_printed(tmp_path):
    (tmp_path / "password").write_text("sesame\n")
    given = {name: value for name, value in SASL.items() if not name.endswith("PASSWORD")}
    access = Access.load(given | {"LOY_KAFKA_PASSWORD_FILE": str(tmp_path / "password")})
    assert access.client()["sasl_plain_password"] == (tmp_path / "password").read_text().rstrip()
    assert "sesame" not in repr(access)
    (tmp_path / "key").write_text("a key of the installation")
    settings = Settings.load({"LOY_IDENTITY_KEY_FILE": str(tmp_path / "key")})
    assert settings.identity_key.get_secret_value() == "a key of the installation"
    with pytest.raises(SettingsError, match=r"LOY_IDENTITY_KEY_FILE: .* cannot be read"):
        Settings.load({"LOY_IDENTITY_KEY_FILE": str(tmp_path / "nothing")})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"LOY_KAFKA_PROTOCOL": "SASL_SSL"}, "SASL_SSL needs LOY_KAFKA_USERNAME and LOY_KAFKA_PASSWORD"),
        ({"LOY_KAFKA_USERNAME": "loy", "LOY_KAFKA_PASSWORD": "x"}, "PLAINTEXT asks for none"),
        ({"LOY_KAFKA_CA": __file__}, "PLAINTEXT is not encrypted"),
        ({"LOY_KAFKA_PROTOCOL": "SSL", "LOY_KAFKA_CERTIFICATE": __file__}, "belong together"),
        ({"LOY_KAFKA_PROTOCOL": "TLS"}, "LOY_KAFKA_PROTOCOL: Input should be 'PLAINTEXT'"),
        ({"LOY_KAFKA_PROTOCOL": "SSL", "LOY_KAFKA_CA": "/nowhere"}, "LOY_KAFKA_CA: Path does not point to a file"),
    ],
)
def test_half_a_way_in_is_refused(given, said):
    with pytest.raises(SettingsError, match=said):
        Access.load(given)


def test_certificates_that_cannot_be_read_are_named():
    with pytest.raises(SettingsError, match="LOY_KAFKA_CA, _CERTIFICATE, _KEY"):
        Access.load({"LOY_KAFKA_PROTOCOL": "SSL", "LOY_KAFKA_CA": __file__}).client()
