"""The AsyncAPI 3.0 document of all topics, as a plain dict. Pure: the catalogue in, the document out."""

from collections.abc import Iterable
from typing import Any

from schemas.dead_letters import DeadLetter
from schemas.topics import EVENTS, TOPICS, Topic

Node = dict[str, Any]
_BINDING = "0.5.0"  # of AsyncAPI's Kafka bindings, for channels and messages alike
_SCHEMA_FORMAT = "application/schema+json;version=draft-2020-12"
_ABOUT = (
    "Every record of the loyalty engine. Tills and CRM write to `pos.*` and `crm.*` and must send exactly what the schemas say: "
    "unknown fields are refused. Readers of `pos.replies` and `loy.events` must ignore fields, event types and enum values that "
    "they do not know: the contract only ever grows. Where no number of partitions is given it follows the installation, and is "
    "the same for all of those."
)


def asyncapi(kinds: dict[str, dict[str, Any]]) -> Node:
    """The document. `kinds`: for each topic the names of its wire types, each with its model."""
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Loystream", "version": "1.0.0", "description": _ABOUT, "license": {"name": "Apache-2.0"}},
        "defaultContentType": "application/json",
        "channels": {topic.name: _channel(topic, kinds[topic.name]) for topic in TOPICS},
        "operations": dict(_operations(TOPICS)),
        "components": {
            "messages": {
                f"{topic.name}.{kind}": _message(topic, kind, model)
                for topic in TOPICS
                for kind, model in kinds[topic.name].items()
            }
        },
    }


def _channel(topic: Topic, kinds: Iterable[str]) -> Node:
    return {
        "address": topic.name,
        "summary": topic.about,
        "description": f"Key: {topic.key}. Written by {topic.writer}; read by {', '.join(topic.readers)}. Kept {_kept(topic)}.",
        "messages": {kind: {"$ref": f"#/components/messages/{topic.name}.{kind}"} for kind in kinds},
        "bindings": {"kafka": _kafka(topic)},
    }


def _kept(topic: Topic) -> str:
    if topic.compacted:
        return "compacted: the last record of each key, no value erases"
    if topic.retention_days is None:
        return "for ever"
    return "1 day" if topic.retention_days == 1 else f"{topic.retention_days} days"


def _kafka(topic: Topic) -> Node:
    settings = topic.settings()
    numbers = {key: int(settings[key]) for key in ("retention.ms", "max.message.bytes") if key in settings}
    return {
        "topic": topic.name,
        **({"partitions": topic.partitions} if topic.partitions else {}),
        "topicConfiguration": {"cleanup.policy": settings["cleanup.policy"].split(","), **numbers},
        "bindingVersion": _BINDING,
    }


def _message(topic: Topic, kind: str, model: Any) -> Node:
    schema = {"schemaFormat": _SCHEMA_FORMAT, "schema": {"$ref": f"./json/{topic.name}/{kind}.json"}}
    kept_whole = model is DeadLetter
    return {
        "name": kind,
        "summary": " ".join((model.__doc__ or "").split()),
        "contentType": "application/octet-stream" if kept_whole else _content_type(topic),
        "headers" if kept_whole else "payload": schema,
        "bindings": {"kafka": {"key": {"type": "string", "description": topic.key}, "bindingVersion": _BINDING}},
    }


def _content_type(topic: Topic) -> str:
    return "application/cloudevents+json" if topic is EVENTS else "application/json"


def _operations(topics: Iterable[Topic]) -> Iterable[tuple[str, Node]]:
    """One per writer and reader: the whole system is described, so each operation is tagged with who does it."""
    for topic in topics:
        for who in topic.writer.split(", "):
            yield _operation(topic, who, "send")
        for who in topic.readers:
            yield _operation(topic, who, "receive")


def _operation(topic: Topic, who: str, action: str) -> tuple[str, Node]:
    name = f"{who.lower().replace(' ', '-')}.{action}.{topic.name}"
    return name, {"action": action, "channel": {"$ref": f"#/channels/{topic.name}"}, "tags": [{"name": who}]}
