"""The worker of tomorrow: as today's, and it writes a field into each of our own records that today's code has never heard of."""

import orjson

from streams import agents
from streams.cli import main
from streams.domain import render

FIELD = "of_tomorrow"


def _marked(raw):
    return orjson.dumps(orjson.loads(raw) | {FIELD: {"by": "newer code"}})


def _event(raw):
    event = orjson.loads(raw)
    return orjson.dumps(event | {"data": event["data"] | {FIELD: True}, FIELD.replace("_", ""): "1"})


def install():
    encode, events = agents.encode, render.events
    agents.encode = lambda model: _marked(encode(model))  # commands, identities, members
    render.events = lambda *about: [_event(raw) for raw in events(*about)]


if __name__ == "__main__":
    install()
    main()
