"""The environment, read once, as one frozen record. Nobody else reads the environment."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from schemas.base import Name

PREFIX = "LOY_"
GroupName = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,200}$")]


class SettingsError(ValueError):
    """A setting that cannot be; the message names the variable."""


class Settings(BaseModel):
    """Every setting of every process. Each field is the variable LOY_<FIELD IN CAPITALS>; defaults suit one laptop."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    kafka_bootstrap: Annotated[str, Field(pattern=r"^[^\s,]+:[0-9]+(,[^\s,]+:[0-9]+)*$")] = "127.0.0.1:9092"
    """Brokers as host:port, several separated by commas."""
    partitions: Annotated[int, Field(ge=1, le=1000)] = 12
    """Of every topic keyed by member. Fixed when the topics are created."""
    group: GroupName = "loy"
    """Consumer group of the workers, and prefix of their changelog topics."""
    instance_id: GroupName | None = None
    """Static membership (KIP-345): a name of this worker that survives its restart."""
    data: Path = Path(".loystream")
    """Folder for local state. Each worker has one of its own; deleting it is safe."""
    store: Literal["rocksdb", "memory"] = "rocksdb"
    session_seconds: Annotated[float, Field(ge=1, le=300)] = 10.0
    """A worker silent for so long loses its partitions."""
    max_batch: Annotated[int, Field(ge=1, le=10_000)] = 500
    """Records of a micro-batch at most."""
    identity_key: Annotated[SecretStr, Field(min_length=8)] = SecretStr("development-only")
    """Secret of the keyed hash under which identifiers are stored. Changing it forgets every card."""
    region: Annotated[str, Field(pattern="^[A-Z]{2}$")] = "US"
    """Reads phone numbers written without a country code."""
    program: Name = "main"
    """The program that receipts without a member are kept under."""
    clock: Literal["wall", "stream", "off"] = "wall"
    """What the clock calls now: the wall, or in replays the latest time seen in the log."""
    clock_seconds: Annotated[float, Field(gt=0, le=3600)] = 1.0
    """How often the clock looks for what is due."""
    metrics_host: str = "127.0.0.1"
    metrics_port: Annotated[int, Field(ge=0, le=65_535)] = 9464
    """Where /metrics is served; 0 takes a free port."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @classmethod
    def load(cls, environment: Mapping[str, str] = os.environ, **changes: Any) -> "Settings":
        """From the environment, with some values given outright. Raises SettingsError."""
        given = {name: environment[PREFIX + name.upper()] for name in cls.model_fields if PREFIX + name.upper() in environment}
        try:
            return cls.model_validate(given | {name: value for name, value in changes.items() if value is not None})
        except ValidationError as failure:
            lines = (f"{PREFIX}{str(error['loc'][0]).upper()}: {error['msg']}" for error in failure.errors())
            raise SettingsError("\n".join(lines)) from None
