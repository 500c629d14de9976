"""Any HTTP endpoint of yours, signed: events and profiles as Standard Webhooks (standardwebhooks.com, specification 1.0).

The example of docs/adding-a-sink.md: the smallest complete sink. One request an item; `webhook-id` derives from the event, so a
receiver that keeps ids sees every event once.
"""

import hashlib
import hmac
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Generator, Iterator, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Self

import orjson
from pydantic import Field, SecretStr, field_validator

from connectors.configuration import MAPPINGS, Configuration
from connectors.delivery import Again, Delivered, Halt, Happening, Item, Outcome, ProfileChange, Rejected
from connectors.mapping import VendorMapping, load_mapping
from connectors.sink import Answer, Call, Flow, Reply, Setup, chunks, classify

PREFIX = "whsec_"
SEND = "send"
GONE = 410


class Config(Configuration):
    """LOY_WEBHOOK_*: where to send, and the secrets to sign with."""

    secrets: SecretStr
    """One or two `whsec_...` secrets with a blank between: the new one first. Each signs, so that a receiver may change over."""
    rps: Annotated[float, Field(gt=0, le=10_000)] = 20.0
    """Requests a second at most."""

    @field_validator("secrets")
    @classmethod
    def _readable(cls, secrets: SecretStr) -> SecretStr:
        try:
            keys = keys_of(secrets)
        except Base64Error:
            raise ValueError("a secret is whsec_ and base64") from None
        if not keys or any(not 24 <= len(key) <= 64 for key in keys):
            raise ValueError("one or two secrets of 24 to 64 bytes each")
        return secrets


def keys_of(secrets: SecretStr) -> tuple[bytes, ...]:
    """The signing keys. Raises binascii.Error."""
    words = secrets.get_secret_value().split()
    return tuple(b64decode(word.removeprefix(PREFIX), validate=True) for word in words)


class Webhook:
    """The sink."""

    name = "webhook"
    mute = "an endpoint cannot be asked what it holds"

    def __init__(self, config: Config, mapping: VendorMapping) -> None:
        self._config = config
        self._mapping = mapping
        self._keys = keys_of(config.secrets)
        self.base_url = config.base_url
        self.rates = {SEND: config.rps}
        self.events = frozenset(name for name, target in mapping.events.items() if target is not None)

    @classmethod
    def load(cls, environment: Mapping[str, str]) -> Self:
        """From LOY_WEBHOOK_* variables. Raises ConfigurationError, MappingError."""
        config = Config.load(cls.name, environment)
        return cls(config, load_mapping(config.mapping or MAPPINGS / "webhook.yaml"))

    def __repr__(self) -> str:
        return f"Webhook({self.base_url})"

    def headers(self) -> Mapping[str, str]:
        """Nothing but the signature, which each call makes for itself."""
        return {}

    def prepare(self) -> Setup:
        """An endpoint needs no set-up."""
        return None
        yield  # a flow all the same

    def batches(self, items: Sequence[Item]) -> Iterator[Sequence[Item]]:
        """One request an item."""
        return chunks(items, 1)

    def flow(self, batch: Sequence[Item]) -> Flow:
        """Send one item, signed at the time of sending."""
        (item,) = batch
        name, payload = self._message(item)
        body = orjson.dumps(payload)
        reply = yield Call(SEND, "POST", "", body=body, stamp=partial(signature, self._keys, name))
        return [_read(reply)]

    def _message(self, item: Item) -> tuple[str, dict[str, Any]]:
        """(webhook-id, payload)."""
        if isinstance(item, Happening):
            target = self._mapping.events[item.type]
            data = {"loyalty_id": item.person.loyalty_id, **self._mapping.properties(item)}
            kind = target.name if target else item.type
            return message_id(item.event_id), {"type": kind, "timestamp": item.occurred_at, "data": data}
        kind = "loyalty.member.erased" if item.erased else "loyalty.profile"
        known: Mapping[str, Any] = {"loyalty_id": item.person.loyalty_id} if item.erased else self.expected(item)
        content = b"" if item.erased else item.person.member + item.person.standing  # contact data changes between events too
        return message_id(f"{kind}/{item.person.loyalty_id}/{item.person.version}", content), {"type": kind, "data": known}

    def read(self, _: Sequence[str]) -> Generator[Call, Reply, Mapping[str, Mapping[str, Any] | None]]:
        """Nothing: see `mute`."""
        return {}
        yield

    def expected(self, item: Item) -> Mapping[str, Any]:
        """The mapped profile."""
        return self._mapping.profile(item.person) if isinstance(item, ProfileChange) else {}


def message_id(source: str, content: bytes = b"") -> str:
    """`webhook-id` of what our own id names, and of what it says where that may change: the same for every repeat."""
    return "msg_" + hashlib.blake2b(source.encode() + content, digest_size=16).hexdigest()


def signature(keys: Sequence[bytes], name: str, seconds: int, body: bytes) -> dict[str, str]:
    """The three headers of Standard Webhooks: HMAC-SHA256 over `id.timestamp.body`, one signature for each key."""
    signed = f"{name}.{seconds}.".encode() + body
    marks = (b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode() for key in keys)
    return {
        "webhook-id": name,
        "webhook-timestamp": str(seconds),
        "webhook-signature": " ".join(f"v1,{mark}" for mark in marks),
    }


def _read(reply: Reply) -> Outcome:
    """2xx is done, but for a gateway's web page; 410 asks us to stop; any other 4xx is about this item."""
    if isinstance(reply, Answer) and reply.status == GONE:
        return Halt("410: the endpoint asks not to be called any more")
    outcome = classify(reply)
    if outcome is None:
        is_page = isinstance(reply, Answer) and reply.headers.get("content-type", "").startswith("text/html")
        return Again("a web page answered") if is_page else Delivered()
    if isinstance(outcome, Again | Halt):
        return outcome
    return Rejected(str(reply.status) if isinstance(reply, Answer) else "lost", getattr(outcome, "words", ""))
