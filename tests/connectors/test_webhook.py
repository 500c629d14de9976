"""The signed webhook: signatures as Standard Webhooks define them, secrets that rotate, messages by our own names."""

from base64 import b64decode, b64encode

import httpx
import orjson
import pytest

from connectors.configuration import ConfigurationError
from connectors.courier import Courier
from connectors.delivery import Delivered, Halt, Person, ProfileChange, Rejected
from connectors.sandbox.webhook import SECRET
from connectors.sink import Answer
from connectors.webhook import Webhook, signature
from schemas.events import EVENTS
from tests.connectors.ground import Ears, change, happening

NEW = "whsec_" + b64encode(b"n" * 32).decode()


def sink(secrets=SECRET):
    return Webhook.load({"LOY_WEBHOOK_BASE_URL": "http://127.0.0.1/hook", "LOY_WEBHOOK_SECRETS": secrets})


def sent(item, webhook=None):
    call = next((webhook or sink()).flow([item]))
    return call, orjson.loads(call.content())


def answered(item, status, body=b""):
    flow = sink().flow([item])
    next(flow)
    with pytest.raises(StopIteration) as end:
        flow.send(Answer(status, {}, body))
    return end.value.value


def test_the_signature_is_that_of_the_specification():
    key = b64decode("plJ3nmyCDGBKInavdOK15jsl")
    headers = signature([key], "msg_loFOjxBNrRLzqYUf", 1731705121, b'{"event_type":"ping","data":{"success":true}}')
    assert headers["webhook-signature"] == "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0="


def test_while_secrets_rotate_both_sign_and_the_new_one_comes_first():
    call, _ = sent(happening("H-1"), sink(f"{NEW} {SECRET}"))
    marks = call.stamp(1_700_000_000, call.content())["webhook-signature"].split()
    only_new = signature([b"n" * 32], call.stamp(0, b"")["webhook-id"], 1_700_000_000, call.content())
    assert len(marks) == 2
    assert marks[0] == only_new["webhook-signature"]


@pytest.mark.parametrize("secrets", ["", "whsec_not base64!", "whsec_c2hvcnQ=", "whsec_" + "A" * 200])
def test_a_secret_that_is_none_is_refused_and_not_shown(secrets):
    with pytest.raises(ConfigurationError, match="LOY_WEBHOOK_SECRETS") as refused:
        sink(secrets)
    assert not secrets or secrets not in str(refused.value)


def test_an_event_travels_under_its_own_name_and_a_repeat_under_the_same_id():
    one = happening("H-1", "LOY_TIER_UPGRADE")
    (first, message), (again, _) = sent(one), sent(one)
    assert message["type"] == "LOY_TIER_UPGRADE"
    assert message["timestamp"] == one.occurred_at
    assert message["data"]["loyalty_id"] == "H-1"
    assert first.stamp(1, b"")["webhook-id"] == again.stamp(2, b"")["webhook-id"]


def test_a_profile_has_all_29_fields_and_an_erasure_none():
    assert len(sent(change("H-1"))[1]["data"]) == 29
    assert sent(change("H-1", erased=True))[1] == {"type": "loyalty.member.erased", "data": {"loyalty_id": "H-1"}}


OLD, NEW_ADDRESS = (orjson.dumps({"contact": {"email": f"{name}@example.com"}}) for name in ("old", "new"))


def test_a_profile_has_an_id_of_its_own_whenever_it_is_another_one():
    """A receiver that keeps ids drops repeats: new contact data between two events is none, nor is the old one again."""
    told = [ProfileChange(Person("H-1", member, b"{}", 7)) for member in (OLD, NEW_ADDRESS, b"")]
    told += [ProfileChange(Person("H-1", b"", standing, 7)) for standing in (b'{"a":1}', b'{"a":2}')]
    names = [sent(one)[0].stamp(1, b"")["webhook-id"] for one in (*told, *told)]
    assert (len(set(names)), names[:5]) == (5, names[5:])
    gone = [ProfileChange(Person("H-1", member, b"{}", 7), erased=True) for member in (OLD, b"")]
    assert len({sent(one)[0].stamp(1, b"")["webhook-id"] for one in gone}) == 1


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/hook", "http://127.0.0.1:9/hook/", "http://127.0.0.1:9/hook?tenant=7"])
async def test_the_endpoint_is_called_as_it_was_given(url):
    called = []
    transport = httpx.MockTransport(lambda request: called.append(str(request.url)) or httpx.Response(204))
    webhook = Webhook.load({"LOY_WEBHOOK_BASE_URL": url, "LOY_WEBHOOK_SECRETS": SECRET})
    async with httpx.AsyncClient(transport=transport) as client:
        await Courier(webhook, client, Ears()).deliver([happening("H-1")], lambda *_: None)
    assert called == [url]


def test_every_event_is_told():
    assert sink().events == set(EVENTS)


@pytest.mark.parametrize(("status", "outcome"), [(204, Delivered), (422, Rejected), (410, Halt), (401, Halt)])
def test_an_answer_means_what_the_specification_says(status, outcome):
    assert isinstance(answered(happening("H-1"), status, b"words")[0], outcome)
