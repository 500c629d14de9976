"""Whether a new JSON Schema keeps what an old one promised. Pure: two schemas in, sentences out.

Law: additive only, judged from the reader's side.
`in`: every record that was valid stays valid and means the same, because others write it or we keep it and read it again.
`out`: who built on the old schema understands what is written now. Such a reader ignores fields and tolerates enum values that
it does not know; it never has to do without a field, or take a wider type, range or pattern.
`both`: kept for ever *and* read by others. What cannot be compared (patterns, formats) counts as broken when it differs.
"""

from collections.abc import Iterator
from typing import Any, Literal

Schema = dict[str, Any]
Direction = Literal["in", "out", "both"]
_Side = Literal["in", "out"]

_ANNOTATIONS = {"$id", "$schema", "$defs", "title", "description", "examples", "default", "deprecated"}
_COMPARED = {"type", "enum", "const", "anyOf", "properties", "required", "additionalProperties", "items"}
_LOWER = {"minimum", "exclusiveMinimum", "minLength", "minItems"}
_UPPER = {"maximum", "exclusiveMaximum", "maxLength", "maxItems"}
_WHY = {"in": "records that were valid would be refused", "out": "readers of the old schema would not expect it"}
_REPLACED = "records that leave it out would change their meaning"


def breaking_changes(old: Schema, new: Schema, direction: Direction = "both") -> list[str]:
    """What `new` breaks of `old`, one sentence each with the field's path; nothing when the change is additive."""
    before, after = _inlined(old, old), _inlined(new, new)
    found: list[str] = []
    if direction != "out":
        found += _refused(before, after, "", "in")
    if direction != "in":
        found += _refused(after, before, "", "out")
    return sorted(set(found))


def _inlined(node: Any, root: Schema, above: tuple[str, ...] = ()) -> Any:
    """The schema with every `$ref` replaced by what it names; one that contains itself stays a `$ref`, equal only to itself."""
    if isinstance(node, list):
        return [_inlined(item, root, above) for item in node]
    if not isinstance(node, dict):
        return node
    name = node.get("$ref", "").removeprefix("#/$defs/")
    if name and name not in above:
        beside = {key: value for key, value in node.items() if key != "$ref"}
        node, above = root["$defs"][name] | beside, (*above, name)
    return {key: _inlined(value, root, above) for key, value in node.items() if key != "$defs"}


def _refused(given: Schema, by: Schema, path: str, side: _Side) -> Iterator[str]:
    """Why something valid under `given` may be refused under `by`."""
    if _branches(given) != [given] or _branches(by) != [by]:
        yield from _branch_refused(given, by, path, side)
    elif _types(by) and (not _types(given) or _types(given) - _types(by)):
        yield _say(path, "type", given, by, side)
    else:
        yield from _value_refused(given, by, path, side)
        yield from _bound_refused(given, by, path, side)
        yield from _fields_refused(given, by, path, side)
        if "items" in by:
            yield from _refused(given.get("items", {}), by["items"], f"{path}[]", side)
    if side == "in" and "default" in given and "default" in by and not _grown(given["default"], by["default"], by):
        yield _say(path, "default", given, by, side)


def _grown(old: Any, new: Any, schema: Schema) -> bool:
    """Whether a default means what it meant: the same, but for fields that came since and are there as their own default."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return bool(old == new)
    fields: dict[str, Schema] = schema.get("properties", {})
    kept = all(name in new and _grown(value, new[name], fields.get(name, {})) for name, value in old.items())
    return kept and all(new[name] == fields.get(name, {}).get("default", ...) for name in new.keys() - old.keys())


def _say(path: str, key: str, given: Schema, by: Schema, side: _Side) -> str:
    old, new = (given, by) if side == "in" else (by, given)
    why = _REPLACED if key == "default" else _WHY[side]
    return f"{path.lstrip('.') or '(root)'}: {key} {old.get(key, 'none')!r} -> {new.get(key, 'none')!r}: {why}"


def _branches(schema: Schema) -> list[Schema]:
    """The alternatives of a union, or the schema itself."""
    for key in ("anyOf", "oneOf"):
        if key in schema and not schema.keys() - _ANNOTATIONS - {key}:
            return list(schema[key])
    return [schema]


def _branch_refused(given: Schema, by: Schema, path: str, side: _Side) -> Iterator[str]:
    """Each alternative given must find one that takes it; when none does, the closest says why."""
    for branch in _branches(given):
        tag = _tag(branch)
        others = [other for other in _branches(by) if _tag(other) == tag]
        if not others:
            yield f"{path.lstrip('.')}{tag}: alternative {'removed' if side == 'in' else 'added'}: {_WHY[side]}"
            continue
        yield from min((list(_refused(branch, other, path + tag, side)) for other in others), key=len)


def _tag(schema: Schema) -> str:
    """`<sale>` for the alternative whose `type` or `kind` says sale."""
    consts = [field["const"] for field in schema.get("properties", {}).values() if "const" in field]
    return f"<{consts[0]}>" if consts else ""


def _types(schema: Schema) -> set[str]:
    named = schema.get("type", [])
    types = {named} if isinstance(named, str) else set(named)
    return types | {"integer"} if "number" in types else types


def _value_refused(given: Schema, by: Schema, path: str, side: _Side) -> Iterator[str]:
    if "const" in by and given.get("const", object) != by["const"]:
        yield _say(path, "const", given, by, side)
    if "enum" in by:
        offered = given.get("enum", [given["const"]] if "const" in given else None)
        if offered is None or (side == "in" and any(value not in by["enum"] for value in offered)):
            yield _say(path, "enum", given, by, side)


def _bound_refused(given: Schema, by: Schema, path: str, side: _Side) -> Iterator[str]:
    for key in sorted(by.keys() - _ANNOTATIONS - _COMPARED):
        loosest = 0 if key in {"minLength", "minItems"} else None
        have, want = given.get(key, loosest), by[key]
        if have is not None and ((key in _LOWER and have >= want) or (key in _UPPER and have <= want)):
            continue
        if have != want:
            yield _say(path, key, given, by, side)


def _fields_refused(given: Schema, by: Schema, path: str, side: _Side) -> Iterator[str]:
    have, want = given.get("properties", {}), by.get("properties", {})
    old, new = (have, want) if side == "in" else (want, have)
    for name in old.keys() - new.keys():
        yield f"{path}.{name}".lstrip(".") + ": removed"
    for name in set(by.get("required", [])) - set(given.get("required", [])):
        if side == "in":
            yield f"{path}.{name}".lstrip(".") + ": required, and was not before"
        elif name in new:
            yield f"{path}.{name}".lstrip(".") + ": no longer always there"
    if side == "in" and by.get("additionalProperties") is False and given.get("additionalProperties", True) is not False:
        yield f"{path.lstrip('.') or '(root)'}: closed: unknown fields would be refused"
    for name in have.keys() & want.keys():
        yield from _refused(have[name], want[name], f"{path}.{name}", side)
