"""The composition root: settings become a running worker."""

from importlib.metadata import version

from streams import metrics, runtime, topology
from streams.settings import Settings
from streams.topic_admin import Changelog


def changelogs(settings: Settings) -> tuple[Changelog, ...]:
    """The topics behind the tables, which `loy topics apply` creates with those of the catalogue."""
    return (Changelog(runtime.changelog_topic(settings.group, topology.ACCOUNTS), settings.partitions),)


def worker(settings: Settings) -> runtime.App:
    """The worker's app, ready to run."""
    app = runtime.app(
        runtime.Config(
            group=settings.group,
            bootstrap=settings.kafka_bootstrap,
            datadir=settings.data,
            store=f"{settings.store}://",
            session_timeout=settings.session_seconds,
            heartbeat_interval=settings.session_seconds / 3,
            instance_id=settings.instance_id,
            max_batch=settings.max_batch,
        )
    )
    topology.build(app, settings)
    return app


def run_worker(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT; ends by SystemExit."""
    metrics.serve(settings.metrics_host, settings.metrics_port, version("loystream"))
    runtime.run(worker(settings), loglevel=settings.log_level)
