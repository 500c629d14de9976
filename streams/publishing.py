"""Publishing a program: one version, once. What was published is never changed, so that every point stays explainable."""

from aiokafka import AIOKafkaProducer

from schemas.codec import encode
from schemas.program import Program
from schemas.topics import PROGRAMS
from streams.log import latest_by_key
from streams.settings import reach


class PublishError(ValueError):
    """The version cannot be published; the message says why."""


async def published(bootstrap: str) -> dict[str, Program]:
    """All versions by `program@version`."""
    rows = await latest_by_key(bootstrap, PROGRAMS.name)
    return {key.decode(): Program.model_validate_json(record.value) for key, record in rows.items() if record.value is not None}


async def publish(bootstrap: str, program: Program) -> bool:
    """Publish a version; False when just this one is there already. Raises PublishError."""
    known = await published(bootstrap)
    if known.get(program.key) == program:
        return False
    _require_new(program, known)
    producer = AIOKafkaProducer(**reach(bootstrap), acks="all", enable_idempotence=True)
    try:
        await producer.start()
        await producer.send_and_wait(PROGRAMS.name, encode(program), key=program.key.encode())
    finally:
        await producer.stop()
    return True


def _require_new(program: Program, known: dict[str, Program]) -> None:
    if program.key in known:
        raise PublishError(f"{program.key} was published with other contents: give the change a new version")
    for other in known.values():
        if other.program == program.program and other.version > program.version:
            raise PublishError(f"{other.key} is there already: versions only go up")
        if other.program == program.program and other.effective_from > program.effective_from:
            raise PublishError(f"{other.key} takes effect later, on {other.effective_from.isoformat()}")
        if other.program == program.program and other.currency != program.currency:
            raise PublishError(f"{other.key} counts {other.currency}: a program keeps its currency")
