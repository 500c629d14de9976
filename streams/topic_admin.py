"""Makes the broker agree with the catalogue of topics.

Law: settings are corrected, data never is, and history that somebody chose to keep is not deleted. A topic with another number
of partitions is refused, because changing it would send members to other partitions than the ones that hold their history.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import for_code
from rich.table import Table

from schemas.topics import COMPACTED, TOPICS
from streams.settings import reach

PARTITIONS = 12
REPLICATION_MAX = 3
LEADERS_SECONDS = 30.0

_SET_ON_TOPIC = 1  # config_source of DescribeConfigs: set for this topic, not inherited
_UNKNOWN_TOPIC = 3  # error code
_TOPIC_EXISTS = 36  # error code: somebody else created it just now


class TopicLike(Protocol):
    """What the catalogue's `Topic` offers, and any other topic that is to be created with it."""

    @property
    def name(self) -> str: ...
    @property
    def partitions(self) -> int | None: ...
    def settings(self, *, keep_history: bool = False) -> dict[str, str]: ...


@dataclass(frozen=True, slots=True)
class Changelog:
    """A table's changelog, which Faust would create otherwise with settings of its own."""

    name: str
    partitions: int | None = None
    bytes_max: int = 2_000_000

    def settings(self, *, keep_history: bool = False) -> dict[str, str]:  # noqa: ARG002  # compacted either way
        return COMPACTED | {
            "max.message.bytes": str(self.bytes_max),
            "message.timestamp.type": "CreateTime",
        }


class TopicError(RuntimeError):
    """The broker would not do it; the message says what, for a person."""


@dataclass(frozen=True, slots=True)
class Change:
    """One setting of one topic that was corrected."""

    topic: str
    setting: str
    was: str
    now: str


@dataclass(frozen=True, slots=True)
class Report:
    """What `apply_topics` found and did. Every topic is in exactly one of `created` and `existing`."""

    created: tuple[str, ...]
    existing: tuple[str, ...]
    changes: tuple[Change, ...]
    errors: tuple[str, ...]
    """What could not be made right, one sentence each."""

    @property
    def ok(self) -> bool:
        return not self.errors

    def table(self) -> Table:
        """For a terminal: one row per topic."""
        table = Table("topic", "state", "changed", title="Topics")
        for name in sorted((*self.created, *self.existing)):
            changed = [f"{c.setting}: {c.was} -> {c.now}" for c in self.changes if c.topic == name]
            table.add_row(name, "created" if name in self.created else "there", "\n".join(changed))
        return table


async def apply_topics(
    bootstrap: str,
    partitions: int = PARTITIONS,
    replication: int | None = None,
    *,
    keep_history: bool = False,
    extra: Sequence[TopicLike] = (),
    topics: Sequence[TopicLike] = TOPICS,
) -> Report:
    """Create what is missing of `topics` and `extra`, correct settings of the rest, and wait until the broker shows both.

    `partitions` is for the topics that name no number; `replication` None means three, or as many as there are brokers.
    Idempotent. Raises TopicError when the broker refuses, KafkaConnectionError when there is none.
    """
    wanted = {topic.name: topic for topic in (*topics, *extra)}
    async with _admin(bootstrap) as admin:
        there = set(await admin.list_topics()) & wanted.keys()
        missing = [topic for name, topic in wanted.items() if name not in there]
        copies = replication or min(REPLICATION_MAX, len((await admin.describe_cluster())["brokers"]))
        await _create(admin, missing, partitions, copies, keep_history=keep_history)
        shapes = await _wait_for_leaders(admin, wanted.keys())
        changes = await _correct(admin, wanted.values(), shapes, keep_history=keep_history)
    return Report(
        created=tuple(sorted(topic.name for topic in missing)),
        existing=tuple(sorted(there)),
        changes=tuple(changes),
        errors=tuple(_miscounted(wanted.values(), partitions, shapes)),
    )


@dataclass(frozen=True, slots=True)
class Survey:
    """What `survey_topics` found. Nothing of it was changed."""

    brokers: int
    missing: tuple[str, ...]
    miscounted: tuple[str, ...]
    """Topics with another number of partitions than they should have, one sentence each."""
    differences: tuple[Change, ...]
    """What `apply_topics` would correct."""
    thin: tuple[str, ...]
    """Topics with partitions that have no leader, or replicas that are not in step."""


async def survey_topics(bootstrap: str, partitions: int, *, extra: Sequence[TopicLike] = ()) -> Survey:
    """How the broker agrees with the catalogue. What is kept for ever instead of for days is no difference.

    Raises KafkaError when it cannot be asked.
    """
    wanted = {topic.name: topic for topic in (*TOPICS, *extra)}
    async with _admin(bootstrap) as admin:
        brokers = len((await admin.describe_cluster())["brokers"])
        known = {t["topic"]: t for t in await admin.describe_topics() if t["topic"] in wanted}
        there = [topic for name, topic in wanted.items() if name in known]
        shapes = {name: _shape(topic["partitions"]) for name, topic in known.items()}
        should = {topic.name: topic.settings() | acknowledged(shapes[topic.name].copies) for topic in there}
        found = await _settings(admin, should) if there else {}
    return Survey(
        brokers=brokers,
        missing=tuple(sorted(wanted.keys() - known.keys())),
        miscounted=tuple(_miscounted(there, partitions, shapes)),
        differences=tuple(_differences(should, found)),
        thin=tuple(sorted(name for name, topic in known.items() if not _led(topic) or not _in_step(topic))),
    )


def _in_step(topic: Mapping[str, Any]) -> bool:
    return all(len(part["isr"]) >= len(part["replicas"]) for part in topic["partitions"])


@asynccontextmanager
async def _admin(bootstrap: str) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(**reach(bootstrap), client_id="loy-topics")
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()


