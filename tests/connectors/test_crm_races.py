"""What must hold on every CRM however workers race, restart and repeat: one row a member, one row an event, nothing older on top."""

import asyncio
import time

import pytest

from connectors.courier import Courier, Patience
from tests.connectors.crm_flows import ENVIRONMENTS
from tests.connectors.ground import SOON, Ears, change, happening, until

adapters = pytest.mark.parametrize("adapter", [*ENVIRONMENTS, "dataverse-read-first"])


def member_table(ground):
    return ground.sandbox.contacts


@adapters
async def test_twelve_racing_first_sights_of_one_member_leave_one_row(ground_of, adapter):
    ground = await ground_of(adapter)
    member_table(ground).create_seconds = 0.03
    couriers = [ground.courier(ground.sink()) for _ in range(12)]
    for courier in couriers:
        await courier.prepare()
    results = await asyncio.gather(
        *(ground.deliver(change("M-1", version=n), courier=one, prepare=False) for n, one in enumerate(couriers, 1))
    )
    assert results == [[]] * 12
    assert set(ground.sandbox.people()) == {"M-1"}
    assert ground.ears.outcomes["delivered"] == 12
    assert ground.sandbox.people()["M-1"][member_table(ground).version] == 12


@adapters
async def test_twelve_racing_tellings_of_one_event_leave_one_row_even_before_the_member_is_known(ground_of, adapter):
    ground = await ground_of(adapter)
    member_table(ground).create_seconds = 0.03
    one = happening("M-1")
    couriers = [ground.courier(ground.sink()) for _ in range(12)]
    results = await asyncio.gather(*(ground.deliver(one, courier=courier) for courier in couriers))
    assert results == [[]] * 12
    assert set(ground.sandbox.people()) == {"M-1"}
    assert ground.keys() == [ground.key(one)]


@adapters
async def test_what_is_older_never_covers_what_is_newer(ground_of, adapter):
    ground = await ground_of(adapter)
    await ground.deliver(change("M-1", version=9, current_tier="Platinum"))
    newer = dict(ground.sandbox.people()["M-1"])
    assert await ground.deliver(change("M-1", version=4, current_tier="Basic")) == []
    assert ground.sandbox.people()["M-1"] == newer
    assert await ground.deliver(change("M-1", version=9, current_tier="Platinum"), change("M-2", version=1)) == []
    assert await ground.deliver(change("M-1", version=10, current_tier="Basic")) == []
    assert "Basic" in ground.sandbox.people()["M-1"].values()


async def test_reading_first_needs_no_rule_in_the_crm_to_keep_what_is_newer(ground_of):
    ground = await ground_of("dataverse-read-first")
    member_table(ground).version, version = None, member_table(ground).version
    writers = [ground.courier(ground.sink()) for _ in range(12)]
    versions = [7, 3, 12, 1, 9, 5, 11, 2, 8, 4, 10, 6]
    races = (ground.deliver(change("M-1", version=n), courier=one) for n, one in zip(versions, writers, strict=True))
    assert await asyncio.gather(*races) == [[]] * 12
    assert ground.sandbox.people()["M-1"][version] == 12


@adapters
async def test_an_older_row_in_a_batch_does_not_hold_up_the_others(ground_of, adapter):
    ground = await ground_of(adapter)
    await ground.deliver(change("M-2", version=9))
    assert await ground.deliver(change("M-1"), change("M-2", version=3), change("M-3")) == []
    assert set(ground.sandbox.people()) == {"M-1", "M-2", "M-3"}
    assert ground.sandbox.people()["M-2"][member_table(ground).version] == 9


@adapters
async def test_an_event_that_is_faster_than_its_member_brings_the_member_along(ground_of, adapter):
    ground = await ground_of(adapter)
    told = [happening(f"M-{n}") for n in range(1, 6)]
    await ground.deliver(change("M-1"), change("M-3"))
    assert await ground.deliver(*told) == []
    assert set(ground.sandbox.people()) == {f"M-{n}" for n in range(1, 6)}
    assert sorted(ground.keys()) == sorted(ground.key(one) for one in told)


@adapters
async def test_only_the_refused_among_many_are_rejected_wherever_they_stand(ground_of, adapter):
    ground = await ground_of(adapter)
    changes = [change(f"M-{n:03d}") for n in range(120)]
    bad = {"M-000", "M-024", "M-025", "M-119"}
    for member in bad:
        ground.sandbox.fault(kind="reject", match=f'"{member}"')
    rejected = await ground.deliver(*changes)
    assert {item.person.loyalty_id for item, _ in rejected} == bad
    assert set(ground.sandbox.people()) == {one.person.loyalty_id for one in changes} - bad


@adapters
async def test_a_pause_that_is_asked_of_one_is_kept_by_all(ground_of, adapter):
    ground = await ground_of(adapter)
    courier = ground.courier()
    await courier.prepare()
    ground.sandbox.fault(kind="status", status=429, retry_after=0.5)
    before = len(ground.sandbox.log)
    await ground.deliver(change("M-1"), courier=courier, prepare=False)
    await ground.deliver(happening("M-1"), courier=courier, prepare=False)
    throttled, *later = list(ground.sandbox.log)[before:]
    assert throttled.status == 429
    assert min(one.at for one in later) - throttled.at >= 0.49


