"""Partition leaders, moved as an operator would: another order of replicas, then the preferred one is elected.

Law: replicas stay where they are; only who leads them changes.
"""

from collections.abc import Iterable
from contextlib import asynccontextmanager
from random import Random
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from aiokafka.protocol.admin import AlterPartitionReassignmentsRequest
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Int16, Int32, Schema, String

TIMEOUT_MS = 20_000
_DONE = (0, 84)  # error codes: elected; ELECTION_NOT_NEEDED


class _ElectLeadersResponse(Response):  # type: ignore[misc]  # aiokafka publishes no types
    """https://kafka.apache.org/protocol#The_Messages_ElectLeaders, version 0: preferred leaders."""

    API_KEY = 43
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "results",
            Array(
                ("topic", String("utf-8")),
                ("partitions", Array(("partition", Int32), ("error_code", Int16), ("error_message", String("utf-8")))),
            ),
        ),
    )


class _ElectLeadersStruct(RequestStruct):  # type: ignore[misc]
    API_KEY = 43
    API_VERSION = 0
    RESPONSE_TYPE = _ElectLeadersResponse
    SCHEMA = Schema(
        ("topics", Array(("topic", String("utf-8")), ("partitions", Array(Int32)))),
        ("timeout_ms", Int32),
    )


class _ElectLeaders(Request[_ElectLeadersStruct]):  # type: ignore[misc]
    API_KEY = 43

    def __init__(self, topics: list[tuple[str, list[int]]]) -> None:
        self._topics = topics

    def build(self, request_struct_class: type[_ElectLeadersStruct]) -> _ElectLeadersStruct:
        return request_struct_class(self._topics, TIMEOUT_MS)


class LeaderError(RuntimeError):
    """The cluster would not move its leaders."""


@asynccontextmanager
async def administration(bootstrap: str) -> Any:
    """An admin client for as long as the block runs."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, client_id="loy-chaos")
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()


async def in_sync(bootstrap: str) -> bool:
    """Whether every replica of every partition is there and has everything; False when nobody answers."""
    try:
        async with administration(bootstrap) as admin:
            topics = await admin.describe_topics()
    except (KafkaError, OSError, TimeoutError):
        return False
    parts = [part for topic in topics for part in topic["partitions"]]
    return bool(parts) and all(part["leader"] >= 0 and set(part["isr"]) == set(part["replicas"]) for part in parts)


async def move_leaders(bootstrap: str, random: Random) -> int:
    """Give every partition another leader among its replicas, and answer how many moved. Raises LeaderError."""
    async with administration(bootstrap) as admin:
        wanted = {
            (topic["topic"], part["partition"]): _another_order(part, random)
            for topic in await admin.describe_topics()
            for part in topic["partitions"]
            if len(part["replicas"]) > 1
        }
        order = AlterPartitionReassignmentsRequest(TIMEOUT_MS, _by_topic(wanted), {})
        answer = await admin._send_to_controller(order)  # noqa: SLF001  # the admin client has no method for it
        if answer.error_code:
            raise LeaderError(f"the order of replicas stays: {answer.error_message}")
        election = _ElectLeaders([(topic, [at for at, *_ in parts]) for topic, parts, _ in _by_topic(wanted)])
        elected = await admin._send_to_controller(election)  # noqa: SLF001
        return sum(code in _DONE for _, parts in elected.results for _, code, _ in parts)


def _another_order(part: dict[str, Any], random: Random) -> list[int]:
    others = [replica for replica in part["replicas"] if replica != part["leader"]]
    first = random.choice(others)
    return [first, *(replica for replica in part["replicas"] if replica != first)]


def _by_topic(wanted: dict[tuple[str, int], list[int]]) -> list[tuple[str, list[tuple[int, list[int], Any]], Any]]:
    topics: Iterable[str] = sorted({topic for topic, _ in wanted})
    return [(topic, [(at, order, {}) for (name, at), order in wanted.items() if name == topic], {}) for topic in topics]
