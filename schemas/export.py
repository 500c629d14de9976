"""Prints what others read from the models: JSON Schemas, the AsyncAPI document, the core's records, the table of codes.

Law: what is committed is the promise. `python -m schemas.export` writes, but refuses to break the promise unless told
`--allow-breaking`; `--check` writes nothing and fails on any difference. Same models, same bytes.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from pydantic import Field, create_model
from pydantic.json_schema import GenerateJsonSchema

from schemas.asyncapi import asyncapi
from schemas.base import Model
from schemas.codes import Code
from schemas.compatibility import Direction, breaking_changes
from schemas.derive import records
from schemas.events import EVENTS, Event, dataschema
from schemas.topics import EVENTS as EVENTS_TOPIC
from schemas.topics import REPLIES, TOPICS, Topic

ROOT = Path(__file__).parent.parent
JSON = "schemas/json"

# Which promise a topic's schemas keep (schemas/compatibility.py). All others are `in`: written by tills, CRM and program authors,
# or kept and read again by later versions of ourselves.
_DIRECTIONS: dict[str, Direction] = {REPLIES.name: "out", EVENTS_TOPIC.name: "both"}


def direction(topic: Topic) -> Direction:
    """Whose side the topic's compatibility is judged from."""
    return _DIRECTIONS.get(topic.name, "in")


# ---------------------------------------------------------------- what there is


def wire_types(topic: Topic) -> dict[str, type[Model]]:
    """Everything that may travel on the topic: the value of `type` (or the model's own name) -> its model."""
    if topic.value is Event:
        return {name: _event(name) for name in EVENTS}
    if isinstance(topic.value, type):
        return {topic.value.__name__.lower(): topic.value}
    return {get_args(model.model_fields["type"].annotation)[0]: model for model in get_args(get_args(topic.value)[0])}


def _event(name: str) -> type[Model]:
    """The CloudEvent with `type` fixed and `data` as the catalogue of events says."""
    data, meaning = EVENTS[name]
    fixed: dict[str, Any] = {
        "type": (Literal[name], Field(description=meaning)),
        "dataschema": (Literal[dataschema(name)], Field(description=Event.model_fields["dataschema"].description)),
        "data": (data, ...),
    }
    return create_model(name, __base__=Event, __doc__=meaning, **fixed)


# ---------------------------------------------------------------- what is printed


class _Generator(GenerateJsonSchema):
    """Titles for types only: a field's title would repeat its name."""

    def field_title_should_be_set(self, _schema: Any) -> bool:
        return False


def json_schema(topic: Topic, kind: str, model: type[Model]) -> dict[str, Any]:
    """Draft 2020-12. Closed where we read, open where others read: they ignore what they do not know, so that we may add."""
    schema: dict[str, Any] = _tidied(model.model_json_schema(schema_generator=_Generator), closed=direction(topic) == "in")
    head = {"$schema": GenerateJsonSchema.schema_dialect, "$id": f"urn:loystream:{topic.name}:{kind}", "title": model.__name__}
    return head | {"description": " ".join((model.__doc__ or "").split())} | schema


def _tidied(node: Any, *, closed: bool) -> Any:
    """Without OpenAPI's `discriminator`, which JSON Schema does not know."""
    if isinstance(node, list):
        return [_tidied(item, closed=closed) for item in node]
    if not isinstance(node, dict):
        return node
    dropped = {"discriminator"} if closed else {"discriminator", "additionalProperties"}
    kept = {key: value for key, value in node.items() if key not in dropped or not _is_keyword(key, value)}
    return {key: _tidied(value, closed=closed) for key, value in kept.items()}


def _is_keyword(key: str, value: Any) -> bool:
    """Not a field of the same name."""
    return value is False if key == "additionalProperties" else "propertyName" in value


def documents() -> dict[str, str]:
    """Every generated file: path from the root of the repository -> text."""
    kinds = {topic.name: wire_types(topic) for topic in TOPICS}
    schemas = {
        f"{JSON}/{topic.name}/{kind}.json": json.dumps(json_schema(topic, kind, model), indent=2, ensure_ascii=False) + "\n"
        for topic in TOPICS
        for kind, model in kinds[topic.name].items()
    }
    head = "# Printed from schemas/topics.py and the models by `make schemas`. Do not edit.\n"
    body: str = yaml.safe_dump(asyncapi(kinds), sort_keys=False, allow_unicode=True, width=120)
    return schemas | {"schemas/asyncapi.yaml": head + body, "schemas/records.py": records(), "docs/codes.md": _codes()}


def _codes() -> str:
    head = """\
# Codes

Why something was refused, parked, held or kept as a dead letter. A code is contract: it is never renamed or given a second
meaning, and new ones may come. Printed from `schemas/codes.py` by `make schemas`.

| code | meaning |
|---|---|
"""
    return head + "".join(f"| `{code.value}` | {code.meaning} |\n" for code in Code)


# ---------------------------------------------------------------- against what is committed


def drift(root: Path = ROOT) -> list[str]:
    """Files that are not what the models say: changed, missing, or left over."""
    wanted = documents()
    there = {path.relative_to(root).as_posix() for path in (root / JSON).rglob("*.json")}
    different = {name for name, text in wanted.items() if not (root / name).is_file() or (root / name).read_text("utf-8") != text}
    return sorted(different | (there - wanted.keys()))


def breaks(root: Path = ROOT) -> list[str]:
    """What the models break of the promise that the files under `root` hold."""
    return sorted(f"{name}: {sentence}" for name, sentence in _breaks(root))


def _breaks(root: Path) -> Iterator[tuple[str, str]]:
    wanted, directions = documents(), {topic.name: direction(topic) for topic in TOPICS}
    for path in (root / JSON).rglob("*.json"):
        name = path.relative_to(root).as_posix()
        if name not in wanted:
            yield name, "the type is gone"
            continue
        old, new = json.loads(path.read_text("utf-8")), json.loads(wanted[name])
        for sentence in breaking_changes(old, new, directions[path.parent.name]):
            yield name, sentence


def write(root: Path = ROOT) -> None:
    """Make the files under `root` what the models say."""
    wanted = documents()
    for name in drift(root):
        path = root / name
        if name not in wanted:
            path.unlink()
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(wanted[name], "utf-8")


def main(arguments: list[str] | None = None, root: Path = ROOT) -> str | None:
    """What is wrong, for `sys.exit`; None when all is well."""
    parser = argparse.ArgumentParser(prog="python -m schemas.export", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail on any difference")
    parser.add_argument("--allow-breaking", action="store_true", help="write even what breaks the committed contract")
    options = parser.parse_args(arguments)
    broken = [] if options.allow_breaking else breaks(root)
    if broken:
        return _list(
            "The models break the committed contract (python -m schemas.export --allow-breaking writes it all the same)", broken
        )
    if options.check:
        different = drift(root)
        return _list("Not what the models say; run: make schemas", different) if different else None
    write(root)
    return None


def _list(head: str, items: list[str]) -> str:
    return "\n  ".join([f"{head}:", *items])


if __name__ == "__main__":
    sys.exit(main())
