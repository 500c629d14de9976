"""The words around operating a sink by hand: what `loy sink NAME --...`, `loy reconcile` and `loy sandbox` show."""

import shlex

from rich.console import Console
from rich.progress import Progress

from connectors import registry
from connectors import sandbox as vendors
from connectors.sink import Sink
from streams import sink_tools
from streams.settings import Settings


def require(name: str) -> None:
    """Raises ValueError for a sink that is not there."""
    if name not in registry.SINKS:
        raise ValueError(f"there is no sink {name!r}: say {', '.join(sorted(registry.SINKS))}")


def named(name: str) -> Sink:
    """The sink of that name, from its settings. Raises ValueError for no such sink, ConfigurationError, MappingError."""
    require(name)
    return registry.build(name)


def starting(console: Console, settings: Settings, sink: Sink) -> None:
    """Whom the worker tells, and where it can be asked; the rest is in its log."""
    metrics = f"http://{settings.metrics_host}:{settings.metrics_port}/metrics"
    console.print(f"{sink.name} tells {sink.base_url}; metrics at {metrics}", markup=False, highlight=False, soft_wrap=True)


def requirements(console: Console, sink: Sink) -> None:
    """What a person must create at the vendor's, when the vendor has no API for it."""
    tell = getattr(sink, "requirements", None)
    lines = tell() if tell else [f"{sink.name} needs nothing but its settings: the sink makes the rest."]
    console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)


async def dry_run(console: Console, settings: Settings, sink: Sink) -> None:
    console.print(await sink_tools.dry_run(settings.kafka_bootstrap, sink), soft_wrap=True)


async def resync(console: Console, settings: Settings, sink: Sink) -> None:
    """With a bar and the time still to go."""
    cursor = settings.data / f"resync-{sink.name}.txt"
    with Progress(console=console) as bars:
        task = bars.add_task(f"{sink.name}: all members", total=None)

        def progress(done: int, total: int, seconds: float) -> None:
            bars.update(
                task, completed=done, total=total, description=f"{sink.name}: {done:,} of {total:,}, {seconds:.0f} s to go"
            )

        told, rejected = await sink_tools.resync(settings.kafka_bootstrap, sink, cursor, progress)
    console.print(f"{told:,} members told, {rejected:,} rejected.")


async def replay_rejected(console: Console, settings: Settings, sink: Sink) -> None:
    done = settings.data / f"replayed-{sink.name}.txt"
    delivered, refused = await sink_tools.replay_rejected(settings.kafka_bootstrap, sink, done)
    console.print(f"{delivered:,} delivered now, {len(refused):,} rejected again.")
    for origin, why in refused[:20]:
        console.print(f"  {origin}  {why.code}: {why.words}", markup=False, highlight=False)


async def reconcile(console: Console, settings: Settings, sink: Sink, *, sample: int | None, repair: bool) -> bool:
    """Answers whether vendor and log agree now."""
    drift = await sink_tools.reconcile(settings.kafka_bootstrap, sink, sample=sample, repair=repair)
    console.print(drift.render())
    return drift.agrees


async def sandbox(console: Console, name: str, port: int, clock: vendors.Clock) -> None:
    """Serve it until cancelled; says where, and by which variables a sink finds it. Raises ValueError, OSError."""
    if name not in vendors.SANDBOXES:
        raise ValueError(f"there is no sandbox {name!r}: say {', '.join(sorted(vendors.SANDBOXES))}")

    def ready(url: str) -> None:
        settings = vendors.sandbox_settings(name, url)
        sink = "crm" if "LOY_CRM_ADAPTER" in settings else name
        lines = [f"{name} answers at {url}: open it in a browser for what arrived. A sink that tells it, in another shell:", ""]
        lines += [f"export {variable}={shlex.quote(value)}" for variable, value in settings.items()]
        console.print("\n".join([*lines, f"loy sink {sink}"]), markup=False, highlight=False, soft_wrap=True)

    await vendors.serve(name, port, clock, ready)
