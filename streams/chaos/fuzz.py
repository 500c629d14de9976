"""`loy fuzz`: any number of broken records through intake and ledger. Nothing may escape, and each is accounted for.

The inputs come in worlds of a few thousand, each with members, programs and a history of its own, so that a broken record meets
accounts with something to lose. Law: a seed makes one list of inputs; a world that fails is run again record by record.
"""

import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby, islice
from pathlib import Path
from random import Random

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

import schemas
from schemas.codec import INBOUND
from schemas.program import Program
from schemas.topics import COMMANDS, DEAD_LETTERS, EVENTS, REPLIES
from streams.chaos.memory import PARTITION, Memory
from streams.chaos.mutations import Mutations
from streams.chaos.oracle import DAY, as_program
from streams.chaos.tills import RULES, Tills, card
from streams.domain.account import unpack
from streams.program_files import SHIPPED, load_program
from streams.proof import DOORS, Proof, Violation

EXAMPLES = Path(schemas.__file__).parent / "examples"
WORLD = 5000
"""Inputs of one world."""
BATCH = 200
MEMBERS = 12
LEAP = 18 * DAY
"""The largest one of a till's clock: with what passes in a world less than ids are remembered."""
Input = tuple[bytes | None, bytes | None, int, tuple[tuple[str, bytes], ...]]


@dataclass(slots=True)
class Fuzzed:
    """What became of the inputs."""

    inputs: int = 0
    broken: int = 0
    """Of them, those that were mutated."""
    outcomes: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    events: int = 0
    seconds: float = 0.0
    failure: str = ""
    """The first input that broke a law, or that an exception escaped from."""

    @property
    def ok(self) -> bool:
        """Nothing escaped, and everything is accounted for."""
        return not self.failure and self.outcomes.total() == self.inputs

    def render(self) -> RenderableType:
        """For a terminal."""
        table = Table("what", "figure", title="Fuzzing")
        table.columns[1].justify = "right"
        rows = {"inputs": self.inputs, "of them broken": self.broken, "events they caused": self.events}
        rows |= dict(self.outcomes) | {f"with code {code}": times for code, times in sorted(self.codes.items())}
        for what, figure in rows.items():
            table.add_row(what, f"{figure:,}")
        rate = f"{self.seconds:.0f} s, {self.inputs / max(self.seconds, 0.001):,.0f} inputs a second. "
        said = self.failure or f"Nothing escaped; {self.outcomes.total():,} of {self.inputs:,} accounted for."
        return Group(table, Text(rate + said, style="bold green" if self.ok else "bold red"))


async def fuzz(seed: int, inputs: int) -> Fuzzed:
    """So many inputs; ends at the first failure."""
    total, began, number = Fuzzed(), time.monotonic(), 0
    while total.inputs < inputs and not total.failure:
        size = min(WORLD, inputs - total.inputs)
        await _World(seed, number, size).run(total)
        number += 1
    total.seconds = time.monotonic() - began
    return total


class _World:
    """Some thousand inputs into one memory."""

    def __init__(self, seed: int, number: int, size: int) -> None:
        self._name = f"seed {seed}, world {number}"
        self._seed = f"{seed} {number}"
        self._number = number
        self._size = size

    async def run(self, total: Fuzzed) -> None:
        """All of it, in batches; when something goes wrong once more one by one, to know what it was."""
        memory = Memory(*_programs(self._number))
        try:
            await self._feed(memory, total, BATCH)
        except Exception as escaped:  # noqa: BLE001  # that it must not happen is what is tried
            total.failure = await self._culprit() or f"{self._name}: {escaped!r}, only in batches"
            return
        if violation := _judge(memory, total):
            total.failure = f"{self._name}: {violation}"

    async def _feed(self, memory: Memory, total: Fuzzed, batch: int) -> None:
        entries = inputs_of(self._seed, self._size)
        while some := list(islice(entries, batch)):
            for topic, group in groupby(some, key=lambda entry: entry[0]):
                await memory.take(topic, [entry for _, entry, _ in group])
            total.inputs += len(some)
            total.broken += sum(broken for _, _, broken in some)

    async def _culprit(self) -> str:
        memory = Memory(*_programs(self._number))
        for number, (topic, entry, _) in enumerate(inputs_of(self._seed, self._size)):
            try:
                await memory.take(topic, [entry])
            except Exception as escaped:  # noqa: BLE001  # as above
                return f"{self._name}, input {number} at {topic}: {escaped!r}\n{entry!r}"
        return ""


def _judge(memory: Memory, total: Fuzzed) -> Violation | str | None:
    """The same proof as of a real log, and all books balanced."""
    proof = Proof({(door, PARTITION): (0, len(memory.topics[door])) for door in DOORS})
    for topic in (*DOORS, REPLIES.name, DEAD_LETTERS.name, COMMANDS.name, EVENTS.name):
        for record in memory.topics[topic]:
            if violation := proof.feed(record):
                return violation
    if violation := next(proof.outstanding(), None):
        return violation
    figures = proof.tally()
    total.outcomes.update(figures.outcomes)
    total.codes.update(figures.codes)
    total.events += len(memory.topics[EVENTS.name])
    crooked = (key for key, row in memory.rows.items() if unpack(row, key.decode()).books.total() != 0)
    return next((f"the books of {key!r} do not add up" for key in crooked), None)


