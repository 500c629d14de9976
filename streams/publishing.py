"""Publishing a program: one version, once. What was published is never changed, so that every point stays explainable."""

from aiokafka import AIOKafkaProducer

from schemas.codec import encode
from schemas.program import Program
from schemas.topics import PROGRAMS
from streams.log import read_topic
from streams.settings import reach


class PublishError(ValueError):
    """The version cannot be published; the message says why."""


async def versions(bootstrap: str) -> dict[str, Program | None]:
    """What there is, by `program@version`. None: it cannot be read here. As in a worker, what was readable before stands."""
    found: dict[str, Program | None] = {}
    async for record in read_topic(bootstrap, PROGRAMS.name):
        key = (record.key or b"").decode(errors="replace")
        if record.value is None:
            found.pop(key, None)
            continue
        try:
            found[key] = Program.model_validate_json(record.value)
        except ValueError:
            found.setdefault(key, None)
    return found


async def published(bootstrap: str) -> dict[str, Program]:
    """All versions that can be read, by `program@version`."""
    return {key: program for key, program in (await versions(bootstrap)).items() if program is not None}


async def publish(bootstrap: str, program: Program) -> bool:
    """Publish a version; False when just this one is there already. Raises PublishError."""
    known = await versions(bootstrap)
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


def _require_new(program: Program, known: dict[str, Program | None]) -> None:
    if program.key in known:
        raise PublishError(f"{program.key} was published with other contents: give the change a new version")
    for key, other in known.items():
        name, _, version = key.rpartition("@")
        if name == program.program and version.isdecimal() and int(version) > program.version:
            raise PublishError(f"{key} is there already: versions only go up")
        if other is None or other.program != program.program:
            continue
        if other.effective_from > program.effective_from:
            raise PublishError(f"{other.key} takes effect later, on {other.effective_from.isoformat()}")
        if other.currency != program.currency:
            raise PublishError(f"{other.key} counts {other.currency}: a program keeps its currency")