async def test_while_one_flow_is_told_to_wait_the_others_wait_too(ground_of):
    ground = await ground_of("dataverse")
    courier = ground.courier()
    await courier.prepare()
    ground.sandbox.fault(kind="status", status=429, retry_after=0.4)
    first = asyncio.create_task(ground.deliver(change("M-1"), courier=courier, prepare=False))
    await until(lambda: any(one.status == 429 for one in ground.sandbox.log), "the first is told to wait")
    await ground.deliver(happening("M-2"), courier=courier, prepare=False)
    await first
    throttled = next(one.at for one in ground.sandbox.log if one.status == 429)
    assert all(one.at - throttled >= 0.39 for one in ground.sandbox.log if one.at > throttled)


async def test_batches_of_different_members_go_side_by_side_and_those_of_one_member_in_order(ground_of):
    ground = await ground_of("dataverse")
    ground.settings = {"LOY_CRM_BATCH": "5"}
    courier = ground.courier()
    await courier.prepare()
    for _ in range(8):
        ground.sandbox.fault(kind="slow", seconds=0.2)
    changes = [change(f"M-{n:02d}") for n in range(40)]
    story = [happening("M-00") for _ in range(12)]
    began = time.monotonic()
    assert await ground.deliver(*changes, *story, courier=courier, prepare=False) == []
    assert time.monotonic() - began < 8 * 0.2, "eight slow batches took the time of fewer"
    assert ground.keys("M-00") == [ground.key(one) for one in story]


async def test_a_process_never_has_more_flows_at_once_than_a_vendor_bears(ground_of):
    ground = await ground_of("dataverse")
    ground.settings = {"LOY_CRM_BATCH": "1"}
    member_table(ground).create_seconds = 0.01
    most = 0
    serve = ground.sandbox._request

    async def counted(request):
        nonlocal most
        most = max(most, ground.sandbox.at_once)
        return await serve(request)

    ground.sandbox._request = counted
    await ground.deliver(*(change(f"M-{n:02d}") for n in range(40)))
    assert 1 < most <= 8


async def test_salesforce_waits_when_the_requests_of_the_day_are_used_up_and_does_not_stop(ground_of):
    ground = await ground_of("salesforce")
    ground.settings = {"LOY_CRM_LIMIT_WAIT": "0.05"}
    courier = ground.courier()
    await courier.prepare()
    ground.sandbox.requests_left = 0
    delivering = asyncio.create_task(ground.deliver(change("M-1"), courier=courier, prepare=False))
    await until(lambda: ground.ears.outcomes["again"] >= 2, "it comes again")
    ground.sandbox.requests_left = 10
    assert await delivering == []
    assert ground.ears.halts == []


async def test_salesforce_comes_again_for_a_record_that_somebody_else_is_writing(ground_of):
    ground = await ground_of("salesforce")
    courier = ground.courier()
    await ground.deliver(change("M-1"), change("M-2"), courier=courier)
    ground.sandbox.locked = {"M-1"}
    one, other = happening("M-1"), happening("M-2")
    delivering = asyncio.create_task(ground.deliver(one, other, courier=courier, prepare=False))
    await until(lambda: ground.ears.outcomes["again"] >= 1, "it comes again")
    assert ground.keys() == [ground.key(other)]
    ground.sandbox.locked = set()
    assert await delivering == []
    assert set(ground.keys()) == {ground.key(one), ground.key(other)}


async def test_dataverse_rows_wait_until_the_key_is_active(ground_of):
    ground = await ground_of("dataverse")
    ground.sandbox.inactive_keys = {"contacts"}
    delivering = asyncio.create_task(ground.deliver(change("M-1")))
    await until(lambda: ground.ears.halts, "it stops")
    assert "no active alternate key" in ground.ears.halts[0]
    ground.sandbox.inactive_keys = set()
    assert await delivering == []


async def test_an_oracle_tenant_whose_batches_know_no_upsert_is_served_all_the_same(ground_of):
    ground = await ground_of("oracle")
    ground.sandbox.knows_upsert = False
    changes = [change(f"M-{n}") for n in range(8)]
    assert await ground.deliver(*changes, *(happening(f"M-{n}") for n in range(8))) == []
    assert len(ground.sandbox.people()) == 8
    assert len(ground.keys()) == 8


async def test_a_throttled_dataverse_is_left_alone_until_it_may_be_asked_again(ground_of):
    ground = await ground_of("dataverse", limited=True)
    ground.settings = {"LOY_CRM_BATCH": "1"}
    courier = Courier(ground.sink(), ground.client, Ears(), Patience(**SOON))
    await courier.prepare()
    ground.sandbox.requests_max = 4
    ground.sandbox._window.clear()
    waits = []

    async def leap(seconds):
        waits.append(seconds)
        if seconds > 5:  # the window is over
            ground.sandbox._window.clear()
            ground.sandbox._barred_until = 0.0
            courier._buckets["api"]._paused_until = 0.0

    courier._patience.sleep = leap
    async with asyncio.timeout(10):
        await courier.deliver([change(f"M-{n}") for n in range(6)], lambda item, why: pytest.fail(f"{item} {why}"))
    assert len(ground.sandbox.people()) == 6
    assert max(waits) > 250
