"""What a sink, and whoever looks after one, keeps of a member: the contact data and the profile of the latest event.

Law: of an erased member nothing is kept but how far was read, until the member joins again.
"""

import hashlib
from datetime import datetime

import msgspec
import orjson

from connectors.delivery import Unreadable


class Row(msgspec.Struct, array_like=True):
    """What a sink remembers of a member."""

    member: bytes = b""
    """`loy.members` value, empty when erased or never sent."""
    profile: bytes = b""
    """Profile of the latest event, empty when there was none."""
    sequence: int = 0
    """Of the latest event that was delivered, or passed over as history."""
    sent: bytes = b""
    """Digest of what the vendor has, or `?` when it refused what came after; empty when it has nothing."""
    erased: bool = False

    def hear(self, event: "Event", profile: bytes) -> bool:
        """Be as the event leaves the member: with this profile, or erased until the member joins again. False for a repeat."""
        if event.sequence <= self.sequence:
            return False
        self.sequence = event.sequence
        self.erased = event.erases or (self.erased and event.type != "LOY_OPT_IN")
        if not self.erased:
            self.profile = profile
        return True

    def digest(self) -> bytes:
        return hashlib.blake2b(self.member + b"\0" + self.profile, digest_size=8).digest()


class Told(msgspec.Struct):
    """What a sink looks at in `data` of an event at once."""

    occurred_at: str
    profile: msgspec.Raw
    erased: bool = False


class Event(msgspec.Struct):
    """What a sink looks at in an event at once; the rest is read when its turn has come."""

    id: str
    type: str
    sequence: int
    data: Told

    @property
    def erases(self) -> bool:
        """Whether the member has asked to be forgotten."""
        return self.type == "LOY_OPT_OUT" and self.data.erased


class Dated(msgspec.Struct):
    """What tells a `loy.members` value from an older one."""

    updated_at: datetime | None = None


_read = msgspec.json.Decoder(Event).decode
_dated = msgspec.json.Decoder(Dated).decode


def joined_after(member: bytes, erasure: Event) -> bool:
    """Whether this contact data was given after the wish to be forgotten, by joining again: `loy.members` is read ahead."""
    given = _dated(member).updated_at if member else None
    return given is not None and given > datetime.fromisoformat(erasure.data.occurred_at)


def event_of(value: bytes) -> tuple[Event, bytes | None]:
    """The event and the profile it leaves, None for a receipt that nobody has claimed. Raises Unreadable."""
    try:
        event = _read(value)
        profile = bytes(event.data.profile)
        if b"\\" in value or not value.isascii():
            orjson.loads(value)  # what is skipped now has to be readable later: texts are where it could fail
        datetime.fromisoformat(event.data.occurred_at)
    except (msgspec.MsgspecError, ValueError) as failure:  # JSON and UTF-8 among the latter
        raise Unreadable(f"no event: {type(failure).__name__}") from None
    if profile == b"null":
        return event, None
    if not profile.startswith(b"{"):
        raise Unreadable("no event: its profile is no object")
    return event, profile