def _programs(number: int) -> tuple[Program, ...]:
    """Each in its turn, in force all the time."""
    plain, grocer, first = as_program(RULES), load_program(SHIPPED / "grocer.yaml"), load_program(SHIPPED / "first.yaml")
    changes = {"effective_from": plain.effective_from, "currency": plain.currency, "unknown_outlets": "accept"}
    chosen = (plain, grocer, first)[number % 3].model_copy(update=changes | {"program": "main"})
    return chosen, load_program(SHIPPED / "staff.yaml").model_copy(update=changes)


def inputs_of(seed: str, size: int) -> Iterator[tuple[str, Input, bool]]:
    """The inputs of one world as (topic, record, whether it is broken).

    None shows an id that came before with another card: an account cannot see that, `verify` tells it (docs/guarantees.md).
    """
    random = Random(seed)  # noqa: S311  # to be had again
    owners: dict[str, str] = {}
    for topic, entry, broken in islice(_drawn(random), size):
        if entry[1] is None or _owner(entry[1], owners):
            yield topic, entry, broken


def _drawn(random: Random) -> Iterator[tuple[str, Input, bool]]:
    mutations, examples = Mutations(random), _examples()
    tills = Tills(random.randrange(1 << 30), MEMBERS)
    ahead = 0
    yield from ((entry.topic, (entry.key, entry.value, entry.timestamp_ms, ()), False) for entry in tills.joining())
    for entry in tills.shopping(lambda: True):
        ahead = random.choice((0, 3600, DAY, -DAY, LEAP)) if random.random() < 0.002 else ahead
        at_ms = max(0, entry.timestamp_ms + ahead * 1000)
        topic, value = entry.topic, entry.value
        if value is None or random.random() < 0.25:
            yield topic, (entry.key, value, at_ms, ()), False
            continue
        if random.random() < 0.3:
            topic, value = _dressed(random, *random.choice(examples), at_ms // 1000)
        value = _mutated(mutations, value)
        yield topic, (_key(random, value), value, at_ms, _headers(random)), True


def _owner(value: bytes, owners: dict[str, str]) -> bool:
    """Whether the record's id belongs to whom it shows; whoever comes first owns it."""
    try:
        body = json.loads(value)
        day = str(body.get("business_date")).replace("-", "")
        made = "/".join((str(body.get("outlet")), str(body.get("till")), day, str(body.get("receipt"))))
        name = str(body.get("check_id") or made if "business_date" in body else body.get("request_id") or body.get("command_id"))
        shown = body.get("member") or body.get("loyalty_id") or f"receipt:{body.get('of') or name}"
    except (ValueError, AttributeError, RecursionError):
        return True
    return owners.setdefault(name, str(shown)) == str(shown)


def _dressed(random: Random, topic: str, example: bytes, now: int) -> tuple[str, bytes]:
    """An example of the contract as one of our members would have made it now; some stay as they are."""
    body = json.loads(example)
    if not isinstance(body, dict) or random.random() < 0.1:
        return topic, example
    member, name = f"H-{random.randint(1, MEMBERS)}", f"x-{random.randrange(1 << 40)}"
    own = {"at": datetime.fromtimestamp(now, UTC).isoformat(), "currency": "USD", "member": card(member), "loyalty_id": member}
    own |= dict.fromkeys(("receipt", "check_id", "request_id", "command_id"), name)
    return topic, json.dumps(body | {name: value for name, value in own.items() if name in body}).encode()


def _mutated(mutations: Mutations, value: bytes) -> bytes:
    try:
        return mutations.of(value)
    except (ValueError, RecursionError):  # poison is no JSON to begin with
        return value[: len(value) // 2]


def _key(random: Random, value: bytes) -> bytes | None:
    """The key that belongs to the record, so that it gets past the first door; at times another."""
    if random.random() < 0.03:
        return random.choice((None, b"", b"card:H1ABC", b"\xff\xfe", b"loyalty:H-1", b"k" * 1000))
    try:
        body = json.loads(value)
        shown = body.get("loyalty_id") or body.get("member") or ""
        return str(shown).encode()
    except (ValueError, AttributeError, RecursionError):
        return b"card:H1ABC"


def _headers(random: Random) -> tuple[tuple[str, bytes], ...]:
    if random.random() < 0.9:
        return ()
    return random.choice(((("sent-at", b"soon"),), (("sent-at", b"9" * 30),), (("", b""),), (("origin", b"a/0/1"),) * 3))


def _examples() -> list[tuple[str, bytes]]:
    """Those of the contract, valid and not."""
    return [(topic, path.read_bytes()) for topic in INBOUND for path in sorted(EXAMPLES.glob(f"{topic}/*/*/*.json"))]
