"""OAuth client credentials: one token for all, renewed early, got anew once after a 401, never shown."""

import asyncio

import pytest

from connectors.crm.token import Token
from connectors.delivery import Again, Halt
from connectors.sink import Call, Lost
from tests.connectors.crm_flows import told
from tests.connectors.ground import change, happening

FORM = {"grant_type": "client_credentials", "client_secret": "s3~+/="}
URL = "https://login.example.org/token"
CALL = Call("api", "GET", "/x")


class Watch:
    """A clock that is set by hand."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def token():
    watch = Watch()
    return Token(URL, FORM, watch), watch


def drive(flow, *replies):
    """What the flow called and what it returned."""
    calls, left = [], list(replies)
    try:
        call = next(flow)
        while True:
            calls.append(call)
            call = flow.send(left.pop(0))
    except StopIteration as end:
        assert not left
        return calls, end.value


def fresh(value="T1", seconds=3600):
    return told(200, {"access_token": value, "expires_in": seconds, "token_type": "Bearer"})


def test_the_first_call_gets_a_token_with_the_secret_encoded_in_a_form():
    one, _ = token()
    calls, reply = drive(one.send(CALL), fresh(), told(200, {}))
    assert [call.path for call in calls] == [URL, "/x"]
    assert calls[0].body == b"grant_type=client_credentials&client_secret=s3~%2B%2F%3D"
    assert calls[0].headers["content-type"] == "application/x-www-form-urlencoded"
    assert calls[0].secret
    assert reply.status == 200
    assert one.bearer == "Bearer T1"


def test_the_token_serves_until_minutes_before_its_end():
    one, watch = token()
    drive(one.ready(), fresh(seconds=3600))
    watch.now += 3299
    assert drive(one.ready())[0] == []
    watch.now += 2
    assert len(drive(one.ready(), fresh("T2"))[0]) == 1
    assert one.bearer == "Bearer T2"


def test_a_short_life_is_renewed_at_nine_tenths_and_an_unsaid_one_is_an_hour():
    one, watch = token()
    drive(one.ready(), fresh(seconds=100))
    watch.now += 91
    drive(one.ready(), told(200, {"access_token": "T2"}))
    watch.now += 3299
    assert drive(one.ready())[0] == []


def test_while_the_old_token_lives_a_login_that_is_down_does_not_matter():
    one, watch = token()
    drive(one.ready(), fresh(seconds=3600))
    watch.now += 3400
    assert drive(one.ready(), told(503))[1] is None
    watch.now += 300
    assert drive(one.ready(), told(503))[1] == Again("503")


def test_after_a_401_there_is_one_new_token_and_one_more_try():
    one, _ = token()
    calls, reply = drive(one.send(CALL), fresh("T1"), told(401), fresh("T2"), told(204))
    assert [call.path for call in calls] == [URL, "/x", URL, "/x"]
    assert reply.status == 204
    assert drive(one.send(CALL), told(401), fresh("T3"), told(401))[1].status == 401


def test_who_meets_a_401_with_an_old_token_takes_the_one_that_is_there():
    one, _ = token()
    drive(one.ready(), fresh("T1"))
    late = one.send(CALL)
    next(late)
    drive(one.send(CALL), told(401), fresh("T2"), told(204))
    assert late.send(told(401)) == CALL, "no third token is asked for"


PROBLEMS = {
    "a wrong secret": (
        told(401, {"error": "invalid_client", "error_description": "AADSTS7000215: no"}),
        Halt("no token: invalid_client AADSTS7000215: no (401)"),
    ),
    "a wrong scope": (told(400, {"error": "invalid_scope"}), Halt("no token: invalid_scope (400)")),
    "a refusal in HTML": (told(403, b"<html>"), Halt("no token: refused (403)")),
    "a wrong address": (told(404, b"<html>"), Halt("no token: refused (404)")),
    "throttled": (told(429, retry_after=7.0), Again("429", 7.0)),
    "down": (told(503), Again("503")),
    "down, in its own words": (told(400, {"error": "temporarily_unavailable"}), Again("temporarily_unavailable")),
    "no answer": (Lost("ReadTimeout", sent=True), Again("ReadTimeout", unknown=True)),
    "a page": (told(200, b"<html>"), Again("the token endpoint answered something else")),
    "JSON without a token": (told(200, {"token_type": "Bearer"}), Again("the token endpoint answered something else")),
}


@pytest.mark.parametrize(("answer", "expected"), PROBLEMS.values(), ids=PROBLEMS)
def test_without_a_token_nothing_is_called_and_the_reason_is_said(answer, expected):
    one, _ = token()
    calls, outcome = drive(one.send(CALL), answer)
    assert [call.path for call in calls] == [URL]
    assert outcome == expected


def test_neither_secret_nor_token_is_ever_shown():
    one, _ = token()
    calls, _ = drive(one.send(CALL), fresh("T1"), told(200, {}))
    shown = f"{one!r} {calls!r}"
    assert "s3~" not in shown
    assert "T1" not in shown


@pytest.mark.parametrize("adapter", ["dataverse", "salesforce"])
async def test_twelve_at_once_ask_for_one_token(ground_of, adapter):
    ground = await ground_of(adapter)
    courier = ground.courier()
    await asyncio.gather(
        *(ground.deliver(change(f"M-{n}"), courier=courier, prepare=False) for n in range(12)),
    )
    tokens = [one for one in ground.sandbox.log if "oauth2" in one.path]
    assert len(tokens) == 1
    assert len(ground.sandbox.people()) == 12


@pytest.mark.parametrize("adapter", ["dataverse", "salesforce"])
async def test_when_all_tokens_run_out_one_new_one_goes_on_and_nobody_notices(ground_of, adapter):
    ground = await ground_of(adapter)
    courier = ground.courier()
    await ground.deliver(change("M-1"), courier=courier)
    ground.sandbox.expire()
    assert await ground.deliver(change("M-1"), happening("M-1"), courier=courier, prepare=False) == []
    assert len([one for one in ground.sandbox.log if "oauth2" in one.path]) == 2
    assert ground.ears.halts == []
    assert ground.ears.outcomes == {"delivered": 3}


async def test_a_login_elsewhere_is_not_shown_the_token(ground_of):
    ground = await ground_of("dataverse")
    sink = ground.sink()
    courier = ground.courier(sink)
    await courier.prepare()
    assert "authorization" not in courier._headers(Call("token", "POST", URL), b"")
    assert courier._headers(CALL, None)["authorization"] == sink.headers()["authorization"]
