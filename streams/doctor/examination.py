"""Looks at everything an installation stands on: what is wrong, and what to do about it.

Law: nothing of ours is changed. One record goes to a topic of its own, since only the broker can say what its clock shows.
"""

import asyncio
import os
import shutil
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Literal, NamedTuple

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

from connectors import registry
from connectors.configuration import ConfigurationError
from schemas.program import Program
from schemas.topics import BACKLOG, CHECKS, COMMANDS, EVENTS, MEMBER_COMMANDS, MEMBERS, REDEMPTIONS
from streams.app import changelogs, sink_group
from streams.broker import HOST
from streams.kafka_jars import BrokerError, find_java
from streams.log import Span, UnknownTopicError, offsets_of, open_log
from streams.publishing import versions
from streams.runtime import roll_topic
from streams.runtime.repairs import PROVEN
from streams.runtime.roll import statement_of
from streams.settings import PREFIX, Access, Settings, SettingsError, reach
from streams.shell import in_words
from streams.topic_admin import survey_topics

State = Literal["good", "warning", "bad"]

PROBE = "loy.doctor"
"""One partition, stamped by the broker, kept an hour."""
SKEW_WARNING, SKEW_BAD = 0.5, 5.0  # seconds
LAG_WARNING, LAG_BAD = 2.0, 60.0  # seconds that the oldest record has waited
LATE_WARNING, LATE_BAD = 3600.0, 6 * 3600.0  # the same of late checks; the alert LoyBacklogWaits begins where it is bad
FREE_WARNING, FREE_BAD = 0.10, 0.03  # of the disk
ASK_SECONDS = 20.0
BROKERS_MIN = 3
ROLL_RECORDS = 5000  # of a hundred workers, a session and more
SOURCES = (CHECKS.name, REDEMPTIONS.name, MEMBER_COMMANDS.name, COMMANDS.name)
TOLD = (EVENTS.name, MEMBERS.name)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. `do` is what helps, for a person; empty when nothing has to be done."""

    about: str
    state: State
    says: str
    do: str = ""


async def examine(bootstrap: str | None = None, *, probe: bool = True) -> list[Finding]:
    """Look at everything; what cannot be asked because something before it is bad is left out."""
    found = [*_versions(), *_java()]
    try:
        settings = Settings.load(kafka_bootstrap=bootstrap)
        access = Access.load()
        access.client()
    except SettingsError as failure:
        return [*found, Finding("settings", "bad", str(failure), "Correct the variable; `streams/settings.py` describes each.")]
    found += [*_settings(settings, access), *_disk(settings), *_sinks()]
    kafka = await _kafka(settings)
    found.append(kafka)
    if kafka.state != "bad":
        found += [finding async for finding in _installation(settings, probe=probe)]
    return found


# ---------------------------------------------------------------- this machine


def _versions() -> Iterator[Finding]:
    wrong = [
        f"{package} {version(package)} instead of {proven}" for package, proven in PROVEN.items() if version(package) != proven
    ]
    here = f"loystream {version('loystream')}, Python {sys.version.split()[0]}"
    if wrong:
        yield Finding(
            "versions", "bad", f"{here}; {', '.join(wrong)}", "Install the locked requirements: no worker starts with these."
        )
    else:
        yield Finding("versions", "good", here)


def _java() -> Iterator[Finding]:
    try:
        yield Finding("java", "good", f"{find_java()}: `loy broker` can run here")
    except BrokerError as failure:
        yield Finding("java", "good", f"`loy broker` cannot run here, which only laptops need. {str(failure).splitlines()[0]}")


def _settings(settings: Settings, access: Access) -> Iterator[Finding]:
    local = all(address.rsplit(":", 1)[0] in (HOST, "localhost") for address in settings.kafka_bootstrap.split(","))
    yield Finding(
        "settings", "good", f"Kafka at {settings.kafka_bootstrap}, group {settings.group}, {settings.partitions} partitions"
    )
    if settings.identity_key == Settings.model_fields["identity_key"].default:
        yield Finding(
            "identity key",
            "warning" if local else "bad",
            "the one that everybody knows: whoever reads loy.identities can try cards",
            f"Set {PREFIX}IDENTITY_KEY (or _FILE) before the first member joins; changing it later forgets every card.",
        )
    if not local and access.kafka_protocol in ("PLAINTEXT", "SASL_PLAINTEXT"):
        yield Finding(
            "kafka protocol",
            "warning",
            f"{access.kafka_protocol}: receipts and contact data travel unencrypted",
            f"Set {PREFIX}KAFKA_PROTOCOL=SASL_SSL.",
        )


def _disk(settings: Settings) -> Iterator[Finding]:
    folder = settings.data.absolute()
    standing = next(path for path in (folder, *folder.parents) if path.exists())
    usage = shutil.disk_usage(standing)
    says = f"{usage.free / 1e9:,.1f} GB free of {usage.total / 1e9:,.1f} at {folder}"
    if not standing.is_dir() or not os.access(standing, os.W_OK | os.X_OK):
        yield Finding("disk", "bad", f"{folder} cannot be written", f"Give it to this user, or name another with {PREFIX}DATA.")
    elif usage.free < FREE_WARNING * usage.total:
        state: State = "bad" if usage.free < FREE_BAD * usage.total else "warning"
        yield Finding("disk", state, says, "Make room. A worker's folder may be deleted while it is stopped: it is a cache.")
    else:
        yield Finding("disk", "good", says)


def _sinks() -> Iterator[Finding]:
    """The sinks that have settings here."""
    for name in registry.SINKS:
        if not any(variable.startswith(f"{PREFIX}{name.upper()}_") for variable in os.environ):
            continue
        try:
            registry.build(name)
        except (ConfigurationError, ValueError, OSError) as failure:
            yield Finding(f"sink {name}", "bad", str(failure), f"docs/sinks/{name}.md has every setting.")
        else:
            yield Finding(f"sink {name}", "good", "its settings are whole")


# ---------------------------------------------------------------- Kafka


async def _kafka(settings: Settings) -> Finding:
    """Whether it lets us in, and gives an idempotent producer its number, as workers need."""
    producer = AIOKafkaProducer(**reach(settings.kafka_bootstrap), acks="all", enable_idempotence=True)
    try:
        async with asyncio.timeout(ASK_SECONDS):
            await producer.start()
    except TimeoutError:
        says = f"no answer to an idempotent producer within {ASK_SECONDS:.0f} s"
        return Finding("kafka", "bad", says, "Every process needs idempotent producers: ask who runs it.")
    except (KafkaError, OSError) as failure:
        words, _, help_ = in_words(failure).partition(". ")
        return Finding("kafka", "bad", words, help_ or f"See {PREFIX}KAFKA_*, and ask who runs it.")
    finally:
        await producer.stop()
    return Finding("kafka", "good", "it answers, lets us in, and takes idempotent producers")


async def _installation(settings: Settings, *, probe: bool) -> AsyncIterator[Finding]:
    """What lies on a Kafka that answers. Each part is tried for itself."""
    parts: list[tuple[str, Callable[[], Awaitable[list[Finding]]]]] = [
        ("topics", partial(_topics, settings)),
        ("programs", partial(_programs, settings)),
        ("workers", partial(_group, settings, "workers", settings.group, SOURCES, "loy worker")),
        ("backlog lane", partial(_lane, settings)),
    ]
    parts += [(f"sink {name}", partial(_sink, settings, name)) for name in registry.SINKS]
    if probe:
        parts.append(("clock", partial(_clock, settings)))
    for about, look in parts:
        try:
            async with asyncio.timeout(ASK_SECONDS):
                for finding in await look():
                    yield finding
        except UnknownTopicError:
            pass  # said once, of the topics
        except TimeoutError:
            yield Finding(about, "bad", f"no answer within {ASK_SECONDS:.0f} s", "Look at the brokers' logs.")
        except (KafkaError, OSError) as failure:
            yield Finding(about, "bad", in_words(failure), "May this user do that? Look at its rights, and at the brokers.")


async def _topics(settings: Settings) -> list[Finding]:
    survey = await survey_topics(settings.kafka_bootstrap, settings.partitions, extra=changelogs(settings))
    found = []
    if survey.missing:
        found.append(Finding("topics", "bad", f"missing: {', '.join(survey.missing)}", "`loy topics apply` creates them."))
    for sentence in survey.miscounted:
        says, _, rest = sentence.partition(". ")
        found.append(Finding("topics", "bad", says, f"{rest} The setting is {PREFIX}PARTITIONS."))
    if survey.differences:
        named = "; ".join(f"{c.topic}: {c.setting} is {c.was}, should be {c.now}" for c in survey.differences)
        found.append(Finding("topics", "bad", named, "`loy topics apply` corrects them."))
    if survey.thin:
        found.append(Finding("replicas", "bad", f"not all in step: {', '.join(survey.thin)}", "A broker is down or slow."))
    if survey.brokers < BROKERS_MIN:
        says = f"{survey.brokers} broker{'s' * (survey.brokers > 1)}: a disk that is lost takes points with it"
        found.append(Finding("brokers", "warning", says, "Production needs three, and three copies of each topic."))
    return found or [Finding("topics", "good", f"all there, as the catalogue wants them, on {survey.brokers} brokers")]


async def _programs(settings: Settings) -> list[Finding]:
    known = await versions(settings.kafka_bootstrap)
    readable = [program for program in known.values() if program is not None]
    if len(readable) == len(known):
        return [_in_force(settings, readable)]
    says = f"cannot be read here: {', '.join(sorted(key for key, program in known.items() if program is None))}"
    help_ = "Does newer code know it? Else docs/runbook.md, LoyReferenceUnreadable."
    return [Finding("programs", "bad", says, help_), _in_force(settings, readable)]


def _in_force(settings: Settings, published: list[Program]) -> Finding:
    mine = [program for program in published if program.program == settings.program]
    in_force = [program for program in mine if program.effective_from.timestamp() <= time.time()]
    if not mine:
        return Finding("programs", "bad", f"no version of {settings.program} was published", "`loy program publish FILE`.")
    if not in_force:
        first = min(program.effective_from for program in mine)
        return Finding("programs", "bad", f"{settings.program} counts from {first.isoformat()} only", "Publish one for now.")
    newest = max(in_force, key=lambda program: (program.effective_from, program.version))
    return Finding("programs", "good", f"{newest.key} counts, of {len(published)} published")


# ---------------------------------------------------------------- groups and their lag


class Waiting(NamedTuple):
    """What a group has not finished: how many records, and for how long the oldest one has waited."""

    records: int
    seconds: float


async def _sink(settings: Settings, name: str) -> list[Finding]:
    return await _group(settings, f"sink {name}", sink_group(settings, name), TOLD, f"loy sink {name}")


async def _group(settings: Settings, about: str, group: str, topics: tuple[str, ...], command: str) -> list[Finding]:
    """Who is in the group, and how long its oldest record has waited. A sink that never ran is nobody's fault."""
    members = await _members(settings, group)
    done = await _done(settings, group, topics)
    if not members and not done:
        if about != "workers":
            return []
        return [Finding(about, "bad", f"nobody works in the group {group}, and nobody did", f"Start one: `{command}`.")]
    return [_behind(about, members, await _waiting(settings, done, topics), command)]


