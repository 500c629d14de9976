"""The roll: who works, and who owns which unit, as a pure fold over one ordered log.

A *unit* is a partition number: whoever owns it reads that partition of every source topic, and writes that of every table.
Law: nothing is decided by a clock or by a leader. Every claim is a record, the first one in the log wins, and all who have read
up to the same offset know the same owners, also those who began to read in the middle.
"""

from dataclasses import dataclass, field
from hashlib import blake2b

import msgspec

Suspect = tuple[int, int]
"""Producer id and epoch of a former owner that may not know yet that it is one."""


class Statement(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a worker says of itself, every few hundred milliseconds and whenever something changes."""

    worker: str
    """This start of this process, never another one."""
    producer: Suspect
    number: int
    """Counts the statements of a worker."""
    seen: int
    """Offset up to which it had read the roll when it said this."""
    owns: dict[int, tuple[Suspect, ...]] = {}
    """Its units, each with those who are to be fenced before work on it begins: nobody once it works."""
    warm: tuple[int, ...] = ()
    """Units of others whose tables it has up to date."""
    takes: tuple[int, ...] = ()
    works: tuple[int, ...] = ()
    gives: tuple[int, ...] = ()
    dead: dict[str, int] = {}
    """Workers it has not heard for too long, with the number of the last statement it heard of them."""
    leaves: bool = False


def statement_of(value: bytes | None) -> Statement | None:
    """What a worker says; None for what somebody else wrote."""
    try:
        return msgspec.json.decode(value or b"", type=Statement)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


@dataclass(slots=True)
class Member:
    """A worker as of its last statement."""

    producer: Suspect
    warm: frozenset[int]


@dataclass(slots=True)
class Roll:
    """The fold. `begin` is the offset at which reading of the log began."""

    begin: int = 0
    members: dict[str, Member] = field(default_factory=dict)
    owners: dict[int, str] = field(default_factory=dict)
    suspects: dict[int, tuple[Suspect, ...]] = field(default_factory=dict)
    gone: dict[str, int] = field(default_factory=dict)
    """Who left or was called dead, with the offset at which."""
    since: dict[int, int] = field(default_factory=dict)
    """Offset from which each unit has its owner."""
    numbers: dict[str, int] = field(default_factory=dict)
    """Of the last statement of each worker, claims heard or not."""

    def hear(self, said: Statement, at: int) -> None:
        """The next record of the log, at this offset.

        Somebody who was called dead is not heard again, nor is a statement that a newer one has overtaken. What somebody claims
        who had not read as far as our beginning is not heard either: what it rests on may have happened in the part before.

        Whom such a one calls dead may or may not be: that too was decided in the part before. We believe it, and are corrected:
        who is dead ends when he reads it, so who has read it and speaks on is alive.
        """
        buried = self.gone.get(said.worker, -1)
        if said.seen <= buried or said.number <= self.numbers.get(said.worker, 0):
            return
        self.gone.pop(said.worker, None)
        self.numbers[said.worker] = said.number
        if said.seen >= self.begin:
            self.members[said.worker] = Member(said.producer, frozenset(said.warm))
            self._settle(said, at)
            self._act(said, at)
        for name, number in said.dead.items():
            if name not in self.gone and self.numbers.get(name, number) == number:
                self._remove(name, at)
        if said.leaves:
            self._remove(said.worker, at)

    def _settle(self, said: Statement, at: int) -> None:
        """What it knew to be its own when it said this. Whoever reads from the start knows that much already."""
        for unit, owner in list(self.owners.items()):
            if owner == said.worker and unit not in said.owns and self.since[unit] < said.seen:
                del self.owners[unit]
        for unit, suspects in said.owns.items():
            owner = self.owners.setdefault(unit, said.worker)
            if owner == said.worker:
                self.since.setdefault(unit, at)
                self.suspects[unit] = suspects

    def _act(self, said: Statement, at: int) -> None:
        for unit in said.gives:
            if self.owners.get(unit) == said.worker:
                del self.owners[unit]
        for unit in said.takes:
            if unit not in self.owners:
                self.owners[unit], self.since[unit] = said.worker, at
        for unit in said.works:
            if self.owners.get(unit) == said.worker:
                self.suspects.pop(unit, None)

    def _remove(self, name: str, at: int) -> None:
        """It owns nothing from here on; but it may not know that yet."""
        self.gone[name] = at
        member = self.members.pop(name, None)
        if member is None:
            return
        for unit in [unit for unit, owner in self.owners.items() if owner == name]:
            del self.owners[unit]
            self.suspects[unit] = tuple(dict.fromkeys((*self.suspects.get(unit, ()), member.producer)))

    def view(self) -> "View":
        """The state as it is now, to look at at leisure."""
        members = {name: member.warm for name, member in self.members.items()}
        return View(members, dict(self.owners), dict(self.suspects))


@dataclass(frozen=True, slots=True)
class View:
    """The roll at one moment."""

    members: dict[str, frozenset[int]]
    """Each worker with the units whose tables it has warm."""
    owners: dict[int, str]
    suspects: dict[int, tuple[Suspect, ...]]

    def of(self, worker: str) -> frozenset[int]:
        """What a worker owns."""
        return frozenset(unit for unit, owner in self.owners.items() if owner == worker)

    def wishes(self, units: int) -> dict[int, str]:
        """Who should have which unit: as many for everybody, as few moved as possible, to whom is warm if anybody is.

        Empty without members. A free unit goes to whoever is warm even beyond its share: shares are made even afterwards.
        """
        if not self.members:
            return {}
        held = {name: sorted(unit for unit in self.of(name) if unit < units) for name in self.members}
        base, extra = divmod(units, len(held))
        order = sorted(held, key=lambda name: (-len(held[name]), name))
        room = {name: base + (n < extra) for n, name in enumerate(order)}
        wishes = {unit: name for name, mine in held.items() for unit in mine[: room[name]]}
        for name, mine in held.items():
            room[name] -= min(len(mine), room[name])
        for unit in sorted(set(range(units)) - wishes.keys()):
            name = self._heir(unit, room)
            wishes[unit] = name
            room[name] -= 1
        return wishes

    def _heir(self, unit: int, room: dict[str, int]) -> str:
        owned = unit in self.owners
        warm = [name for name, units in self.members.items() if unit in units]
        roomy = [name for name in room if room[name] > 0]
        among = roomy if owned or not warm else warm
        return max(among, key=lambda name: (name in warm, room[name] > 0, affinity(unit, name)))

    def standbys(self, unit: int, count: int) -> list[str]:
        """Who should keep a unit's tables warm beside its owner."""
        others = [name for name in self.members if name != self.owners.get(unit)]
        return sorted(others, key=lambda name: affinity(unit, name), reverse=True)[:count]


def affinity(unit: int, worker: str) -> bytes:
    """Rendezvous hashing: a fixed order of workers for each unit, of which a change of the crew moves as little as can be."""
    return blake2b(f"{unit}/{worker}".encode(), digest_size=8).digest()
