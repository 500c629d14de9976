"""The composition root: settings become a running worker."""

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from connectors import registry
from connectors.sink import Sink
from streams import health, metrics, runtime, sinks, topology, tracing
from streams.settings import Access, Settings
from streams.topic_admin import Changelog, TopicLike

SINK_BATCH = 5000
"""Records of a sink's batch at most: what vendors take is larger than what a ledger should."""
SINK_FETCH = 8 << 20
"""Bytes of a partition fetched at once: so many records of the usual size."""


@dataclass(frozen=True, slots=True)
class Roll:
    """The topic in which the workers of a group find each other."""

    name: str
    partitions: int = 1

    def settings(self, *, keep_history: bool = False) -> dict[str, str]:  # noqa: ARG002  # nobody reads yesterday's
        return runtime.ROLL_SETTINGS


def changelogs(settings: Settings) -> tuple[TopicLike, ...]:
    """The topics behind tables and workers, which `loy topics apply` creates with those of the catalogue."""
    tables = [(settings.group, topology.ACCOUNTS)]
    tables += [(sink_group(settings, name), sinks.MEMBERS_TABLE) for name in registry.SINKS]
    made = tuple(Changelog(runtime.changelog_topic(group, table), settings.partitions) for group, table in tables)
    return made + tuple(Roll(runtime.roll_topic(group)) for group, _ in tables)


def sink_group(settings: Settings, name: str) -> str:
    """The consumer group of a sink."""
    return f"{settings.group}-sink-{name}"


def worker(settings: Settings) -> runtime.App:
    """The worker's app, ready to run."""
    app = runtime.app(_config(settings, settings.group, settings.data, settings.max_batch))
    topology.build(app, settings)
    return app


def _config(settings: Settings, group: str, datadir: Path, max_batch: int, **more: Any) -> runtime.Config:
    return runtime.Config(
        group=group,
        bootstrap=settings.kafka_bootstrap,
        access=Access.load().client(),
        datadir=datadir,
        store=f"{settings.store}://",
        session_timeout=settings.session_seconds,
        heartbeat_interval=settings.session_seconds / 12,
        standby_replicas=settings.standbys,
        instance_id=settings.instance_id,
        max_batch=max_batch,
        **more,
    )


def sink_worker(settings: Settings, sink: Sink) -> runtime.App:
    """The app of one sink: a group of its own, so that a slow vendor delays only itself."""
    folder = settings.data / f"sink-{sink.name}"
    app = runtime.app(_config(settings, sink_group(settings, sink.name), folder, SINK_BATCH, fetch_bytes=SINK_FETCH))
    sinks.build(app, sink, settings.partitions)
    return app


def run_sink(settings: Settings, name: str) -> None:
    """Run a sink's worker until SIGTERM or SIGINT. Raises KeyError, ConfigurationError, MappingError."""
    _begin(settings, f"sink-{name}", sink_group(settings, name))
    app = sink_worker(settings, registry.build(name))
    _serve(settings, f"sink-{name}", health.watch(app, settings.partitions, patient=True))
    _run(app, settings)


def run_worker(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT; ends by SystemExit."""
    _begin(settings, "worker", settings.group)
    app = worker(settings)
    metrics.begin_worker()
    _serve(settings, "worker", health.watch(app, settings.partitions))
    _run(app, settings)


def _begin(settings: Settings, role: str, group: str) -> None:
    tracing.journal.begin(settings.log_level, settings.log_format)
    tracing.start(settings, role, group)


def _run(app: runtime.App, settings: Settings) -> None:
    try:
        runtime.run(app, loglevel=settings.log_level)
    finally:
        tracing.stop()


def _serve(settings: Settings, role: str, truth: health.Health) -> None:
    metrics.serve(settings.metrics_host, settings.metrics_port, version("loystream"), role=role, health=truth)