async def _create(
    admin: AIOKafkaAdminClient, missing: Iterable[TopicLike], partitions: int, copies: int, *, keep_history: bool
) -> None:
    new = [
        NewTopic(
            t.name,
            t.partitions or partitions,
            copies,
            topic_configs=t.settings(keep_history=keep_history) | acknowledged(copies),
        )
        for t in missing
    ]
    if not new:
        return
    response = await admin.create_topics(new)
    for name, code, message, *_ in response.topic_errors:
        if code not in (0, _TOPIC_EXISTS):
            raise TopicError(f"{name} could not be created: {message or for_code(code).__name__}")


def acknowledged(copies: int) -> dict[str, str]:
    """How many copies must have a record before it counts as written: one may be away, and one that is left is not enough."""
    return {"min.insync.replicas": str(max(1, copies - 1))}


@dataclass(frozen=True, slots=True)
class _Shape:
    """What of a topic is never changed here."""

    partitions: int
    copies: int


async def _wait_for_leaders(admin: AIOKafkaAdminClient, names: Iterable[str]) -> dict[str, _Shape]:
    """Return partitions and copies of each topic, once all of them have leaders."""
    names = set(names)
    lacking = names
    try:
        async with asyncio.timeout(LEADERS_SECONDS):
            while True:
                # All topics are asked for: asking by name may create what is missing.
                known = {t["topic"]: t for t in await admin.describe_topics() if t["topic"] in names}
                lacking = {name for name in names if name not in known or not _led(known[name])}
                if not lacking:
                    return {name: _shape(topic["partitions"]) for name, topic in known.items()}
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise TopicError(f"No leader after {LEADERS_SECONDS:.0f} s for: {', '.join(sorted(lacking))}") from None


def _shape(parts: Sequence[Mapping[str, Any]]) -> _Shape:
    return _Shape(len(parts), min(len(part["replicas"]) for part in parts))


def _led(topic: Mapping[str, Any]) -> bool:
    parts = topic["partitions"]
    return topic["error_code"] == 0 and bool(parts) and all(p["error_code"] == 0 and p["leader"] >= 0 for p in parts)


def _miscounted(wanted: Iterable[TopicLike], partitions: int, shapes: Mapping[str, _Shape]) -> Iterable[str]:
    for topic in wanted:
        expected = topic.partitions or partitions
        if (there := shapes[topic.name].partitions) != expected:
            yield (
                f"{topic.name} has {there} partitions instead of {expected}. It is never changed: keys would "
                "move away from their history. Ask for the number it has, or start with a new cluster and replay into it."
            )


async def _correct(
    admin: AIOKafkaAdminClient, wanted: Iterable[TopicLike], shapes: Mapping[str, _Shape], *, keep_history: bool
) -> list[Change]:
    """Set what differs, and return it."""
    should = {topic.name: topic.settings(keep_history=keep_history) | acknowledged(shapes[topic.name].copies) for topic in wanted}
    found = await _settings(admin, should)
    changes = list(_differences(should, found))
    # The request replaces every setting of a topic, so those that somebody else set there are sent along.
    whole = {change.topic: dict(found[change.topic].own) for change in changes}
    for change in changes:
        whole[change.topic][change.setting] = change.now
    if whole:
        resources = [ConfigResource(ConfigResourceType.TOPIC, name, settings) for name, settings in whole.items()]
        for response in await admin.alter_configs(resources):
            _check(response, "changed")
        await _heard(admin, should)
    return changes


async def _heard(admin: AIOKafkaAdminClient, should: Mapping[str, Mapping[str, str]]) -> None:
    """Back when the broker tells the settings it was given: it hears of them after they are accepted, not with it."""
    try:
        async with asyncio.timeout(LEADERS_SECONDS):
            while True:
                if not list(_differences(should, await _settings(admin, should))):
                    return
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise TopicError(f"Settings were accepted and are not seen after {LEADERS_SECONDS:.0f} s") from None


def _differences(should: Mapping[str, Mapping[str, str]], found: Mapping[str, "_Settings"]) -> Iterable[Change]:
    """What is kept for ever instead of for days is none: to correct that would delete history."""
    for name, settings in should.items():
        for setting, value in settings.items():
            was = found[name].values.get(setting, "")
            if was != value and (setting, was) != ("retention.ms", "-1"):
                yield Change(name, setting, was, value)


@dataclass(frozen=True, slots=True)
class _Settings:
    values: dict[str, str]
    own: dict[str, str]
    """Those of `values` that are set on the topic itself."""


async def _settings(admin: AIOKafkaAdminClient, names: Iterable[str]) -> dict[str, _Settings]:
    found = {}
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    for response in await _described(admin, resources):
        _check(response, "described")
        for _, _, _, name, entries in response.resources:
            values = {entry[0]: entry[1] for entry in entries}
            own = {entry[0]: entry[1] for entry in entries if entry[3] == _SET_ON_TOPIC}
            found[name] = _Settings(values, own)
    return found


async def _described(admin: AIOKafkaAdminClient, resources: list[ConfigResource]) -> list[Any]:
    """The answer of a broker that knows the topics: one may be asked that has not heard yet of what another created."""
    end = time.monotonic() + LEADERS_SECONDS
    while True:
        responses: list[Any] = await admin.describe_configs(resources)
        unheard = any(code == _UNKNOWN_TOPIC for response in responses for code, *_ in response.resources)
        if not unheard or time.monotonic() > end:
            return responses
        await asyncio.sleep(0.05)


def _check(response: Any, done: str) -> None:
    for code, message, _, name, *_ in response.resources:
        if code:
            raise TopicError(f"{name} could not be {done}: {message or for_code(code).__name__}")