async def _lane(settings: Settings) -> list[Finding]:
    """Late checks wait in a lane of their own while live ones are there: for minutes or hours, and nobody stands at the till."""
    topics = (BACKLOG.name,)
    return [_late(await _waiting(settings, await _done(settings, settings.group, topics), topics))]


def _late(waiting: Waiting) -> Finding:
    says = f"{waiting.records:,} late checks wait" + (
        f", the oldest for {waiting.seconds / 60:,.0f} min" if waiting.records else ""
    )
    state: State = "bad" if waiting.seconds > LATE_BAD else "warning" if waiting.seconds > LATE_WARNING else "good"
    return Finding(
        "backlog lane", state, says, "" if state == "good" else "Do they become fewer? docs/runbook.md, LoyBacklogWaits."
    )


async def _done(settings: Settings, group: str, topics: tuple[str, ...]) -> dict[TopicPartition, int]:
    async with _admin(settings) as admin:
        offsets = await offsets_of(admin, group)
    return {part: offset for part, offset in offsets.items() if part.topic in topics}


async def _waiting(settings: Settings, done: dict[TopicPartition, int], topics: tuple[str, ...]) -> Waiting:
    async with open_log(settings.kafka_bootstrap) as log:
        spans = await log.spans(*topics)
        waiting = {part: Span(max(span.start, done.get(part, span.start)), span.end) for part, span in spans.items()}
        lag = sum(max(0, span.end - span.start) for span in waiting.values())
        first = {part: Span(span.start, span.start + 1) for part, span in waiting.items() if span.start < span.end}
        oldest = [record async for batch in log.read(first) for record in batch]
    # Replays of history are of long ago by intent.
    waited = max((time.time() - record.timestamp_ms / 1000 for record in oldest if settings.clock != "stream"), default=0.0)
    return Waiting(lag, waited)


