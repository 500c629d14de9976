"""What holds for every sink and adapter, whatever its vendor does: everything ends delivered or rejected, nothing is lost.

Duplicates are only where the vendor tells repeats by a key; elsewhere the third outcome (sent, answer lost) is counted.
"""

import asyncio
import time

import pytest

from connectors import registry, sandbox
from connectors.delivery import ProfileChange
from tests.connectors.benches import BENCHES
from tests.connectors.ground import SOON, change, event_types, happening, until

pytestmark = pytest.mark.timeout(60)
MEMBERS = [f"H-{n}" for n in range(1, 6)]


def story(ground, members=MEMBERS):
    """Each member joins, and every event that the sink sends happens to each."""
    sink = ground.sink()
    kinds = [kind for kind in event_types(sink) if ground.bench.takes(kind)]
    changes = [change(member, first=True, urgent=True) for member in members]
    happenings = [happening(member, kind) for kind in kinds for member in members]
    return changes, happenings


def assert_arrived(ground, happenings, *, but=()):
    """Each event is there once, in the order of its member; where the vendor cannot tell repeats, at least once."""
    for member in {one.person.loyalty_id for one in happenings}:
        expected = [ground.key(one) for one in happenings if one.person.loyalty_id == member and one not in but]
        found = ground.keys(member)
        if not ground.sandbox.deduplicates_events:
            found = list(dict.fromkeys(found))
        assert found == expected


def test_every_sink_of_the_registry_and_every_sandbox_is_on_the_bench():
    assert {bench.sink for bench in BENCHES.values()} == set(registry.SINKS)
    assert {bench.sandbox for bench in BENCHES.values()} == set(sandbox.SANDBOXES)


def test_a_sink_never_shows_its_secret(ground):
    sink = ground.sink()
    assert "key" not in repr(sink)
    assert sink.name == ground.bench.sink


def test_every_mapped_event_has_a_limit_to_keep_and_a_name(ground):
    sink = ground.sink()
    assert sink.events
    assert all(rate > 0 for rate in sink.rates.values())


async def test_what_is_delivered_is_there(ground):
    changes, happenings = story(ground)
    assert await ground.deliver(*changes, *happenings) == []
    assert set(ground.sandbox.people()) == set(MEMBERS)
    assert_arrived(ground, happenings)
    assert ground.ears.outcomes == {"delivered": len(changes) + len(happenings)}


async def test_what_is_delivered_is_what_is_read(ground):
    if not ground.bench.readable:
        pytest.skip("this vendor cannot be read")
    changed = [change("H-1", first=True), change("H-2", first=True, next_tier=None, available_points=0)]
    courier = ground.courier()
    await ground.deliver(*changed, courier=courier)
    held = await courier.run(courier.sink.read(["H-1", "H-2", "H-3"]))
    assert held["H-3"] is None
    for one in changed:
        expected = courier.sink.expected(one)
        assert {name: held[one.person.loyalty_id].get(name) for name in expected} == expected


async def test_delivering_twice_changes_nothing(ground):
    changes, happenings = story(ground)
    await ground.deliver(*changes, *happenings)
    before = ground.sandbox.people()
    await ground.deliver(*changes, *happenings)
    assert ground.sandbox.people() == before
    if ground.sandbox.deduplicates_events:
        assert_arrived(ground, happenings)


async def test_an_offer_has_one_result_for_each_member_at_a_crm(ground):
    if ground.bench.sink != "crm":
        pytest.skip("told by the event's id, of which the ledger makes one for each member and offer")
    answers = [happening(member, "LOY_OFFER_RESULT", data={"offer": "spring"}) for member in ("H-1", "H-2", "H-1")]
    await ground.deliver(change("H-1", first=True), change("H-2", first=True), *answers)
    await ground.deliver(answers[0])
    (one,) = ground.keys("H-1")
    assert [one] == [ground.key(answers[0])] == [ground.key(answers[2])]
    assert len(ground.keys("H-2")) == 1


async def test_the_latest_profile_stands(ground):
    await ground.deliver(change("H-1", first=True, available_points=10, version=1))
    first = ground.sandbox.people()["H-1"]
    await ground.deliver(change("H-1", available_points=999, version=2))
    assert ground.sandbox.people()["H-1"] != first


async def test_preparing_twice_changes_nothing(ground):
    courier = ground.courier()
    await courier.prepare()
    asked = sum(ground.sandbox.answers.values())
    await courier.prepare()
    assert sum(ground.sandbox.answers.values()) <= 2 * asked
    assert ground.ears.halts == []


