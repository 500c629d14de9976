"""Prints what Kubernetes should know of us and the code already knows: Strimzi's topics from the catalogue, the operator's rules.

Law: written files are never edited by hand. `python -m streams.manifests` writes them, `--check` says whether they are current.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from schemas.topics import TOPICS
from streams.app import changelogs
from streams.settings import Settings
from streams.topic_admin import TopicLike, acknowledged

DEPLOY = Path(__file__).parents[1] / "deploy"
CLUSTER = "loystream"
COPIES = 3
_MADE = "# Written by `make manifests`; not edited by hand.\n"


def kafka_topics(settings: Settings) -> Iterator[dict[str, Any]]:
    """A KafkaTopic of each topic of the catalogue and of each changelog."""
    topics: list[TopicLike] = [*TOPICS, *changelogs(settings)]
    for topic in topics:
        yield {
            "apiVersion": "kafka.strimzi.io/v1",
            "kind": "KafkaTopic",
            "metadata": {"name": topic.name, "labels": _labels(topic)},
            "spec": {
                "partitions": topic.partitions or settings.partitions,
                "replicas": COPIES,
                "config": topic.settings() | acknowledged(COPIES),
            },
        }


def _labels(topic: TopicLike) -> dict[str, str]:
    """`loystream/partitions: all` are those that an overlay with another number of partitions must change together."""
    return {"strimzi.io/cluster": CLUSTER, "loystream/partitions": "one" if topic.partitions else "all"}


def prometheus_rule(folder: Path) -> dict[str, Any]:
    """The rules of deploy/prometheus as the Prometheus operator takes them."""
    groups = [group for file in sorted(folder.glob("*.rules.yml")) for group in yaml.safe_load(file.read_text())["groups"]]
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "loystream", "labels": {"app.kubernetes.io/part-of": "loystream"}},
        "spec": {"groups": groups},
    }


def files() -> dict[Path, str]:
    """Every file this module answers for, with the text it should have. The catalogue alone decides: no environment."""
    return {
        DEPLOY / "kubernetes/strimzi/topics.yaml": _text(*kafka_topics(Settings.load({}))),
        DEPLOY / "kubernetes/monitoring/rules.yaml": _text(prometheus_rule(DEPLOY / "prometheus")),
    }


def _text(*documents: dict[str, Any]) -> str:
    return _MADE + yaml.safe_dump_all(documents, sort_keys=False, width=130)


def stale() -> list[Path]:
    """Files that do not have the text they should."""
    return [path for path, text in files().items() if not path.exists() or path.read_text() != text]


def main(arguments: list[str]) -> int:
    """Write, or with --check tell; exit code 1 when something is stale then."""
    if "--check" in arguments:
        for path in (old := stale()):
            sys.stderr.write(f"{path.relative_to(DEPLOY.parent)} is stale: run `make manifests`\n")
        return 1 if old else 0
    for path, text in files().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
