"""What a sink is given, and what can become of it."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import msgspec
import orjson

from schemas.events import PERSONAL_FIELDS, PROFILE_FIELDS

_FIELDS = frozenset(PROFILE_FIELDS)
IN_CONTACT = {name: name for name in PERSONAL_FIELDS} | {"email_address": "email", "phone_no": "phone"}
"""What the personal ones of PROFILE_FIELDS are called in the contact data."""


class Unreadable(Exception):  # noqa: N818  # it is data: it becomes a dead letter
    """A record that is not what its topic holds."""


def contact_of(value: bytes | None) -> Mapping[str, Any] | None:
    """The contact data of a `loy.members` value, which intake has checked. Raises Unreadable for what it never wrote."""
    if not value:
        return None
    try:
        contact = orjson.loads(value)["contact"]
    except (orjson.JSONDecodeError, KeyError, TypeError) as failure:
        raise Unreadable(f"no member: {type(failure).__name__}") from None
    if not isinstance(contact, dict):
        raise Unreadable("no member: its contact is no object")
    return contact


class Person(msgspec.Struct, frozen=True, dict=True):
    """A member as vendors know one: the 29 fields of seeds 001 and 002, joined from contact data and loyalty profile.

    Read when first asked for: whole batches wait for their turn, and as objects they would fill the processor's caches.
    """

    loyalty_id: str
    member: bytes = b""
    """The `loy.members` value; empty when the CRM never sent any, or the member was erased."""
    standing: bytes = b"{}"
    """The profile as JSON: an object; empty when nothing is known."""
    version: int = 0
    """Sequence of the event that made the profile so: a larger one is newer. 0 before any."""

    @cached_property
    def contact(self) -> Mapping[str, Any] | None:
        """`schemas.members.Contact` as plain JSON values; None without contact data."""
        return contact_of(self.member)

    @cached_property
    def profile(self) -> Mapping[str, Any]:
        """`schemas.events.Profile` as plain JSON values: dates as YYYY-MM-DD, points as integers."""
        profile: Mapping[str, Any] = orjson.loads(self.standing)
        return profile

    def field(self, name: str) -> Any:
        """One of PROFILE_FIELDS as a JSON value, None when there is none. Raises KeyError for any other name."""
        if name in IN_CONTACT:
            return self.contact.get(IN_CONTACT[name]) if self.contact else None
        if name not in _FIELDS:
            raise KeyError(name)
        return self.profile.get(name)


class ProfileChange(msgspec.Struct, frozen=True):
    """The person is as given now. Only the latest of a member is ever sent."""

    person: Person
    urgent: bool = False
    """The tier or the opt-in changed: goes before mere balances."""
    erased: bool = False
    """The member asked to be forgotten: nothing of the member is sent after this, unless the member joins again."""
    first: bool = False
    """The vendor was never told of this member before, as far as the sink knows."""
    moved: bool = False
    """The contact data changed."""


class Happening(msgspec.Struct, frozen=True):
    """One LOY_* event, in the order of its member."""

    person: Person
    """As after the event."""
    event_id: str
    """Ours, up to 250 characters; the same for every repeat."""
    type: str
    occurred_at: str
    """RFC 3339."""
    event: bytes
    """The whole event as JSON."""

    @property
    def data(self) -> Mapping[str, Any]:
        """`data` of the event, as the contract says for its type: plain JSON values, read anew each time."""
        data: Mapping[str, Any] = orjson.loads(self.event)["data"]
        return data


Item = ProfileChange | Happening


class Delivered(msgspec.Struct, frozen=True):
    """The vendor has it."""

    notes: tuple[str, ...] = ()
    """What had to be done to it, or what it cannot do any more, in a word each (`dropped`, `late`): counted."""


class Rejected(msgspec.Struct, frozen=True):
    """The vendor will never take it: it becomes a dead letter with the vendor's words."""

    code: str
    words: str


class Again(msgspec.Struct, frozen=True):
    """Not now. `after` is what the vendor asked for, in seconds; `unknown` when the answer was lost: it may be there already."""

    why: str
    after: float | None = None
    unknown: bool = False
    at_most: int | None = None
    """After so many attempts it is rejected after all, with `why`: the item is at fault, not the vendor. None waits for ever."""


class Split(msgspec.Struct, frozen=True):
    """The batch was refused whole, nobody says for which item: its halves are tried. A single one is rejected with the words."""

    code: str
    words: str


class Halt(msgspec.Struct, frozen=True):
    """Nothing can be delivered until somebody acts (credentials, configuration). Nothing is lost: the sink waits."""

    why: str


Outcome = Delivered | Rejected | Again | Split | Halt
