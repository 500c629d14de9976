"""A vendor's settings: read from LOY_<VENDOR>_* variables, secrets never shown."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, SecretStr, ValidationError


def _sendable(secret: SecretStr) -> SecretStr:
    """As a header can carry it; a line end from a file is nobody's password."""
    text = secret.get_secret_value().strip()
    if not text or not text.isascii() or not text.isprintable():
        raise ValueError("is empty, or holds what no header can carry")
    return SecretStr(text)


Secret = Annotated[SecretStr, AfterValidator(_sendable)]
"""A key or token: never shown, and fit to be sent."""
MAPPINGS = Path(__file__).parent / "mappings"
__all__ = ["MAPPINGS", "Configuration", "ConfigurationError", "SafeUrl", "SecretStr"]


def _safe(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme != "https" and parts.hostname not in ("127.0.0.1", "localhost", "::1"):
        raise ValueError("credentials travel by https only")
    return url


SafeUrl = Annotated[str, AfterValidator(_safe)]
"""An address that may be shown credentials: https, or a sandbox on this machine."""


class ConfigurationError(ValueError):
    """A setting of a sink that cannot be, or is missing; the message names the variable."""


class Configuration(BaseModel):
    """What every sink's settings share. Each field is the variable LOY_<SINK>_<FIELD>."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    base_url: str
    """Where the vendor's API answers."""
    mapping: Path | None = None
    """The mapping file; None takes the one that ships."""

    @classmethod
    def load(cls, sink: str, environment: Mapping[str, str] = os.environ, **changes: Any) -> Self:
        """From the environment, with some values given outright. Raises ConfigurationError."""
        prefix = f"LOY_{sink.upper()}_"
        given = {name: environment[prefix + name.upper()] for name in cls.model_fields if prefix + name.upper() in environment}
        try:
            return cls.model_validate(given | changes)
        except ValidationError as failure:
            lines = (f"{prefix}{str(e['loc'][0]).upper()}: {e['msg']}" for e in failure.errors(include_input=False))
            raise ConfigurationError("\n".join(lines)) from None
