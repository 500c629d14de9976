"""The catalogue of topics: name, key, value, how many partitions, how long kept, who writes and who reads. One place.

`loy topics apply` makes the broker agree with it; the AsyncAPI document is printed from it.
"""

from dataclasses import dataclass
from typing import Any

from schemas.checks import Check
from schemas.commands import Command
from schemas.dead_letters import DeadLetter
from schemas.events import Event
from schemas.members import Identity, Member, MemberCommand
from schemas.program import Program
from schemas.redemptions import RedemptionRequest
from schemas.replies import Reply

DAY_MS = 86_400_000
RECORD_BYTES_MAX = 750_000  # what intake takes: the longest receipt the schema allows, with room for the command around it
INBOUND_BYTES_MAX = 12_000_000  # what the broker takes, so that an oversized record is kept as a dead letter, not lost

COMPACTED = {"cleanup.policy": "compact", "delete.retention.ms": str(DAY_MS)}
"""A local copy that was away for no more than half of this still hears of every deletion."""


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic. `partitions` None follows the installation (12; 4 on a laptop): all those are co-partitioned by key."""

    name: str
    key: str
    value: Any
    """The model, or union of models, of the value."""
    about: str
    writer: str
    readers: tuple[str, ...]
    retention_days: int | None = None
    """None keeps for ever."""
    compacted: bool = False
    partitions: int | None = None
    bytes_max: int = 2_000_000

    def settings(self, *, keep_history: bool = False) -> dict[str, str]:
        """The broker's settings. `keep_history` keeps everything: needed to replay receipts of years ago."""
        kept_ms = -1 if keep_history or self.retention_days is None else self.retention_days * DAY_MS
        retention = (
            COMPACTED
            if self.compacted
            else {
                "cleanup.policy": "delete",
                "retention.ms": str(kept_ms),
                "retention.bytes": "-1",  # a cluster that bounds sizes would delete what was never read, and the log of record
            }
        )
        return retention | {"max.message.bytes": str(self.bytes_max), "message.timestamp.type": "CreateTime"}


CHECKS = Topic(
    "pos.checks",
    "identifier as the till sent it, or empty",
    Check,
    "Receipts: sales, returns, voids.",
    writer="tills",
    readers=("intake",),
    retention_days=7,
    bytes_max=INBOUND_BYTES_MAX,
)
REDEMPTIONS = Topic(
    "pos.redemptions",
    "identifier",
    RedemptionRequest,
    "Reserve, confirm, cancel.",
    writer="tills",
    readers=("intake",),
    retention_days=7,
    bytes_max=INBOUND_BYTES_MAX,
)
REPLIES = Topic(
    "pos.replies",
    "outlet",
    Reply,
    "The answer to each check and request.",
    writer="ledger, intake",
    readers=("tills", "reports"),
    retention_days=3,  # the service levels of a day are reckoned when it is over, on Monday for a Friday too
)
MEMBER_COMMANDS = Topic(
    "crm.members",
    "loyalty id",
    MemberCommand,
    "Opt in, update, link, adjust, review, ...",
    writer="CRM, service desk",
    readers=("intake",),
    retention_days=7,
    bytes_max=INBOUND_BYTES_MAX,
)
MEMBERS = Topic(
    "loy.members",
    "loyalty id",
    Member,
    "Contact data and consent; a tombstone erases.",
    writer="intake",
    readers=("sinks",),
    compacted=True,
)
IDENTITIES = Topic(
    "loy.identities",
    "keyed hash of the identifier",
    Identity,
    "Which account an identifier opens.",
    writer="intake",
    readers=("intake",),
    compacted=True,
    partitions=1,
)
PROGRAMS = Topic(
    "loy.programs",
    "program@version",
    Program,
    "The rules as data, effective-dated.",
    writer="loy program publish",
    readers=("intake", "ledger", "clock"),
    compacted=True,
    partitions=1,
)
COMMANDS = Topic(
    "loy.commands",
    "account",
    Command,
    "Everything that may change an account: the log of record.",
    writer="intake, clock, ledger",
    readers=("ledger", "auditors"),
    bytes_max=INBOUND_BYTES_MAX,
)
BACKLOG = Topic(
    "loy.backlog",
    "as at the door",
    Check,
    "Checks that came long after their purchase, as they came; they wait until nobody else does.",
    writer="intake",
    readers=("intake",),
    retention_days=7,
    bytes_max=INBOUND_BYTES_MAX,
)
EVENTS = Topic(
    "loy.events",
    "account",
    Event,
    "LOY_* events as CloudEvents.",
    writer="ledger",
    readers=("sinks", "auditors"),
)
DEAD_LETTERS = Topic(
    "loy.dead-letters",
    "original key",
    DeadLetter,
    "Records that could not be taken, whole, with the reason.",
    writer="intake, sinks",
    readers=("operators",),
    retention_days=30,
    bytes_max=INBOUND_BYTES_MAX + 1_000_000,
)

TOPICS = (
    CHECKS,
    REDEMPTIONS,
    REPLIES,
    MEMBER_COMMANDS,
    MEMBERS,
    IDENTITIES,
    PROGRAMS,
    COMMANDS,
    EVENTS,
    DEAD_LETTERS,
    BACKLOG,
)
