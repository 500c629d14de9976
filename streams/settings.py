"""The environment, read once, as two frozen records: what a process does, and how it is let into Kafka.

Law: nobody else reads the environment. Where a secret is not given, LOY_<ITS FIELD>_FILE may name a file that holds it.
"""

import os
import ssl
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, FilePath, SecretStr, ValidationError, model_validator

from schemas.base import Name

PREFIX = "LOY_"
BACKLOG_MINUTES = 10.0
GroupName = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,200}$")]


class SettingsError(ValueError):
    """A setting that cannot be; the message names the variable."""


class _Environment(BaseModel):
    """Each field is the variable LOY_<FIELD IN CAPITALS>; a secret may lie in the file LOY_<FIELD>_FILE instead."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    @classmethod
    def load(cls, environment: Mapping[str, str] = os.environ, **changes: Any) -> Self:
        """From the environment, with some values given outright. Raises SettingsError."""
        given = {name: text for name in cls.model_fields if (text := _text_of(name, cls, environment)) is not None}
        try:
            return cls.model_validate(given | {name: value for name, value in changes.items() if value is not None})
        except ValidationError as failure:
            lines = (f"{_variable(*error['loc'])}{error['msg'].removeprefix('Value error, ')}" for error in failure.errors())
            raise SettingsError("\n".join(lines)) from None


def _variable(*steps: int | str) -> str:
    return f"{PREFIX}{str(steps[0]).upper()}: " if steps else ""


def _text_of(name: str, model: type[BaseModel], environment: Mapping[str, str]) -> str | None:
    """The text of a field's variable, or of the file that stands for a secret. Raises SettingsError."""
    variable = PREFIX + name.upper()
    secret = SecretStr.__name__ in str(model.model_fields[name].annotation)
    file = environment.get(variable + "_FILE") if secret else None
    if variable in environment or file is None:
        return environment.get(variable)
    try:
        return Path(file).read_text(encoding="utf-8").removesuffix("\n")
    except (OSError, UnicodeDecodeError) as failure:
        raise SettingsError(f"{variable}_FILE: {file} cannot be read ({failure})") from None