def _behind(about: str, members: int, waiting: Waiting, command: str) -> Finding:
    lag, waited = waiting
    says = f"{members} at work; {lag:,} records wait" + (f", the oldest for {waited:,.0f} s" if waited else "")
    if not members:
        return Finding(about, "bad", says, f"None runs: start one with `{command}`, or look why it ended.")
    if waited > LAG_BAD:
        return Finding(about, "bad", says, "One is stuck, or they are too few: look at /readyz and the log of each.")
    return Finding(about, "warning" if waited > LAG_WARNING else "good", says)


async def _members(settings: Settings, group: str) -> int:
    """How many said on the group's roll, within a session, that they live."""
    since = time.time() - settings.session_seconds
    alive: dict[str, bool] = {}
    async with open_log(settings.kafka_bootstrap) as log:
        spans = await log.spans(roll_topic(group))
        newest = {part: Span(max(span.start, span.end - ROLL_RECORDS), span.end) for part, span in spans.items()}
        async for batch in log.read(newest):
            for record in batch:
                if (said := statement_of(record.value)) is not None:
                    alive[said.worker] = not said.leaves and record.timestamp_ms / 1000 >= since
    return sum(alive.values())


@asynccontextmanager
async def _admin(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(**reach(settings.kafka_bootstrap), client_id="loy-doctor")
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()


# ---------------------------------------------------------------- clocks


async def _clock(settings: Settings) -> list[Finding]:
    """The broker's clock against ours: the stamp it gives a record, against the moments around it."""
    async with _admin(settings) as admin:
        if PROBE not in await admin.list_topics():
            kept = {"message.timestamp.type": "LogAppendTime", "retention.ms": "3600000"}
            await admin.create_topics([NewTopic(PROBE, 1, 1, topic_configs=kept)])
    async with AIOKafkaProducer(**reach(settings.kafka_bootstrap)) as producer:
        await producer.partitions_for(PROBE)
        before = time.time()
        sent = await producer.send_and_wait(PROBE, b"", partition=0)
        after = time.time()
    return [_skewed(sent.timestamp / 1000, before, after)]


def _skewed(stamp: float, before: float, after: float) -> Finding:
    """Only what lies outside of the moments around the record is proven."""
    skew = stamp - after if stamp > after else stamp - before if stamp < before else 0.0
    side = "ahead of" if skew > 0 else "behind"
    says = f"the broker's clock is {abs(skew):.1f} s {side} this one" if skew else "the same as the broker's"
    state: State = "bad" if abs(skew) > SKEW_BAD else "warning" if abs(skew) > SKEW_WARNING else "good"
    return Finding("clock", state, says, "" if state == "good" else "Time is data here: let both follow NTP.")
