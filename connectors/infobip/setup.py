"""What must exist at Infobip before the first delivery: custom attributes, the tag, event definitions.

Law: types there are for ever. What is missing is created (or reported, when only verifying); another type stops the sink.
"""

from collections.abc import Generator, Iterable, Mapping
from typing import Any

from connectors.sink import Again, Answer, Call, Halt, Lost, Reply, Setup, classify, segment

PAGE = 1000
ATTRIBUTE_TYPES = {"text": "STRING", "number": "DECIMAL", "boolean": "BOOLEAN", "date": "DATE"}
PROPERTY_TYPES = {"text": "String", "number": "Decimal", "boolean": "Boolean", "date": "DateTime", "datetime": "DateTime"}
Asked = Generator[Call, Reply, "Answer | Halt | Again"]


def provision(attributes: Mapping[str, str], tag: str, definitions: Iterable[Mapping[str, Any]], *, create: bool) -> Setup:
    """Everything, in order. `attributes` by name their dataType, `definitions` as they are posted."""
    problem = yield from provision_attributes(attributes, create=create)
    if problem is None and tag:
        problem = yield from provision_tag(tag, create=create)
    for definition in definitions:
        if problem is None:
            problem = yield from _definition(definition, create=create)
    return problem


def provision_attributes(wanted: Mapping[str, str], *, create: bool) -> Setup:
    """Each custom attribute exists with its type."""
    there = yield from _attributes()
    if isinstance(there, Halt | Again):
        return there
    for name, kind in wanted.items():
        found = there.get(name.casefold())
        problem = _compared("attribute", name, found, kind) if found else (yield from _attribute(name, kind, create=create))
        if problem is not None:
            return problem
    return None


def _attributes() -> Generator[Call, Reply, "dict[str, str] | Halt | Again"]:
    """All of the account: dataType by name, without case as Infobip has it."""
    found: dict[str, str] = {}
    page = 1
    while True:
        answer = yield from _ask(Call("attributes", "GET", f"/people/2/customAttributes?limit={PAGE}&page={page}"))
        if not isinstance(answer, Answer):
            return answer
        body = answer.json()
        listed = body.get("customAttributes") if isinstance(body, dict) else None
        if answer.status != 200 or not isinstance(listed, list):
            return _strange("the list of custom attributes", answer)
        found |= {str(one.get("name")).casefold(): str(one.get("dataType")) for one in listed if isinstance(one, dict)}
        if len(listed) < PAGE:
            return found
        page += 1


def _attribute(name: str, kind: str, *, create: bool) -> Setup:
    if not create:
        return Halt(f"custom attribute {name!r} ({kind}) does not exist")
    answer = yield from _ask(Call("attributes.create", "POST", "/people/2/customAttributes", {"name": name, "dataType": kind}))
    if not isinstance(answer, Answer):
        return answer
    if answer.status in (200, 201):
        return None
    # Whatever it says: somebody else may have created it meanwhile.
    again = yield from _ask(Call("attribute", "GET", f"/people/2/customAttributes/{segment(name)}"))
    if not isinstance(again, Answer):
        return again
    body = again.json()
    if again.status != 200 or not isinstance(body, dict):
        return Halt(f"custom attribute {name!r} ({kind}) cannot be created: {answer.status} {answer.text(300)}")
    return _compared("attribute", name, str(body.get("dataType")), kind)


def provision_tag(name: str, *, create: bool) -> Setup:
    """The tag exists."""
    found = yield from _ask(Call("tag", "GET", f"/people/2/tags/{segment(name)}"))
    if not isinstance(found, Answer) or found.status == 200:
        return None if isinstance(found, Answer) else found
    if not create:
        return Halt(f"tag {name!r} does not exist")
    made = yield from _ask(Call("tag.create", "POST", "/people/2/tags", {"name": name}))
    if not isinstance(made, Answer) or made.status in (200, 201):
        return None if isinstance(made, Answer) else made
    again = yield from _ask(Call("tag", "GET", f"/people/2/tags/{segment(name)}"))
    if not isinstance(again, Answer) or again.status == 200:
        return None if isinstance(again, Answer) else again
    return Halt(f"tag {name!r} cannot be created: {made.status} {made.text(300)}")


def _definition(wanted: Mapping[str, Any], *, create: bool) -> Setup:
    """One event definition exists, and has each field with its type."""
    name = wanted["definitionId"]
    found = yield from _ask(Call("definition", "GET", f"/peopleevents/2/definitions/{name}"))
    if not isinstance(found, Answer):
        return found
    if found.status != 200:
        if not create:
            return Halt(f"event definition {name!r} does not exist")
        made = yield from _ask(Call("definition.create", "POST", "/peopleevents/2/definitions", wanted))
        if not isinstance(made, Answer) or made.status in (200, 201):
            return None if isinstance(made, Answer) else made
        if made.status != 409:
            return Halt(f"event definition {name!r} cannot be created: {made.status} {made.text(300)}")
        found = yield from _ask(Call("definition", "GET", f"/peopleevents/2/definitions/{name}"))
        if not isinstance(found, Answer):
            return found
    return (yield from _fields(wanted, found, create=create))


def _fields(wanted: Mapping[str, Any], found: Answer, *, create: bool) -> Setup:
    """Compare the fields; add what is missing: changes there are additive only."""
    name, body = wanted["definitionId"], found.json()
    if found.status != 200 or not isinstance(body, dict):
        return _strange(f"event definition {name!r}", found)
    fields = [one for one in body.get("fields") or [] if isinstance(one, dict)]
    there = {one.get("name"): str(one.get("type")) for one in fields}
    for field in wanted["fields"]:
        known = there.get(field["name"])
        problem = _compared(f"field of event {name}", field["name"], known, field["type"]) if known else None
        if problem is not None:
            return problem
    missing = [field for field in wanted["fields"] if field["name"] not in there]
    if not missing:
        return None
    if not create:
        return Halt(f"event definition {name!r} has no {', '.join(field['name'] for field in missing)}")
    texts = {"title": body.get("title") or wanted["title"], "description": body.get("description") or wanted["description"]}
    changed = {**texts, "fields": [*fields, *missing]}
    answer = yield from _ask(Call("definition.change", "POST", f"/peopleevents/2/definitions/{name}", changed))
    if not isinstance(answer, Answer) or answer.status in (200, 201):
        return None if isinstance(answer, Answer) else answer
    return Halt(f"event definition {name!r} cannot be extended: {answer.status} {answer.text(300)}")


def _compared(what: str, name: str, found: str | None, wanted: str) -> Halt | None:
    if found is not None and found.casefold() == wanted.casefold():
        return None
    return Halt(f"{what} {name!r} is {found}, not {wanted}; types cannot be changed at Infobip: map it to another name")


def _ask(call: Call) -> Asked:
    """An answer worth looking at, or why there is none: later, or not before somebody acts."""
    reply = yield call
    match reply:
        case Lost():
            return Again(reply.why, unknown=reply.sent)
        case Answer(status=400 | 404 | 409):
            return reply
    problem = classify(reply)
    if problem is None:
        return reply
    return problem if isinstance(problem, Halt | Again) else Halt(f"{call.method} {call.path}: {reply.status} {reply.text(300)}")


def _strange(what: str, answer: Answer) -> Halt | Again:
    """A gateway's page in place of an answer goes away; a refusal does not."""
    if answer.status < 300:
        return Again(f"{what}: an answer that cannot be read")
    return Halt(f"{what}: {answer.status} {answer.text(300)}")
