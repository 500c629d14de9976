"""Topics as a test wants them. A broker says yes before it shows a change, so each of these is back when it is seen."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from tests.processes import until


@asynccontextmanager
async def asking(bootstrap) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


async def create(bootstrap, *topics: NewTopic):
    """Back when each partition has a leader."""
    async with asking(bootstrap) as admin:
        made = await admin.create_topics(list(topics))
        assert not any(error[1] for error in made.topic_errors), made
        names = {topic.name for topic in topics}

        async def led():
            known = [topic for topic in await admin.describe_topics() if topic["topic"] in names]
            return len(known) == len(names) and all(part["leader"] >= 0 for topic in known for part in topic["partitions"])

        await until(led, "the topics have leaders")


async def clear(bootstrap, names):
    """Delete those that are there; back when they are gone."""
    async with asking(bootstrap) as admin:
        there = set(await admin.list_topics()) & set(names)
        if there:
            await admin.delete_topics(sorted(there))

            async def gone():
                return not set(await admin.list_topics()) & there

            await until(gone, "the topics are gone")


async def settings(bootstrap, topic):
    """What holds for a topic, by name: set on it or inherited."""
    async with asking(bootstrap) as admin:
        return await _described(admin, topic)


async def alter(bootstrap, topic, values):
    """Put these settings in place of all that are set on the topic."""
    async with asking(bootstrap) as admin:
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, values)])

        async def seen():
            return values.items() <= (await _described(admin, topic)).items()

        await until(seen, f"{topic} has its new settings")


async def _described(admin, topic):
    [response] = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    return {entry[0]: entry[1] for entry in response.resources[0][4]}
