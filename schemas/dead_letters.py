"""`loy.dead-letters`: a record that could not be taken, kept whole: its key and value are the original bytes.

Why and whence are Kafka headers, so that nothing has to be decoded to send it again (`loy dead-letters replay`).
"""

from typing import Annotated

from pydantic import Field

from schemas.base import Instant, Model
from schemas.codes import Code


class DeadLetter(Model):
    """The headers of a dead letter, each as UTF-8 text."""

    code: Code
    reason: Annotated[str, Field(max_length=2000)]
    """In words, with the path of the field when there is one. Never the field's content, which may be personal."""
    origin: Annotated[str, Field(pattern=r"^[^/]+/[0-9]+/[0-9]+$")]
    """topic/partition/offset"""
    stage: str
    """Which step could not take it: intake, or a sink by name."""
    at: Instant

    def headers(self) -> tuple[tuple[str, bytes], ...]:
        """As Kafka wants them."""
        return tuple((name, str(value).encode()) for name, value in self.model_dump(mode="json").items())

    @classmethod
    def from_headers(cls, headers: "tuple[tuple[str, bytes], ...]") -> "DeadLetter":
        """Read back. Raises `pydantic.ValidationError` when the record is none of ours."""
        return cls.model_validate_strings({name: (value or b"").decode() for name, value in headers if name in cls.model_fields})