class Settings(_Environment):
    """Every setting of every process; defaults suit one laptop."""

    kafka_bootstrap: Annotated[str, Field(pattern=r"^[^\s,]+:[0-9]+(,[^\s,]+:[0-9]+)*$")] = "127.0.0.1:9092"
    """Brokers as host:port, several separated by commas."""
    partitions: Annotated[int, Field(ge=1, le=1000)] = 12
    """Of every topic keyed by member. Fixed when the topics are created."""
    group: GroupName = "loy"
    """Consumer group of the workers, and prefix of their changelog topics."""
    instance_id: GroupName | None = None
    """What this worker is called in logs; the host's name by default."""
    data: Path = Path(".loystream")
    """Folder for local state. Each worker has one of its own; deleting it is safe."""
    store: Literal["rocksdb", "memory"] = "rocksdb"
    session_seconds: Annotated[float, Field(ge=1, le=300)] = 6.0
    """A worker silent for so long loses its partitions."""
    standbys: Annotated[int, Field(ge=0, le=10)] = 1
    """Workers that keep a warm copy of each partition's state beside its owner."""
    max_batch: Annotated[int, Field(ge=1, le=10_000)] = 500
    """Records of a micro-batch at most."""
    identity_key: Annotated[SecretStr, Field(min_length=8)] = SecretStr("development-only")
    """Secret of the keyed hash under which identifiers are stored. Changing it forgets every card."""
    region: Annotated[str, Field(pattern="^[A-Z]{2}$")] = "US"
    """Reads phone numbers written without a country code."""
    program: Name = "main"
    """The program that receipts without a member are kept under."""
    backlog_minutes: Annotated[float, Field(gt=0, le=50_000)] | Literal["off"] | None = None
    """A check whose purchase is longer ago than that when it arrives waits until no other does; `off` takes all as they come.
    By default 10, and off where the clock is not the wall's: history that is replayed is not late."""
    clock: Literal["wall", "stream", "off"] = "wall"
    """What the clock calls now: the wall, or in replays the latest time seen in the log."""
    clock_seconds: Annotated[float, Field(gt=0, le=3600)] = 0.25
    """How often the clock looks for what is due."""
    metrics_host: str = "127.0.0.1"
    metrics_port: Annotated[int, Field(ge=0, le=65_535)] = 9464
    """Where /metrics is served; 0 takes a free port."""
    monitoring: bool = True
    """Whether `loy up` starts Prometheus and Alertmanager, when they are installed."""
    prometheus_port: Annotated[int, Field(ge=0, le=65_535)] = 0
    alertmanager_port: Annotated[int, Field(ge=0, le=65_535)] = 0
    """Where `loy up` has them answer; 0 takes a free port."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["text", "json"] = "text"
    """Lines for people, or one JSON object a line for machines."""
    tracing: Literal["off", "otlp", "file"] = "off"
    """Where spans go: to the collector that OTEL_EXPORTER_OTLP_ENDPOINT names, or to a file in LOY_DATA, for `loy trace`."""

    @property
    def patience_minutes(self) -> float | None:
        """After how long a check is late; None when none ever is."""
        if self.backlog_minutes is None:
            return BACKLOG_MINUTES if self.clock == "wall" else None
        return None if self.backlog_minutes == "off" else self.backlog_minutes

    @property
    def targets(self) -> Path:
        """Where `loy up` notes who serves /metrics on which port, as Prometheus reads it."""
        return self.data / "targets.json"


class Access(_Environment):
    """How Kafka lets a process in: one way for all clients of it, tools included. By default none is asked for."""

    kafka_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """What the broker's listener speaks. Outside a laptop: SASL_SSL, or SSL with a certificate of our own."""
    kafka_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    """How SASL proves who we are. Event Hubs and Confluent Cloud take PLAIN, MSK and Strimzi SCRAM-SHA-512."""
    kafka_username: str | None = None
    kafka_password: SecretStr | None = None
    """Needed by SASL, both. Event Hubs: the user $ConnectionString, and the connection string as password."""
    kafka_ca: FilePath | None = None
    """Certificates (PEM) that may have signed the broker's; those of the operating system when none is named."""
    kafka_certificate: FilePath | None = None
    """Our own certificate (PEM), where the broker asks for one."""
    kafka_key: FilePath | None = None
    """Its key (PEM, without a password)."""

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self._sasl and (self.kafka_username is None or self.kafka_password is None):
            raise ValueError(
                f"{PREFIX}KAFKA_PROTOCOL: {self.kafka_protocol} needs {PREFIX}KAFKA_USERNAME and {PREFIX}KAFKA_PASSWORD"
            )
        if not self._sasl and self.kafka_username is not None:
            raise ValueError(f"{PREFIX}KAFKA_USERNAME: {self.kafka_protocol} asks for none; say SASL_SSL")
        if not self._tls and (self.kafka_ca or self.kafka_certificate):
            raise ValueError(f"{PREFIX}KAFKA_CA, _CERTIFICATE: {self.kafka_protocol} is not encrypted; say SASL_SSL or SSL")
        if (self.kafka_certificate is None) != (self.kafka_key is None):
            raise ValueError(f"{PREFIX}KAFKA_CERTIFICATE and {PREFIX}KAFKA_KEY belong together")
        return self

    @property
    def _sasl(self) -> bool:
        return self.kafka_protocol.startswith("SASL")

    @property
    def _tls(self) -> bool:
        return self.kafka_protocol.endswith("SSL")

    def client(self) -> dict[str, Any]:
        """What an aiokafka client takes. Raises SettingsError when certificates cannot be read."""
        options: dict[str, Any] = {"security_protocol": self.kafka_protocol}
        if self._sasl and self.kafka_password is not None:
            options["sasl_mechanism"] = self.kafka_mechanism
            options["sasl_plain_username"] = self.kafka_username
            options["sasl_plain_password"] = self.kafka_password.get_secret_value()
        if self._tls:
            options["ssl_context"] = self._ssl_context()
        return options

    def _ssl_context(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=self.kafka_ca)
            if self.kafka_certificate is not None:
                context.load_cert_chain(self.kafka_certificate, self.kafka_key, password="")
        except (OSError, ValueError) as failure:  # an SSLError is an OSError
            raise SettingsError(f"{PREFIX}KAFKA_CA, _CERTIFICATE, _KEY: {failure}") from None
        return context


def names_sampler(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether OpenTelemetry's own variable says how many traces there should be."""
    return "OTEL_TRACES_SAMPLER" in environment


def reach(bootstrap: str) -> dict[str, Any]:
    """Where Kafka is and how we are let in: what every aiokafka client of this process begins with. Raises SettingsError."""
    return {"bootstrap_servers": bootstrap, **_access()}


@cache
def _access() -> dict[str, Any]:
    return Access.load().client()
