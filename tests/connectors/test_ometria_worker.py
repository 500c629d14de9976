"""The Ometria sink's worker on a real broker: contacts before events, what cannot be sent, what is refused afterwards."""

import pytest

from tests.connectors.line import Line, until

pytestmark = pytest.mark.timeout(120)
KINDS = ("LOY_OPT_IN", "LOY_POINT_ACCRUAL", "LOY_TIER_UPGRADE")


@pytest.fixture
async def line(kafka, tmp_path, ground_of):
    ground = await ground_of("ometria")
    ground.settings = {"LOY_OMETRIA_AUDIT_S": "0.2"}
    async with Line(kafka.bootstrap, tmp_path, ground).running() as line:
        yield line


async def test_members_and_events_arrive_and_what_ometria_refuses_afterwards_raises_an_alarm(line):
    sandbox = line.ground.sandbox
    worker = await line.worker().start().ready()
    for member in ("H-1", "H-2"):
        await line.member(member)
    ids = {member: await line.happens(member, *KINDS, current_tier="Gold") for member in ("H-1", "H-2")}
    await until(lambda: len(sandbox.events()) == 6, "six events")
    assert {member: line.ground.keys(member) for member in ids} == ids
    assert sandbox.people()["H-1"]["segments"] == ["Loyalty Gold", "Loyalty members"]
    assert list(sandbox.errors) == []
    assert "Custom field (Settings > Custom fields, of contacts): loy_tier, string" in worker.said()

    await line.member("H-3", email=None)
    await line.happens("H-3", "LOY_OPT_IN")
    (letter,) = await line.letters(1)
    assert b"NO_EMAIL" in dict(letter.headers)["reason"]
    assert sandbox.people()["H-3"]["loy_id"] == "H-3"

    await until(lambda: sandbox.requests("GET /v2/push/_errors"), "the first look")
    del sandbox.fields["loy_zip"]
    await line.happens("H-1", "LOY_POINT_ACCRUAL", available_points=1)
    await until(lambda: "loy_zip: unknown custom field" in worker.said(), "the alarm")
    assert (await worker.metrics())['loy_sink_refused_later_total{sink="ometria"}'] == 1


async def test_an_erased_member_is_emptied_and_asked_to_be_forgotten(line):
    line.ground.settings = {"LOY_OMETRIA_ERASE": "true"}
    sandbox = line.ground.sandbox
    await line.worker().start().ready()
    await line.member("H-1")
    await line.happens("H-1", "LOY_OPT_IN")
    await until(sandbox.events, "the event")
    await line.erased("H-1")
    await until(lambda: sandbox.forgotten, "the request")
    assert sandbox.forgotten == ["h-1@example.com"]
    assert not sandbox.people()


async def test_after_an_outage_members_who_joined_meanwhile_are_known_before_their_events(line):
    """They lie in two topics; an event without an address could not be told at all."""
    for number in range(200):
        await line.member(f"H-{number}")
    await line.write(*(line.event(f"H-{number}") for number in range(200)))
    sandbox = line.ground.sandbox
    worker = await line.worker().start().ready()
    later = await line.happens("H-7", "LOY_TIER_UPGRADE")
    await until(lambda: line.ground.keys() == later, "the event of now")
    for number in range(200, 400):
        await line.member(f"H-{number}")
    ids = await line.write(*(line.event(f"H-{number}") for number in range(200, 400)))
    await until(lambda: {*line.ground.keys()} >= {*ids}, "the events of those who have just joined")
    assert len(sandbox.people()) == 400
    assert not [name for name in await worker.metrics() if name.startswith("loy_dead_letters_total")]
    assert list(sandbox.errors) == []