FAULTS = {
    "a burst of 503": {"kind": "status", "status": 503, "count": 4},
    "a burst of 500 after it was taken": {"kind": "status", "status": 500, "when": "after", "count": 3},
    "502 without JSON": {"kind": "garbage", "count": 2},
    "a page in place of the answer, after it was taken": {"kind": "garbage", "when": "after", "count": 2},
    "cut before": {"kind": "cut", "when": "before", "count": 2},
    "cut after": {"kind": "cut", "when": "after", "count": 2},
    "slower than the timeout": {"kind": "slow", "seconds": 0.5},
    "429 without a delay": {"kind": "status", "status": 429, "count": 3},
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("what", ["profiles", "events"])
async def test_through_a_fault_everything_arrives(ground, fault, what):
    changes, happenings = story(ground)
    ground.patience = {**SOON, "timeout": 0.25}
    courier = ground.courier()
    await ground.deliver(*([] if what == "profiles" else changes), courier=courier)
    await ground.ordered(**fault)
    rejected = await ground.deliver(*(changes if what == "profiles" else happenings), courier=courier, prepare=False)
    assert rejected == []
    assert set(ground.sandbox.people()) == set(MEMBERS)
    if what == "events":
        assert_arrived(ground, happenings)


async def test_an_answer_that_was_lost_is_counted(ground):
    courier = ground.courier()
    await courier.prepare()
    ground.sandbox.fault(kind="cut", when="after")
    await ground.deliver(change("H-1", first=True), courier=courier, prepare=False)
    assert ground.ears.outcomes["unknown"] == 1
    assert ground.ears.outcomes["delivered"] == 1


async def test_a_delay_that_the_vendor_asks_for_is_kept(ground):
    courier = ground.courier()
    await courier.prepare()
    ground.sandbox.fault(kind="status", status=429, retry_after=0.4)
    before = len(ground.sandbox.requests())
    began = time.monotonic()
    await ground.deliver(change("H-1", first=True), courier=courier, prepare=False)
    assert time.monotonic() - began >= 0.4
    refused, *repeated = ground.sandbox.requests()[before:]
    assert refused.status == 429
    assert repeated[0].at - refused.at >= 0.39


async def test_an_item_that_the_vendor_refuses_is_rejected_alone_with_the_vendors_words(ground):
    changes, _ = story(ground)
    courier = ground.courier()
    await courier.prepare()
    await ground.ordered(kind="reject", match="H-3")
    rejected = await ground.deliver(*changes, courier=courier, prepare=False)
    assert [item.person.loyalty_id for item, _ in rejected] == ["H-3"]
    assert all(why.code and why.words for _, why in rejected)
    assert set(ground.sandbox.people()) == set(MEMBERS) - {"H-3"}


@pytest.mark.parametrize("named", [True, False])
async def test_an_event_that_the_vendor_refuses_is_rejected_alone_and_the_others_keep_their_order(ground, named):
    changes, happenings = story(ground)
    if not happenings:
        pytest.skip("this sink tells no events")
    await ground.deliver(*changes)
    bad = happenings[len(happenings) // 2]
    await ground.ordered(kind="reject", match=ground.key(bad), named=named)
    rejected = await ground.deliver(*happenings)
    assert [item for item, _ in rejected] == [bad]
    assert all(why.code and why.words for _, why in rejected)
    assert_arrived(ground, happenings, but=[bad])


async def test_one_bad_of_sixty_four_is_found(ground):
    changes = [change(f"M-{n:02d}", first=True) for n in range(64)]
    courier = ground.courier()
    await courier.prepare()
    await ground.ordered(kind="reject", match="M-37", named=False)
    rejected = await ground.deliver(*changes, courier=courier, prepare=False)
    assert [item.person.loyalty_id for item, _ in rejected] == ["M-37"]
    assert len(ground.sandbox.people()) == 63


async def test_revoked_credentials_stop_the_sink_once_and_lose_nothing(ground):
    changes, happenings = story(ground)
    courier = ground.courier()
    await ground.deliver(*changes, courier=courier)
    await ground.ordered(kind="revoke")
    delivering = asyncio.create_task(ground.deliver(*happenings, courier=courier, prepare=False))
    await until(lambda: len(ground.ears.halts) >= 3, "it has tried again, in vain")
    assert not delivering.done()
    assert ground.keys() == []
    await ground.ordered(kind="restore")
    assert await delivering == []
    assert_arrived(ground, happenings)
    assert ground.ears.halts[-1] is None
    assert ground.ears.outcomes["rejected"] == 0


async def test_a_vendor_that_is_down_at_the_start_is_waited_for(ground):
    ground.sandbox.fault(kind="status", status=503, count=3)
    ground.sandbox.fault(kind="cut")
    assert await ground.deliver(change("H-1", first=True)) == []
    assert ground.ears.halts == []


async def test_an_erased_member_holds_nothing_of_ours_any_more(ground):
    await ground.deliver(change("H-1", first=True, urgent=True), change("H-2", first=True))
    gone: ProfileChange = change("H-1", erased=True)
    assert await ground.deliver(gone) == []
    held = str([*ground.sandbox.people().get("H-1", {}).values()])  # what is held, not what it is called
    assert "Ann" not in held
    assert "Gold" not in held
    assert "Ann" in str(ground.sandbox.people()["H-2"])
    assert await ground.deliver(gone) == []
