"""What operators do to a running system: upgrade it worker by worker, stop it, restore it. Nothing is lost, nothing is doubled."""

import asyncio
from collections import Counter
from datetime import timedelta

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import OffsetAndMetadata

from schemas.topics import COMMANDS, EVENTS, REPLIES
from streams.app import changelogs
from streams.log import read_topic
from streams.topic_admin import apply_topics
from tests.e2e.harness import PARTITIONS, START
from tests.e2e.newer import FIELD
from tests.e2e.shoppers import DAYS, PROGRAM, Shoppers
from tests.e2e.test_crashes import answers, sharing
from tests.kafka_topics import clear
from tests.processes import until

NEWER = "tests.e2e.newer"


async def test_old_and_new_code_and_two_versions_of_the_program_run_side_by_side(installed):
    system = await installed(PROGRAM)
    one, two = system.worker("one"), system.worker("two")
    await asyncio.gather(one.ready(), two.ready())
    await until(lambda: sharing(one, two), "both have partitions")
    shoppers = Shoppers(system, 60, seed=23)
    await shoppers.register()
    takes_effect = START + timedelta(days=16 + DAYS + 2)
    await system.publish(PROGRAM.model_copy(update={"version": 2, "effective_from": takes_effect}))

    shopping = asyncio.create_task(shoppers.shop(500))
    await answers(system, 200)
    assert not shopping.done()
    assert await one.stop() == 0
    newer_one = await system.worker("newer-one", module=NEWER).ready()
    await until(lambda: sharing(two, newer_one), "old and new share the partitions")
    await shopping

    shopping = asyncio.create_task(shoppers.shop(600))
    await answers(system, len(system.answered) + 300)
    assert not shopping.done()
    assert await two.stop() == 0
    await system.worker("newer-two", module=NEWER).ready()
    await shopping
    await system.all_answered()

    figures, _ = await system.prove()
    assert figures.members == 60
    await shoppers.judge()
    commands = {command["id"]: command for command in await _bodies(system, COMMANDS.name)}
    assert {command["program"].rpartition("@")[2] for command in commands.values()} == {"1", "2"}
    wrote = Counter(
        (FIELD in commands[event["data"]["cause"]], FIELD in event["data"]) for event in await _bodies(system, EVENTS.name)
    )
    # (command by newer code, decided by newer code): all four, so each has read what the other wrote.
    assert set(wrote) == {(False, False), (False, True), (True, False), (True, True)}, wrote


async def _bodies(system, topic):

    return [orjson.loads(record.value) async for record in read_topic(system.bootstrap, topic)]


async def test_a_worker_that_is_asked_to_stop_finishes_what_it_has_so_that_nothing_is_done_again(installed):
    system = await installed(PROGRAM)
    worker = await system.worker().ready()
    shoppers = Shoppers(system, 40, seed=5)
    await shoppers.register()
    shopping = asyncio.create_task(shoppers.shop(500))
    for due in (150, 350):
        await answers(system, due)
        assert not shopping.done()
        assert await worker.stop() == 0
        worker.start()
    await shopping
    await system.all_answered()
    answered = Counter(dict(record.headers)["origin"] for record in system.heard[REPLIES.name])
    assert set(answered.values()) == {1}, "what was finished was done again"
    await system.prove()


async def test_when_the_accounts_are_lost_with_their_changelog_the_log_of_record_brings_them_back(installed):
    """The drill of docs/deploying.md: accounts and their changelog are gone, the group reads loy.commands from its start."""
    system = await installed(PROGRAM)
    worker = await system.worker().ready()
    shoppers = Shoppers(system, 40, seed=31)
    await shoppers.register()
    await shoppers.shop(400)
    await system.all_answered()
    figures, kept = await system.prove()
    assert await worker.stop() == 0

    worker.wipe()
    await clear(system.bootstrap, [changelogs(system.settings)[0].name])
    await apply_topics(system.bootstrap, PARTITIONS, keep_history=True, extra=changelogs(system.settings))
    await _from_the_start(system, COMMANDS.name)
    worker.start()
    await worker.ready(2)

    assert await system.quiet() == kept
    again, _ = await system.prove()
    assert again.points == figures.points
    assert again.outcomes == figures.outcomes


async def _from_the_start(system, topic):
    """As `kafka-consumer-groups.sh --reset-offsets --to-earliest` does, while nobody is in the group."""
    async with AIOKafkaConsumer(
        bootstrap_servers=system.bootstrap, group_id=system.settings.group, enable_auto_commit=False
    ) as consumer:
        parts = [TopicPartition(topic, n) for n in range(PARTITIONS)]
        consumer.assign(parts)
        await consumer.commit({part: OffsetAndMetadata(0, "") for part in parts})
