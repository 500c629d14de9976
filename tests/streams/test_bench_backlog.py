"""The backlog that is measured: real-shaped receipts of the last days, each an own one, late to a glance; and what is told of waits."""

import time
from itertools import islice

from schemas.codec import parse_inbound
from schemas.topics import CHECKS
from streams.bench import load
from streams.bench.backlog import DAY, Phase, of_now, offline
from streams.domain.lateness import is_late, purchased_ms


def test_what_a_chain_kept_is_one_to_three_days_old_and_each_a_receipt_of_its_own():
    baskets = list(islice(load.receipts(2), 20))
    late = list(offline(baskets, 50))
    bought = [purchased_ms(one.value) for one in late]
    now_ms = time.time() * 1000
    assert bought == sorted(bought)
    assert 3 * DAY * 1000 - 60_000 < now_ms - bought[0] < 3 * DAY * 1000 + 60_000
    assert now_ms - bought[-1] > 0.99 * DAY * 1000
    assert all(is_late(one.value, one.at_ms, 600_000) for one in late)
    read = [parse_inbound(CHECKS.name, one.value) for one in late]
    assert len({one.check_id for one in read}) == 50
    assert all(one.key.decode() == sale.member for one, sale in zip(late, read, strict=True))


def test_what_is_sold_meanwhile_is_of_now():
    baskets = list(islice(load.receipts(2), 20))
    assert not any(is_late(one.value, one.at_ms, 60_000) for one in islice(of_now(baskets, "live-", lambda _: time.time()), 30))


def test_a_rank_is_the_wait_that_so_large_a_share_did_not_exceed():
    phase = Phase("during", 0.0, [n / 100 for n in range(1, 101)])
    assert (phase.rank(0.5), phase.rank(0.99), phase.rank(1.0)) == (0.51, 1.0, 1.0)
    assert Phase("empty", 0.0).rank(0.5) == 0
