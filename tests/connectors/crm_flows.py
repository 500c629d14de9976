"""CRM flows driven by hand: what is called, and what comes of given answers."""

import orjson

from connectors import crm
from connectors.sink import Answer

ENVIRONMENTS = {
    "dataverse": {"TENANT": "t", "CLIENT_ID": "id", "CLIENT_SECRET": "s3~+/=", "BATCH": "10"},
    "salesforce": {"CLIENT_ID": "id", "CLIENT_SECRET": "s3~+/="},
    "oracle": {"USERNAME": "user", "PASSWORD": "s3~+/=", "BATCH": "10"},
}
TOKEN = {"access_token": "T1", "expires_in": 3599, "token_type": "Bearer"}


def environment(adapter, **settings):
    """Settings of that adapter against a CRM that is nowhere."""
    own = {**ENVIRONMENTS[adapter], "BASE_URL": "https://crm.example.org", **{k.upper(): v for k, v in settings.items()}}
    return {"LOY_CRM_ADAPTER": adapter, **{f"LOY_CRM_{name}": value for name, value in own.items()}}


def sink(adapter, **settings):
    return crm.load(environment(adapter, **settings))


def told(status, body=None, retry_after=None, **headers):
    """An answer; `body` as JSON unless bytes."""
    raw = body if isinstance(body, bytes) else b"" if body is None else orjson.dumps(body)
    return Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, raw, retry_after)


def drive(flow, *replies, token=TOKEN):
    """Calls made and what the flow returned. Calls for a token are answered by themselves, and not listed."""
    calls, left = [], list(replies)
    try:
        call = next(flow)
        while True:
            if call.secret:
                call = flow.send(told(200, token))
                continue
            calls.append(call)
            call = flow.send(left.pop(0))
    except StopIteration as end:
        assert not left, f"{len(left)} answers were not asked for"
        return calls, end.value
